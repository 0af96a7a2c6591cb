"""CPUs spin for spinlocks that they have themselves: one lock taken twice, or two in two orders.

A spinlock says that it is taken, not by whom. Who has it follows from code: a function that
is still on a CPU's stack called a lock function with that address and has not come to the
unlock. That is an inference, which the claim says; the rest is read.

Recognised by: a CPU spins, its lock is taken in memory, and by that inference each of the
CPUs of a circle (of one, where it waits for itself) spins for a lock that the next one has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.panics.evidence import fact, find_section, holds, kind_of, place_words
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Value

if TYPE_CHECKING:
    from crashkit.crash.panics.spin import ContendedLock, Holder, Spinner, Spins

META = Meta(
    id="spinlock-deadlock",
    claim="CPUs spin for spinlocks that, by the code on their stacks (~), they themselves took",
    references=("kernel/locking/qspinlock.c; include/asm-generic/qspinlock_types.h",),
    matches=("kind-spinself", "kind-spinabba"),
    rejects=("kind-spinlock", "kind-softlockup"),
    classes=("one lock taken twice", "CPUs in a circle"),
    told_apart_from=(
        "a holder that is merely slow: it does not spin itself",
        "a loop without a lock: no CPU spins for one",
    ),
)

_STALLS = ("soft-lockup", "hard-lockup", "rcu-stall", "spinlock-deadlock")
_OTHERS = ("nmi", "sysrq", "hung-task", "panic-other")


def applies(crash: Crash) -> bool:
    """Whether a CPU stalled, or one spins for a lock."""
    kind = kind_of(crash)
    return kind in _STALLS or (kind in _OTHERS and _spins(crash) is not None)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("spins", "a CPU spins for a lock", lambda: _somebody(scene))
    yield necessary("taken", "the lock is taken", lambda: _taken(scene))
    yield necessary("circle", "whoever seems to have it spins, in a circle", lambda: _circle(scene))


def _spins(crash: Crash) -> Spins | None:
    from crashkit.crash.panics.spin import Spins

    return find_section(crash, "spin", Spins)


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def locks(self) -> tuple[ContendedLock, ...]:
        """Those of the circle, else all that CPUs spin for."""
        found = _spins(self.crash)
        if found is None:
            return ()
        circle = {cpu for cycle in found.cycles[:1] for cpu in cycle}
        inside = tuple(x for x in found.locks if circle.intersection(s.cpu for s in x.spinners))
        return inside or found.locks

    @cached_property
    def cpus(self) -> tuple[int, ...]:
        found = _spins(self.crash)
        return found.cycles[0] if found is not None and found.cycles else ()

    def some_locks(self) -> tuple[ContendedLock, ...]:
        if not self.locks:
            raise Unavailable("the lock", Reason.NOT_APPLICABLE, "no CPU spins for one")
        return self.locks


def _somebody(scene: _Scene) -> Observation:
    stacks = scene.crash.cpu_stacks()
    if not scene.locks:
        if any(not stack.frames for stack in stacks):
            raise Unavailable("what a CPU does", Reason.NOT_SAVED, "its stack cannot be walked")
        cpus = fact("CPUs", len(stacks), "bt -a", "crash.cpu_stacks()")
        return seen(False, cpus, note="none of them spins for a lock")
    spinners = [spinner for lock in scene.locks for spinner in lock.spinners]
    values = [
        _on_cpu(f"CPU {one.cpu} spins for", lock.address, one, Origin.REGISTER)
        for lock in scene.locks
        if lock.address is not None
        for one in lock.spinners
    ]
    if not values or any(value.certainty is not Certainty.PROVED for value in values):
        raise Unavailable("the lock", Reason.NOT_SAVED, "which one it is, is not certain")
    note = "; ".join(f"CPU {one.cpu} in {place_words(one.place)}" for one in spinners)
    return seen(True, *values, note=note)


def _taken(scene: _Scene) -> Observation:
    values, locked = [], []
    for one in scene.some_locks():
        if one.lock is None or one.lock.value is None or one.address is None:
            raise one.absent.get("lock") or Unavailable("the lock's word", Reason.NOT_IN_DUMP)
        locked.append(bool(one.lock.locked or one.lock.readers))
        show, look = f"rd -32 {one.address:016x}", f"prog.read_u32({one.address:#x})"
        name = one.lock.name or "lock"
        values.append(fact(name, one.lock.value, show, look, address=one.address))
    return seen(all(locked), *values)


def _circle(scene: _Scene) -> Observation:
    locks = scene.some_locks()
    if not scene.cpus:
        nobody = [lock for lock in locks if not lock.holders]
        if nobody:
            # A stack that ends early may have the frame that took it.
            raise Unavailable("the holder", Reason.AMBIGUOUS, "no frame tells who has the lock")
    holders = [holder for lock in locks for holder in lock.holders]
    return seen(bool(scene.cpus), *map(_held_by, holders), note="; ".join(h.how for h in holders))


def _held_by(holder: Holder) -> Value:
    who = f"CPU {holder.cpu}, {holder.comm} ({holder.pid})"
    return _on_cpu("holder", who, holder, Origin.DATAFLOW)


def _on_cpu(name: str, value: int | str, cpu: Spinner | Holder, origin: Origin) -> Value:
    show, look = f"bt -c {cpu.cpu}", f"crash.stack_on({cpu.cpu})"
    return fact(name, value, show, look, origin=origin, certainty=cpu.certainty)


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say how many CPUs the circle has."""
    if not holds(found, "circle"):
        return ()
    cpus = _Scene(crash).cpus
    return ("one lock taken twice",) if len(cpus) == 1 else ("CPUs in a circle",)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the calls that took the locks."""
    if not holds(found, "circle"):
        return ()
    took = [holder.how for lock in _Scene(crash).locks for holder in lock.holders]
    return (*took, "that lock must not be taken again before it is let go")
