"""What the kernel printed of a stall: the lines of lockups and of RCU's stalls."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crashkit.value import facts

MAX_LINES = 400
"""Lines after the first that belong to one report."""

# kernel/watchdog.c
_SOFT = re.compile(
    r"soft lockup - CPU#(?P<cpu>\d{1,5}) stuck for (?P<seconds>\d{1,7})s! "
    r"\[(?P<comm>.{0,40}):(?P<pid>\d{1,9})\]"
)
_HARD = re.compile(r"hard LOCKUP on cpu (?P<cpu>\d{1,5})")
# kernel/rcu/tree_stall.h, in print_cpu_stall_info(), print_cpu_stall(),
# print_other_cpu_stall() and rcu_check_gp_kthread_starvation().
_RCU_CPU = re.compile(
    r"^(?:rcu:)?\s*(?P<cpu>\d{1,5})-(?P<flags>[\w.!?]{1,8}): "
    r"\((?P<how>\d{1,12} ticks this GP|\d{1,12} GPs behind)\)"
    r" idle=(?P<idle>\S{1,40})(?: softirq=(?P<softirq>\d{1,12}/\d{1,12}))?"
    r"(?: fqs=(?P<fqs>\d{1,12}))?"
)
_RCU_TASKS = re.compile(
    r"^(?:rcu:)?\s*Tasks blocked on level-\d rcu_node \(CPUs [\d-]{1,12}\):(?P<tasks>.{0,200})"
)
_RCU_END = re.compile(
    r"(?:detected by (?P<by>\d{1,5}), )?t=(?P<ticks>\d{1,12}) jiffies,? "
    r"g=(?P<gp>-?\d{1,12}),? q=(?P<queued>\d{1,12})"
)
_STARVED = re.compile(
    r"(?P<name>rcu\w{0,20}) (?:grace-period )?kthread (?:timer wakeup didn't happen|starved) for "
    r"(?P<ticks>\d{1,12}) jiffies!"
)


@facts
class PrintedLockup:
    """A lockup as the kernel printed it."""

    cpu: int
    seconds: int | None
    comm: str | None
    """Not escaped."""
    pid: int | None


@facts
class PrintedStallCpu:
    """One CPU of a printed RCU stall."""

    cpu: int
    flags: str
    """Offline, offline for this period, for the next one; then the state of its irq_work."""
    ticks: int | None
    """Ticks it took in this grace period."""
    periods_behind: int | None
    """Grace periods it has not noted: its tick does not run."""
    idle: str
    softirq: str | None
    """Now / at the begin of the period: equal ones mean that no softirq ran."""
    fqs: int | None


@facts
class PrintedStall:
    """A printed RCU stall."""

    cpus: tuple[PrintedStallCpu, ...]
    tasks: str | None
    """Blocked readers as printed (``P123/1:b..l``)."""
    detected_by: int | None
    """None: the stalled CPU itself."""
    ticks: int | None
    """For how long the period had run, in jiffies."""
    queued: int | None
    """Callbacks queued on all CPUs."""
    starved_ticks: int | None
    """For how long RCU's kernel thread had not run, in jiffies."""


def printed_lockup(message: str) -> PrintedLockup | None:
    """Read the line of a soft or hard lockup; None: it is none."""
    soft = _SOFT.search(message)
    if soft is not None:
        return PrintedLockup(
            cpu=int(soft["cpu"]),
            seconds=int(soft["seconds"]),
            comm=soft["comm"],
            pid=int(soft["pid"]),
        )
    hard = _HARD.search(message)
    if hard is None:
        return None
    return PrintedLockup(cpu=int(hard["cpu"]), seconds=None, comm=None, pid=None)


def printed_stall(lines: Iterable[str]) -> PrintedStall | None:
    """Read the lines of an RCU stall, prefixes stripped; None: none of them is there."""
    cpus: list[PrintedStallCpu] = []
    tasks: str | None = None
    end: re.Match[str] | None = None
    starved: int | None = None
    for number, line in enumerate(lines):
        if number >= MAX_LINES:
            break
        if (found := _RCU_CPU.search(line)) is not None and end is None:
            cpus.append(_stall_cpu(found))
        elif (found := _RCU_TASKS.search(line)) is not None:
            tasks = tasks or found["tasks"].strip()
        elif (found := _RCU_END.search(line)) is not None:
            end = end or found
        elif (found := _STARVED.search(line)) is not None:
            starved = int(found["ticks"]) if starved is None else starved
    if not cpus and end is None:
        return None
    return PrintedStall(
        cpus=tuple(cpus),
        tasks=tasks,
        detected_by=int(end["by"]) if end and end["by"] else None,
        ticks=int(end["ticks"]) if end else None,
        queued=int(end["queued"]) if end else None,
        starved_ticks=starved,
    )


def _stall_cpu(found: re.Match[str]) -> PrintedStallCpu:
    number, unit = found["how"].split(" ", 1)
    ticks = unit.startswith("ticks")
    return PrintedStallCpu(
        cpu=int(found["cpu"]),
        flags=found["flags"],
        ticks=int(number) if ticks else None,
        periods_behind=None if ticks else int(number),
        idle=found["idle"],
        softirq=found["softirq"],
        fqs=int(found["fqs"]) if found["fqs"] else None,
    )
