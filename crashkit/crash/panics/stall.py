"""A CPU that does not get on: soft and hard lockups, and stalls of RCU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from drgn import Object
from drgn.helpers.linux.cpumask import for_each_present_cpu

from crashkit.crash.panics.cpus import CpuLine, line_of
from crashkit.crash.panics.places import Place
from crashkit.crash.panics.polling import Polling, find_polling
from crashkit.crash.panics.waits_find import find_wait
from crashkit.crash.tasks import is_running, thread_of
from crashkit.decode.fields import naming
from crashkit.decode.stalls import (
    SECOND_NS,
    CpuWatch,
    LockupSettings,
    cpu_watch,
    lockup_settings,
)
from crashkit.decode.stalls_rcu import RcuCpu, RcuPeriod, read_cpu, read_period
from crashkit.decode.stalls_text import (
    PrintedLockup,
    PrintedStall,
    printed_lockup,
    printed_stall,
)
from crashkit.decode.waits import asleep, scheduler_now, task_state
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

MAX_CPUS = 8192
MAX_STALLED = 32
"""Stalled CPUs and tasks that are looked at."""


@facts
class StalledTask:
    """A task that a stall is about; None with a reason in ``absent``."""

    task: int
    pid: int | None
    comm: str | None
    cpu: int | None
    state: str | None
    running: bool | None
    seconds: float | None
    """For how long it has not run."""
    place: Place | None
    callers: tuple[str, ...]
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@facts
class StalledCpu:
    """A CPU that a stall is about."""

    line: CpuLine
    since_s: float | None
    """For how long its watchdog thread has not run."""
    watch: CpuWatch | None
    rcu: RcuCpu | None
    polls: Polling | None = None
    """What it waits for in the loop it was in; None: it is in no such loop."""
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@facts
class Stall:
    """The stall; None with a reason in ``absent``."""

    kind: str
    """``panic.kind``."""
    lockup: PrintedLockup | None
    printed: PrintedStall | None
    cpus: tuple[StalledCpu, ...]
    settings: LockupSettings | None
    rcu: RcuPeriod | None
    gp_kthread: StalledTask | None
    """RCU's kernel thread."""
    readers: tuple[StalledTask, ...]
    """Tasks that were preempted inside an RCU reader and hold up the grace period."""
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


def read(crash: Crash) -> Stall:
    """Read what the kernel knows of the stall.

    :raises Unavailable: the log does not say which stall it is
    """
    oops = crash.oops
    if oops is None:
        raise Unavailable("the stall", Reason.NOT_IN_DUMP, "the log has no report of it")
    absent: dict[str, Unavailable] = {}
    of_rcu = oops.kind == "rcu-stall"
    lockup = printed_lockup(oops.message)
    printed = printed_stall(_lines(crash)) if of_rcu else None
    period = _period(crash, absent) if of_rcu else None
    cpus = _stalled_cpus(crash, lockup, printed, period)
    if not of_rcu:
        absent["rcu"] = Unavailable("rcu", Reason.NOT_APPLICABLE, "not a stall of RCU")
    return Stall(
        kind=oops.kind,
        lockup=lockup,
        printed=printed,
        cpus=tuple(_stalled(crash, cpu, period) for cpu in cpus[:MAX_STALLED]),
        settings=_settings(crash, absent),
        rcu=period,
        gp_kthread=_thread(crash, period),
        readers=_readers(crash, period),
        absent=absent,
    )


def _lines(crash: Crash) -> list[str]:
    assert crash.oops is not None
    lines = crash.log.split("\n")[crash.oops.line :]
    return [line.partition("] ")[2] if line.startswith("[") else line for line in lines]


def _period(crash: Crash, absent: dict[str, Unavailable]) -> RcuPeriod | None:
    try:
        return read_period(crash.prog)
    except Unavailable as missing:
        absent["rcu"] = missing
        return None


def _settings(crash: Crash, absent: dict[str, Unavailable]) -> LockupSettings | None:
    try:
        return lockup_settings(crash.prog)
    except Unavailable as missing:
        absent["settings"] = missing
        return None


