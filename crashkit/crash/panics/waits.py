"""Tasks that sleep uninterruptibly: on what, who has it, and what that one waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.places import Place, before_the_panic, physical, place_of
from crashkit.crash.panics.waits_find import find_wait
from crashkit.crash.panics.waits_graph import Cause, Edge, causes_of, cycles_of
from crashkit.crash.panics.waits_parts import Wait
from crashkit.crash.tasks import is_running, thread_of
from crashkit.decode.fields import naming
from crashkit.decode.stalls import HungTaskSettings, hung_task_settings
from crashkit.decode.waits import Asleep, TaskState, asleep, scheduler_now, task_state
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

MAX_BLOCKED = 2000
"""Blocked tasks whose stacks are walked, the longest asleep first."""
LONG_S = 10.0
"""In a crash that is not about a hang, tasks blocked for less are left out."""
_HANGS = frozenset({"hung-task", "soft-lockup", "hard-lockup", "rcu-stall", "spinlock-deadlock"})


@facts
class WaitingTask:
    """A task of the wait-for graph; None with a reason in ``absent``."""

    task: int
    pid: int | None
    comm: str | None
    cpu: int | None
    state: str | None
    """As ps shows it; ``R`` also for one that is on its CPU."""
    running: bool | None
    """Whether it was on its CPU."""
    seconds: float | None
    """For how long it has not run."""
    killable: bool | None
    place: Place | None
    """The innermost frame that is not about sleeping."""
    callers: tuple[str, ...]
    wait: Wait | None
    """What it sleeps on; None for one that does not sleep."""
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@facts
class Waits:
    """The wait-for graph."""

    blocked: int
    """Tasks that sleep uninterruptibly, idle kernel threads not counted; in a crash that is
    about no hang only those that have for ten seconds."""
    not_looked_at: int
    """Blocked tasks beyond the bound."""
    tasks: tuple[WaitingTask, ...]
    """Those of cycles and those where chains end first, then the longest asleep."""
    edges: tuple[Edge, ...]
    cycles: tuple[tuple[int, ...], ...]
    """Addresses of the tasks of each cycle, each waiting for the next."""
    causes: tuple[Cause, ...]
    """Where chains of waiting end, those with most waiters first."""
    khungtaskd: HungTaskSettings | None
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


def read(crash: Crash) -> Waits | None:
    """Read the wait-for graph; None where nothing is blocked, or not for long.

    :raises Unavailable: the tasks cannot be read
    """
    tasks = {int(task): task for task in crash.tasks()}
    blocked = [task for task in tasks.values() if _is_blocked(task)]
    now = _now(crash)
    asleep_s = {int(task): _seconds(task, now) for task in blocked}
    hang = crash.oops is not None and crash.oops.kind in _HANGS
    if not hang:
        blocked = [t for t in blocked if (asleep_s[int(t)].seconds or 0.0) >= LONG_S]
    if not blocked:
        return None
    # Those that came in the order of their PIDs keep it among equals.
    blocked.sort(key=lambda t: -(asleep_s[int(t)].seconds or 0.0))
    return _graph(crash, tasks, blocked, now)


def _is_blocked(task: Object) -> bool:
    try:
        return task_state(task).blocked
    except Unavailable:
        return False


def _now(crash: Crash) -> int | Unavailable:
    try:
        return scheduler_now(crash.prog, _last_line(crash))
    except Unavailable as missing:
        return missing


def _last_line(crash: Crash) -> float | None:
    oops = crash.oops
    times = [] if oops is None else [oops.time, *(entry.time for entry in oops.earlier)]
    return max((time for time in times if time is not None), default=None)


def _seconds(task: Object, now: int | Unavailable) -> Asleep:
    try:
        if isinstance(now, Unavailable):
            raise now
        return asleep(task, now)
    except Unavailable as missing:
        return Asleep(seconds=None, at_least_s=None, absent={"seconds": missing})


def _graph(
    crash: Crash, tasks: Mapping[int, Object], blocked: list[Object], now: int | Unavailable
) -> Waits:
    found: dict[int, WaitingTask] = {}
    edges: dict[int, Edge] = {}
    todo = blocked[:MAX_BLOCKED]
    while todo and len(found) < 2 * MAX_BLOCKED:
        owners: dict[int, Object] = {}
        for task in todo:
            line = found[int(task)] = _line(crash, task, now)
            edge = _edge(line)
            if edge is None:
                continue
            edges[edge.waiter] = edge
            if edge.owner in tasks and edge.owner not in found:
                owners[edge.owner] = tasks[edge.owner]
        todo = [task for address, task in owners.items() if address not in found]
    khungtaskd, absent = _khungtaskd(crash)
    cycles, causes = cycles_of(edges), causes_of(edges, found)
    first = [task for cycle in cycles for task in cycle] + [cause.task for cause in causes]
    order = dict.fromkeys([*(task for task in first if task in found), *found])
    return Waits(
        blocked=len(blocked),
        not_looked_at=max(0, len(blocked) - MAX_BLOCKED),
        tasks=tuple(found[task] for task in order),
        edges=tuple(edges[task] for task in order if task in edges),
        cycles=cycles,
        causes=causes,
        khungtaskd=khungtaskd,
        absent=absent,
    )


def _khungtaskd(crash: Crash) -> tuple[HungTaskSettings | None, Mapping[str, Unavailable]]:
    try:
        return hung_task_settings(crash.prog), {}
    except Unavailable as missing:
        return None, {"khungtaskd": missing}


def _edge(line: WaitingTask) -> Edge | None:
    wait = line.wait
    if wait is None or wait.owner is None or wait.owner_certainty is None:
        return None
    if wait.owner == line.task and wait.lock is not None and wait.lock.owner is None:
        return None  # the hint of an rwsem it read once itself
    return Edge(
        waiter=line.task,
        owner=wait.owner,
        kind=wait.kind or "",
        address=wait.address,
        certainty=wait.owner_certainty,
    )


def _line(crash: Crash, task: Object, now: int | Unavailable) -> WaitingTask:
    thread = thread_of(task)
    absent: dict[str, Unavailable] = {}
    state = _state(task, absent)
    running = _running(crash, task, absent)
    where: Place | None = None
    callers: tuple[str, ...] = ()
    wait: Wait | None = None
    rest = Asleep(seconds=None, at_least_s=None, absent={})
    if running:
        where, callers = _on_cpu(crash, task)
    else:
        sleeping = find_wait(crash, task)
        where, callers = sleeping.place, sleeping.callers
        wait = sleeping.wait if state is None or state.letter != "R" else None
        rest = _seconds(task, now)
    if where is None:
        absent["place"] = Unavailable("place", Reason.NOT_SAVED, "no frame names it")
    if "seconds" in rest.absent:
        absent["seconds"] = rest.absent["seconds"]
    return WaitingTask(
        task=int(task), pid=thread.pid, comm=thread.comm, cpu=thread.cpu,
        state=None if state is None else state.letter, running=running,
        seconds=rest.at_least_s if rest.seconds is None else rest.seconds,
        killable=None if state is None else state.killable,
        place=where, callers=callers, wait=wait, absent=absent,
    )  # fmt: skip


def _state(task: Object, absent: dict[str, Unavailable]) -> TaskState | None:
    try:
        return task_state(task)
    except Unavailable as missing:
        absent["state"] = missing
        return None


def _running(crash: Crash, task: Object, absent: dict[str, Unavailable]) -> bool | None:
    try:
        with naming("whether it runs"):
            return is_running(crash.prog, task)
    except Unavailable as missing:
        absent["running"] = missing
        return None


def _on_cpu(crash: Crash, task: Object) -> tuple[Place | None, tuple[str, ...]]:
    frames = physical(crash.stack_of(task))
    at = before_the_panic(frames, crash.fault_frame)
    if at is None:
        return None, ()
    return place_of(frames[at]), tuple(_names(frames[at + 1 : at + 6]))


def _names(frames: Iterable[object]) -> Iterable[str]:
    return (name for frame in frames if (name := getattr(frame, "function", None)))
