"""The processes with the most resident memory."""

from __future__ import annotations

from collections.abc import Iterable

from drgn import Object, Program, TypeKind
from drgn.helpers.linux.pid import for_each_task_in_group

from crashkit.decode.fields import has_member, naming, printable
from crashkit.decode.memory_counts import percpu_counter, possible_cpus
from crashkit.errors import Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_SUMS = 4096
"""Processes times CPUs whose counters are added up in full; of more, the processes that look
largest without what CPUs keep."""
_CANDIDATES = 3
MAX_THREADS = 100_000


@facts
class ProcessMemory:
    """The resident memory of one process, in pages."""

    task: int
    """``struct task_struct *`` of the process, or of one of its threads."""
    pid: int
    comm: str
    """Escaped."""
    rss: int
    """All but swap."""
    anon: int
    file: int
    shmem: int
    """Part of tmpfs and shared memory: also counted there, and by each process that maps it."""
    swap: int
    page_tables: int | None
    """Bytes."""
    oom_score_adj: int | None


@facts
class ProcessUse:
    """The processes with the most resident pages, largest first."""

    processes: tuple[ProcessMemory, ...]
    number: int
    """Processes with memory of their own."""
    unreadable: int
    exact: bool
    """All were added up in full before the largest were chosen; else those that looked so."""


def process_use(prog: Program, tasks: Iterable[Object], most: int = 10) -> ProcessUse:
    """Find the processes with the most resident memory.

    :param tasks: ``struct task_struct *`` each
    """
    owners = _owners(tasks)
    cpus = possible_cpus(prog)
    exact = len(owners) * len(cpus) <= MAX_SUMS
    found = _largest(owners.values(), cpus if exact else ())
    unreadable = len(owners) - len(found)
    if not exact:
        by_address = {int(task.value_()): task for task in owners.values()}
        found = _largest((by_address[one.task] for one in found[: _CANDIDATES * most]), cpus)
    return ProcessUse(
        processes=tuple(found[:most]), number=len(owners), unreadable=unreadable, exact=exact
    )


def _largest(tasks: Iterable[Object], cpus: tuple[int, ...]) -> list[ProcessMemory]:
    found: list[ProcessMemory] = []
    for task in tasks:
        try:
            with naming("a process's memory"):
                found.append(_memory(task, cpus))
        except Unavailable:
            continue
    return sorted(found, key=lambda one: (-one.rss, one.pid))


def _owners(tasks: Iterable[Object]) -> dict[int, Object]:
    # One task for each address space, the group's leader where it still has it.
    owners: dict[int, Object] = {}
    for task in tasks:
        try:
            with naming("a task"):
                mm = int(task.mm.value_())
                leads = task.pid.value_() == task.tgid.value_()
        except Unavailable:
            continue
        if mm and (leads or mm not in owners):
            owners[mm] = task
    return owners


def _memory(task: Object, cpus: tuple[int, ...]) -> ProcessMemory:
    prog, mm = task.prog_, task.mm
    counts = _counts(prog, task, cpus)
    signal = task.signal
    return ProcessMemory(
        task=int(task.value_()),
        pid=int(task.tgid.value_()),
        comm=printable(task.comm.string_()),
        rss=counts["FILE"] + counts["ANON"] + counts["SHMEM"],
        anon=counts["ANON"],
        file=counts["FILE"],
        shmem=counts["SHMEM"],
        swap=counts["SWAP"],
        page_tables=(
            int(mm.pgtables_bytes.counter.value_()) if has_member(mm, "pgtables_bytes") else None
        ),
        oom_score_adj=int(signal.oom_score_adj.value_()) if signal.value_() else None,
    )


_ITEMS = {
    "FILE": "MM_FILEPAGES",
    "ANON": "MM_ANONPAGES",
    "SHMEM": "MM_SHMEMPAGES",
    "SWAP": "MM_SWAPENTS",
}


def _counts(prog: Program, task: Object, cpus: tuple[int, ...]) -> dict[str, int]:
    # Each a percpu_counter since Linux kernel commit f1a7941243c1 ("mm: convert mm's rss
    # stats into percpu_counter") (in v6.2); before that threads kept up to 64 pages each.
    stat = task.mm.rss_stat
    if stat.type_.kind is not TypeKind.ARRAY:
        return _with_threads(prog, task)
    counters = {name: stat[int(prog.constant(item).value_())] for name, item in _ITEMS.items()}
    if cpus:
        return {name: percpu_counter(one, cpus) for name, one in counters.items()}
    return {name: max(int(one.count.value_()), 0) for name, one in counters.items()}


def _with_threads(prog: Program, task: Object) -> dict[str, int]:
    # As drgn's task_rss(), but for no more threads than there can be.
    totals = {}
    walk = for_each_task_in_group(task, include_self=True)
    threads = list(bounded(walk, MAX_THREADS, "threads"))
    for name, item in _ITEMS.items():
        index = int(prog.constant(item).value_())
        total = int(task.mm.rss_stat.count[index].counter.value_())
        for thread in threads:
            if has_member(thread, "rss_stat"):
                total += int(thread.rss_stat.count[index].value_())
        totals[name] = max(total, 0)
    return totals
