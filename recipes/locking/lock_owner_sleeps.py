"""A task waits for a lock whose owner is elsewhere: it sleeps for something else, or runs.

The task that khungtaskd reports is the victim; the question is what the owner does. Owners
are followed until one does not wait for a lock.

Recognised by: the reported task is on its lock's list of waiters, the lock names its owner,
and the last owner of that chain waits for no owner. An rwsem that is held for reading notes
only who took it last: such an owner is likely, not certain, and its class says so.
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
    who,
)
from crashkit.crash.panics.waits_chain import Chain, chain_from, is_owned, victim
from crashkit.crash.scenes import WaitScene, waits_of
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta

if TYPE_CHECKING:
    from crashkit.crash.panics.waits import WaitingTask
    from crashkit.crash.panics.waits_parts import Wait

META = Meta(
    id="lock-owner-sleeps",
    claim="a task waits for a lock whose owner (of readers, the last to take it ~) sleeps for"
    " something else, or runs",
    references=("kernel/locking/mutex.c, rwsem.c: the owner word; kernel/hung_task.c",),
    matches=("kind-hungmutex", "kind-hungreader", "kind-hungwriter"),
    rejects=("kind-abba", "kind-hungcompletion"),
    classes=("owner sleeps", "owner runs", "last reader ~"),
    told_apart_from=(
        "a deadlock: the chain of owners comes back to its start",
        "a completion or I/O that does not come: nobody owns what is waited for",
    ),
)

_OTHERS = ("sysrq", "nmi")


def applies(crash: Crash) -> bool:
    """Whether khungtaskd ended it, or blocked tasks wait for an owner."""
    kind = kind_of(crash)
    if kind == "hung-task":
        return True
    found = waits_of(crash) if kind in _OTHERS else None
    return found is not None and any(not cause.in_cycle for cause in found.causes)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("waits", "a blocked task waits for a lock", lambda: _for_lock(scene))
    yield necessary("owner", "the lock names who has it", lambda: _owned(scene))
    yield necessary("ends", "the chain of owners does not come back", lambda: _ends(scene))
    yield necessary("elsewhere", "the last owner waits for no owner", lambda: _elsewhere(scene))
    yield supporting("others", "more tasks wait for it", lambda: _others(scene))


class _Scene(WaitScene):
    @cached_property
    def waiter(self) -> WaitingTask:
        found = victim(self.crash, self.waits)
        if found is None:
            raise Unavailable("the blocked task", Reason.NOT_IN_DUMP, "none can be read")
        return found

    @cached_property
    def wait(self) -> Wait:
        wait = self.waiter.wait
        if wait is None or wait.kind is None:
            why = Unavailable("what it waits for", Reason.NOT_SAVED)
            raise why if wait is None else wait.absent.get("kind", why)
        return wait

    @cached_property
    def chain(self) -> Chain:
        return chain_from(self.waits, self.waiter.task)

    @cached_property
    def end(self) -> WaitingTask:
        if not self.chain.edges or self.chain.circle:
            raise Unavailable("the last owner", Reason.NOT_APPLICABLE, "there is none")
        if self.chain.unknown is not None or self.chain.end is None:
            raise self.chain.unknown or Unavailable("the last owner", Reason.NOT_IN_DUMP)
        return self.chain.end


def _for_lock(scene: _Scene) -> Observation:
    state = state_value(scene.crash.prog, scene.waiter.task)
    note = f"{who(scene.waiter)} in {place_words(scene.waiter.place)}: {scene.wait.kind}"
    if is_owned(scene.wait.kind) and scene.wait.lock is None:
        raise scene.wait.absent.get("lock") or Unavailable("the lock", Reason.NOT_SAVED)
    return seen(is_owned(scene.wait.kind), state, note=f"{note}, by {scene.wait.how}")


def _owned(scene: _Scene) -> Observation:
    wait = scene.wait
    value = owner_value(wait)
    # Whoever owns it: it must be this lock that the task waits for.
    if wait.owner_how == "the lock's owner" and wait.certainty is not wait.owner_certainty:
        raise Unavailable("the lock", Reason.AMBIGUOUS, "it is not certain which one it is")
    return seen(True, value, note=wait.owner_how)


def _ends(scene: _Scene) -> Observation:
    chain = scene.chain
    if not chain.edges or (chain.unknown is not None and not chain.circle):
        raise chain.unknown or Unavailable("the owner", Reason.NOT_APPLICABLE, "nobody's")
    values = [owner_value(x.wait) for x in chain.waiters if x.wait is not None]
    names = [who(line) for line in chain.waiters]
    names += [who(chain.end)] if chain.end is not None else names[:1]
    return seen(not chain.circle, *values, note=" waits for ".join(names))


def _elsewhere(scene: _Scene) -> Observation:
    value = state_value(scene.crash.prog, scene.end.task)
    return seen(True, value, note=_does(scene.end))


def _does(end: WaitingTask) -> str:
    if end.running:
        return f"{who(end)} runs on CPU {end.cpu}, in {place_words(end.place)}"
    for_what = f" ({end.wait.kind})" if end.wait is not None and end.wait.kind else ""
    return f"{who(end)} sleeps in {place_words(end.place)}{for_what}, state {end.state}"


def _others(scene: _Scene) -> Observation:
    end = scene.end
    cause = next(cause for cause in scene.waits.causes if cause.task == end.task)
    value = fact("tasks that wait for it", cause.waiters, "foreach UN bt", "crash.all_stacks()")
    return seen(cause.waiters > 1, value, note=f"{cause.direct} directly")


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say what the owner does."""
    if not holds(found, "elsewhere"):
        return ()
    scene = _Scene(crash)
    does = "owner runs" if scene.end.running else "owner sleeps"
    return (does,) if scene.chain.proved else (does, "last reader ~")


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say where to look: at the owner, not at those that were reported."""
    if not holds(found, "elsewhere"):
        return ()
    scene = _Scene(crash)
    likely = "" if scene.chain.proved else " (the last to take it for reading ~)"
    return (f"look at the owner's stack, not at the waiters': {_does(scene.end)}{likely}",)
