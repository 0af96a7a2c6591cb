"""Spinlocks that CPUs spin for: each lock, who spins, and who seems to have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.places import Place, before_the_panic, physical, place_of
from crashkit.crash.panics.spin_find import Spinning, find_spinning, spins_at
from crashkit.crash.panics.spin_holders import Taken, taken_by
from crashkit.crash.stack import Stack, task_stack
from crashkit.crash.tasks import running_tasks
from crashkit.decode.fields import naming
from crashkit.decode.locks_spin import SpinLock, decode_rwlock, decode_spinlock
from crashkit.errors import Reason, Unavailable
from crashkit.unwind import Frame
from crashkit.value import Certainty, facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

MAX_CPUS = 128
"""CPUs whose stacks are searched for the holder."""
CALLERS = 4


@facts
class Spinner:
    """A CPU that spins for a lock."""

    cpu: int | None
    pid: int | None
    comm: str | None
    task: int | None
    place: Place
    """The function that wants it."""
    callers: tuple[str, ...]
    certainty: Certainty
    how: str
    """What tells which lock it is."""


@facts
class Holder:
    """A CPU that seems to have a lock."""

    cpu: int | None
    pid: int | None
    comm: str | None
    task: int | None
    place: Place
    """Where that CPU was."""
    callers: tuple[str, ...]
    certainty: Certainty
    how: str
    spins_itself: bool
    """It spins for this lock, too: it deadlocked with itself."""


@facts
class ContendedLock:
    """A lock that at least one CPU spins for; None with a reason in ``absent``."""

    kind: str
    address: int | None
    lock: SpinLock | None
    spinners: tuple[Spinner, ...]
    holders: tuple[Holder, ...]
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@facts
class Spins:
    """All of them."""

    locks: tuple[ContendedLock, ...]
    cycles: tuple[tuple[int, ...], ...]
    """CPUs of each circle, each spinning for a lock that the next one seems to have."""


@dataclass(kw_only=True)
class _Cpu:
    stack: Stack
    frames: tuple[Frame, ...]
    start: int
    spinning: Spinning | None
    _taken: tuple[Taken, ...] | None = None

    def taken(self, crash: Crash) -> tuple[Taken, ...]:
        if self._taken is None:
            first = self.start if self.spinning is None else self.spinning.caller
            outer = self.frames[first:]
            self._taken = tuple(taken_by(crash.prog, outer))
        return self._taken


def read(crash: Crash) -> Spins | None:
    """Read the locks that CPUs spin for; None where none does.

    :raises Unavailable: the CPUs' stacks cannot be had
    """
    if not _somebody_spins(crash):
        return None
    cpus = [found for stack in crash.cpu_stacks()[:MAX_CPUS] if (found := _cpu(crash, stack))]
    groups: dict[tuple[str, int | None], list[_Cpu]] = {}
    for cpu in cpus:
        if cpu.spinning is not None:
            groups.setdefault((cpu.spinning.kind, cpu.spinning.lock), []).append(cpu)
    if not groups:
        return None
    locks = tuple(_contended(crash, key, group, cpus) for key, group in groups.items())
    return Spins(locks=locks, cycles=_cycles(locks))


def _somebody_spins(crash: Crash) -> bool:
    # Asked of stacks walked without the registers that callees saved: those take time.
    with naming("the CPUs"):
        running = list(islice(running_tasks(crash.prog), MAX_CPUS))
    for cpu, task in running:
        here = cpu == crash.thread.cpu
        stack = crash.crashed_stack if here else task_stack(crash.prog, task, None)
        frames = physical(stack)
        start = before_the_panic(frames, crash.fault_frame if here else None)
        if start is not None and spins_at(frames[start]):
            return True
    return False


def _cpu(crash: Crash, stack: Stack) -> _Cpu | None:
    frames = physical(stack)
    fault = crash.fault_frame if stack.thread.task == crash.thread.task else None
    start = before_the_panic(frames, fault)
    if start is None:
        return None
    spinning = find_spinning(crash, frames, start)
    return _Cpu(stack=stack, frames=frames, start=start, spinning=spinning)


def _contended(
    crash: Crash, key: tuple[str, int | None], group: list[_Cpu], cpus: list[_Cpu]
) -> ContendedLock:
    kind, address = key
    absent: dict[str, Unavailable] = {}
    lock: SpinLock | None = None
    holders: tuple[Holder, ...] = ()
    if address is None:
        why = Unavailable("the lock", Reason.NOT_SAVED, "no frame kept its address")
        absent |= {"address": why, "lock": why}
    else:
        try:
            lock = _decoded(crash, kind, address)
        except Unavailable as missing:
            absent["lock"] = missing
        holders = tuple(h for cpu in cpus for h in _holding(crash, cpu, address, lock))
    return ContendedLock(
        kind=kind,
        address=address,
        lock=lock,
        spinners=tuple(_spinner(cpu) for cpu in group),
        holders=holders,
        absent=absent,
    )


def _decoded(crash: Crash, kind: str, address: int) -> SpinLock:
    with naming(kind):
        if kind == "rwlock":
            return decode_rwlock(Object(crash.prog, "rwlock_t *", address))
        return decode_spinlock(Object(crash.prog, "raw_spinlock_t *", address))


def _spinner(cpu: _Cpu) -> Spinner:
    spinning = cpu.spinning
    assert spinning is not None
    thread = cpu.stack.thread
    return Spinner(
        cpu=thread.cpu, pid=thread.pid, comm=thread.comm, task=thread.task,
        place=place_of(cpu.frames[spinning.caller]),
        callers=_names(cpu.frames[spinning.caller + 1 :]),
        certainty=spinning.certainty, how=spinning.how,
    )  # fmt: skip


def _names(frames: tuple[Frame, ...]) -> tuple[str, ...]:
    return tuple(frame.function for frame in frames if frame.function)[:CALLERS]


def _holding(crash: Crash, cpu: _Cpu, address: int, lock: SpinLock | None) -> tuple[Holder, ...]:
    noted = lock is not None and lock.owner is not None
    if noted and lock is not None and lock.owner != cpu.stack.thread.task:
        return ()
    if noted:
        return (_holder(cpu, address, Certainty.PROVED, "the lock's owner"),)
    for taken in cpu.taken(crash):
        if taken.value == address:
            how = f"{taken.function}+{taken.offset:#x} called {taken.called}() with it"
            return (_holder(cpu, address, Certainty.INFERRED, how),)
    return ()


def _holder(cpu: _Cpu, address: int, certainty: Certainty, how: str) -> Holder:
    thread = cpu.stack.thread
    spinning = cpu.spinning
    at = cpu.start if spinning is None else spinning.caller
    return Holder(
        cpu=thread.cpu, pid=thread.pid, comm=thread.comm, task=thread.task,
        place=place_of(cpu.frames[at]), callers=_names(cpu.frames[at + 1 :]),
        certainty=certainty, how=how,
        spins_itself=spinning is not None and spinning.lock == address,
    )  # fmt: skip


def _cycles(locks: tuple[ContendedLock, ...]) -> tuple[tuple[int, ...], ...]:
    after = {
        spinner.cpu: lock.holders[0].cpu
        for lock in locks
        if lock.holders
        for spinner in lock.spinners
    }
    found: set[tuple[int, ...]] = set()
    for start in after:
        path: list[int | None] = []
        here: int | None = start
        while here in after and here not in path:
            path.append(here)
            here = after[here]
        if here in path:
            members = [cpu for cpu in path[path.index(here) :] if cpu is not None]
            first = members.index(min(members))
            found.add((*members[first:], *members[:first]))
    return tuple(sorted(found))
