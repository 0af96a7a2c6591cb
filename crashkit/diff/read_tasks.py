"""Tasks by state, processes by name and one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.tasks import Tasks, list_tasks
from crashkit.decode.fields import member, naming, printable
from crashkit.decode.memory_counts import possible_cpus
from crashkit.decode.memory_tasks import MAX_SUMS, ProcessMemory, ProcessUse, process_use
from crashkit.decode.waits import task_state
from crashkit.diff.readings import BYTES, COUNT, PAGE, Amount, Listing, Number, count
from crashkit.errors import Reason, Unavailable

_LARGEST = 100
"""Processes read in full where there are too many for all."""
_STATES = {
    "R": "tasks running or ready (R)", "S": "tasks asleep (S)",
    "D": "tasks asleep, uninterruptible (D)",
    "I": "idle kernel threads (I)", "T": "stopped tasks (T)", "t": "traced tasks (t)",
    "Z": "zombies (Z)", "?": "tasks in another state",
}  # fmt: skip


class _Tally:
    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.lost: Unavailable | None = None

    def add(self, task: Object) -> None:
        with naming("a task"):
            pid, group = int(task.pid.value_()), int(task.tgid.value_())
            if not pid:
                return  # the idle task of a CPU
            has_memory = bool(task.mm.value_())
            # Either way it has ended: EXIT_ZOMBIE and EXIT_DEAD changed their numbers.
            ended = bool(int(task.exit_state.value_()))
            letter = "Z" if ended else task_state(task).letter
            name = printable(task.comm.string_())
        self.states[letter] += 1
        self.kinds["threads"] += 1
        kernel = not has_memory and not ended
        if kernel:
            self.kinds["kernel"] += 1
        elif pid == group:
            self.kinds["processes"] += 1
        if pid == group:
            self.names[_family(name, kernel=kernel)] += 1


def _family(name: str, *, kernel: bool) -> str:
    # kworker/0:1-events is one of the kworkers.
    return f"[{name.split('/')[0]}]" if kernel else name


def _tasks(crash: Crash) -> Tasks:
    cached: Tasks | None = crash.prog.cache.get("crashkit.diff.task_list")
    if cached is None:
        cached = crash.prog.cache["crashkit.diff.task_list"] = list_tasks(crash.prog)
    return cached


def _tally(crash: Crash) -> tuple[_Tally, Unavailable | None]:
    cached: tuple[_Tally, Unavailable | None] | None = crash.prog.cache.get("crashkit.diff.tasks")
    if cached is not None:
        return cached
    tasks = _tasks(crash)
    tally = _Tally()
    problem = tasks.problem
    for task in tasks.found.values():
        try:
            tally.add(task)
        except Unavailable as missing:
            problem = problem or missing
    if problem is not None and not tally.kinds:
        raise problem
    crash.prog.cache["crashkit.diff.tasks"] = (tally, problem)
    return tally, problem


def read_tasks(crash: Crash) -> Listing:
    """Count the tasks, without the idle ones of the CPUs."""
    tally, problem = _tally(crash)
    amounts = [
        count("threads", "tasks of all kinds", tally.kinds["threads"]),
        count("processes", "processes", tally.kinds["processes"]),
        count("kernel", "kernel threads", tally.kinds["kernel"]),
    ]
    amounts += [count(letter, name, tally.states[letter]) for letter, name in _STATES.items()]
    return Listing(amounts=tuple(amounts), incomplete=problem, at_least=problem is not None)


def read_names(crash: Crash) -> Listing:
    """Count processes, and add up their resident memory, by name."""
    tally, problem = _tally(crash)
    resident: Counter[str] = Counter()
    unknown: Unavailable | None = problem
    use = _processes(crash)
    if isinstance(use, Unavailable):
        unknown = use
    else:
        for one in use.processes:
            resident[one.comm] += one.rss
        unknown = _why_not_all(use) or problem
    amounts = [
        Amount(key=name, name=name, numbers={COUNT: number, **_size(name, resident, unknown)})
        for name, number in sorted(tally.names.items())
    ]
    return Listing(amounts=tuple(amounts), incomplete=problem, at_least=problem is not None)


def _size(name: str, resident: Counter[str], unknown: Unavailable | None) -> dict[str, Number]:
    if name.startswith("["):
        return {}
    return {BYTES: unknown if unknown is not None else resident[name] * PAGE}


def _why_not_all(use: ProcessUse) -> Unavailable | None:
    if use.unreadable:
        detail = f"the memory of {use.unreadable} processes could not be read"
        return Unavailable("resident memory", Reason.NOT_IN_DUMP, detail)
    if len(use.processes) < use.number:
        detail = f"only the {len(use.processes)} largest of {use.number} processes were read"
        return Unavailable("resident memory", Reason.BUDGET, detail)
    return None


def _processes(crash: Crash) -> ProcessUse | Unavailable:
    cached: ProcessUse | Unavailable | None = crash.prog.cache.get("crashkit.diff.processes")
    if cached is None:
        cached = crash.prog.cache["crashkit.diff.processes"] = _read_processes(crash)
    return cached


def _read_processes(crash: Crash) -> ProcessUse | Unavailable:
    tasks = _tasks(crash).found.values()
    try:
        cpus = len(possible_cpus(crash.prog))
        few = len(tasks) * cpus <= MAX_SUMS
        return process_use(crash.prog, tasks, len(tasks) if few else _LARGEST)
    except Unavailable as missing:
        return missing


def read_processes(crash: Crash) -> Listing:
    """Read the resident memory of each process; the key holds when it was started."""
    use = _processes(crash)
    if isinstance(use, Unavailable):
        raise use
    _, problem = _tally(crash)
    return Listing(
        amounts=tuple(_each(crash, use.processes)),
        incomplete=problem or _why_not_all(use),
    )


def _each(crash: Crash, processes: Iterable[ProcessMemory]) -> Iterable[Amount]:
    for one in processes:
        task = Object(crash.prog, "struct task_struct *", one.task)
        with naming("start of a process"):
            # start_boottime since Linux kernel commit cf25e24db61c ("time: Rename tsk->
            # real_start_time to ->start_boottime") (in v5.5).
            leader = task.group_leader
            started = int(member(leader, "start_boottime", "real_start_time").value_())
        yield Amount(
            key=f"{one.pid} {started}",
            name=f"{one.comm} ({one.pid})",
            numbers={BYTES: one.rss * PAGE},
        )
