"""Tasks wait in a circle for locks that the next one has: none of them ever goes on.

The kernel reports each task that sleeps too long, also those that merely queue behind the
circle, and says nothing of owners. A mutex, an rt_mutex and an rwsem held for writing note
theirs.

Recognised by: each task of the circle sleeps, is on its lock's list of waiters, and the lock
names the next task as its owner. An rwsem held for reading has only a hint of who has it, so
a circle through one stays open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.panics.evidence import (
    fact,
    holds,
    kind_of,
    owner_value,
    place_words,
    state_value,
    task_value,
    who,
)
from crashkit.crash.panics.waits_chain import Chain, chain_from, reported_task
from crashkit.crash.scenes import WaitScene, waits_of
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin

if TYPE_CHECKING:
    from crashkit.crash.panics.waits import WaitingTask

META = Meta(
    id="abba-deadlock",
    claim="tasks sleep in a circle, each waiting for a lock that the next one owns",
    references=("kernel/locking/mutex.c: owner & ~MUTEX_FLAGS; kernel/locking/rwsem.c",),
    matches=("kind-abba",),
    rejects=("kind-hungmutex", "kind-hungcompletion"),
    told_apart_from=(
        "an owner that sleeps for something else or runs: the chain of owners ends there",
        "tasks that queue behind the circle: they are reported too, and nobody waits for them",
    ),
    advice="take the locks of the circle in one order everywhere",
)

_OTHERS = ("sysrq", "nmi", "soft-lockup", "hard-lockup", "rcu-stall")
"""Kinds of panic that a person or another watchdog makes of a deadlock."""


def applies(crash: Crash) -> bool:
    """Whether khungtaskd ended it, or tasks are blocked in a circle."""
    kind = kind_of(crash)
    if kind == "hung-task":
        return True
    found = waits_of(crash) if kind in _OTHERS else None
    return found is not None and bool(found.cycles)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("circle", "owners of locks wait in a circle", lambda: _circle(scene))
    yield necessary("asleep", "all of them sleep", lambda: _asleep(scene))
    yield supporting("reported", "the task that was reported is one of them", lambda: _said(scene))


class _Scene(WaitScene):
    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        lines = [line for line in self.waits.tasks if line.state == "D"]
        return tuple(chain_from(self.waits, line.task) for line in lines)

    @cached_property
    def circle(self) -> tuple[WaitingTask, ...]:
        """The tasks of the first circle that is proved; none: there is no circle."""
        tasks = {line.task: line for line in self.waits.tasks}
        sure = {e.waiter for e in self.waits.edges if e.certainty is Certainty.PROVED}
        for cycle in self.waits.cycles:
            if sure.issuperset(cycle):
                return tuple(tasks[task] for task in cycle)
        if self.waits.cycles:
            what = "the circle"
            raise Unavailable(what, Reason.AMBIGUOUS, "a lock in it only hints at who has it")
        for chain in self.chains:
            if chain.unknown is not None:
                raise chain.unknown
            if not chain.proved:
                detail = "a lock only hints at who has it"
                raise Unavailable("who is waited for", Reason.AMBIGUOUS, detail)
        if self.waits.not_looked_at or any("list of tasks" in x.what for x in self.crash.limits):
            raise Unavailable("the blocked tasks", Reason.NOT_IN_DUMP, "not all are known")
        return ()


def _circle(scene: _Scene) -> Observation:
    circle = scene.circle
    if circle:
        values = [owner_value(line.wait) for line in circle if line.wait is not None]
        note = "; ".join(f"{who(line)} in {place_words(line.place)}" for line in circle)
        return seen(True, *values, note=note)
    ends = {chain.end.task: chain.end for chain in scene.chains if chain.end is not None}
    if not ends:
        raise Unavailable("the chains", Reason.NOT_SAVED, "none can be followed")
    values = [task_value("end of a chain", end) for end in ends.values()]
    note = "; ".join(f"{who(end)} waits for no owner" for end in ends.values())
    return seen(False, *values, note=note)


def _asleep(scene: _Scene) -> Observation:
    if not scene.circle:
        raise Unavailable("the circle", Reason.NOT_APPLICABLE, "there is none")
    values = [state_value(scene.crash.prog, line.task) for line in scene.circle]
    note = ", ".join(f"{line.comm} for {line.seconds or 0:.0f} s" for line in scene.circle)
    return seen(all(line.state != "R" for line in scene.circle), *values, note=note)


def _said(scene: _Scene) -> Observation:
    line = reported_task(scene.crash, scene.waits)
    if line is None or not scene.circle:
        raise Unavailable("the reported task", Reason.NOT_APPLICABLE)
    said = fact("reported", who(line), "log", "crash.log", origin=Origin.TEXT)
    behind = len([line for line in scene.chains if line.circle]) - len(scene.circle)
    return seen(line in scene.circle, said, note=_behind(behind))


def _behind(tasks: int) -> str:
    return f"{tasks} more wait{'s' * (tasks == 1)} behind the circle" if tasks else ""


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say who waits for what where."""
    if not holds(found, "circle"):
        return ()
    waiting = [
        f"{who(line)} waits for {line.wait.lock.name or f'{line.wait.lock.address:016x}'}"
        f" in {place_words(line.place)}"
        for line in _Scene(crash).circle
        if line.wait is not None and line.wait.lock is not None
    ]
    return (*waiting, "take these locks in one order everywhere")