def _stalled_cpus(
    crash: Crash,
    lockup: PrintedLockup | None,
    printed: PrintedStall | None,
    period: RcuPeriod | None,
) -> list[int]:
    # As printed; for RCU what it waits for, too. The log's numbers are taken only if such
    # a CPU is there.
    with naming("the CPUs"):
        there = list(bounded(for_each_present_cpu(crash.prog), MAX_CPUS, "CPUs"))
    named = [] if lockup is None else [lockup.cpu]
    named += [] if printed is None else [entry.cpu for entry in printed.cpus]
    named += [] if period is None else period.holding_up
    if not named and crash.thread.cpu is not None:
        named = [crash.thread.cpu]
    return [cpu for cpu in dict.fromkeys(named) if cpu in there]


def _stalled(crash: Crash, cpu: int, period: RcuPeriod | None) -> StalledCpu:
    absent: dict[str, Unavailable] = {}
    watch: CpuWatch | None = None
    rcu: RcuCpu | None = None
    since: float | None = None
    try:
        watch = cpu_watch(crash.prog, cpu)
        since = _since(crash, watch)
    except Unavailable as missing:
        absent |= dict.fromkeys(["since_s"] if watch else ["since_s", "watch"], missing)
    if period is not None:
        try:
            rcu = read_cpu(crash.prog, cpu, period.holding_up)
        except Unavailable as missing:
            absent["rcu"] = missing
    line = line_of(crash, cpu)
    polls: Polling | None = None
    try:
        polls = find_polling(crash, cpu)
    except Unavailable as missing:
        absent["polls"] = missing
    return StalledCpu(line=line, since_s=since, watch=watch, rcu=rcu, polls=polls, absent=absent)


def _since(crash: Crash, watch: CpuWatch) -> float:
    if watch.touched is None:
        raise watch.absent["touched"]
    now = scheduler_now(crash.prog, None if crash.oops is None else crash.oops.time)
    ran = watch.touched * SECOND_NS
    if ran > now:
        raise Unavailable("watchdog_touch_ts", Reason.CORRUPTED, "it is later than now")
    return (now - ran) / 1e9


def _thread(crash: Crash, period: RcuPeriod | None) -> StalledTask | None:
    if period is None or not period.gp_kthread:
        return None
    return _task(crash, period.gp_kthread)


def _readers(crash: Crash, period: RcuPeriod | None) -> tuple[StalledTask, ...]:
    if period is None:
        return ()
    return tuple(_task(crash, address) for address in period.readers[:MAX_STALLED])


def _task(crash: Crash, address: int) -> StalledTask:
    task = Object(crash.prog, "struct task_struct *", address)
    thread = thread_of(task)
    absent: dict[str, Unavailable] = {}
    state: str | None = None
    running: bool | None = None
    seconds: float | None = None
    place: Place | None = None
    callers: tuple[str, ...] = ()
    try:
        state = task_state(task).letter
        running = is_running(crash.prog, task)
    except Unavailable as missing:
        absent["state" if state is None else "running"] = missing
    if running:
        line = line_of(crash, thread.cpu or 0)
        place, callers = line.place, line.callers
    else:
        sleeping = find_wait(crash, task)
        place, callers = sleeping.place, sleeping.callers
        seconds = _asleep(crash, task, absent)
    return StalledTask(
        task=address, pid=thread.pid, comm=thread.comm, cpu=thread.cpu, state=state,
        running=running, seconds=seconds, place=place, callers=callers, absent=absent,
    )  # fmt: skip


def _asleep(crash: Crash, task: Object, absent: dict[str, Unavailable]) -> float | None:
    try:
        rest = asleep(task, scheduler_now(crash.prog, _time(crash)))
    except Unavailable as missing:
        absent["seconds"] = missing
        return None
    if rest.seconds is None:
        absent["seconds"] = rest.absent["seconds"]
    return rest.seconds


def _time(crash: Crash) -> float | None:
    return None if crash.oops is None else crash.oops.time
