"""A task called schedule() where it must not sleep: preemption was disabled, or in interrupt.

schedule() complains when preempt_count is more than its own; it then resets the count and
goes on, so the dump has the count only where the complaint itself was made the panic
(panic_on_warn).

Recognised by: __schedule_bug() is on the crashed stack, which schedule() calls for nothing
else, and the CPU's preempt_count still has more than schedule() and panic() add. Who raised
it is inferred from the locks that functions on the stack took.
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
    place_words,
    return_value,
    section_of,
)
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Value

if TYPE_CHECKING:
    from crashkit.crash.panics.atomic import Atomic
    from crashkit.decode.cpus import PreemptCount
    from crashkit.unwind import Frame

META = Meta(
    id="sleep-in-atomic",
    claim="a task slept while its preempt_count forbade it",
    references=("kernel/sched/core.c: __schedule_bug(); include/linux/preempt.h",),
    matches=("kind-schedatomic",),
    classes=("preemption disabled", "softirq", "hardirq"),
    told_apart_from=(
        "the message of an earlier sleep: the stack that panicked is another one",
        "a count that something leaked earlier: no function on the stack holds a spinlock",
    ),
)

_OWN = 2
"""schedule()'s own, and panic()'s (kernel/panic.c: preempt_disable_notrace())."""


def applies(crash: Crash) -> bool:
    """Whether the kernel said that somebody slept in atomic context."""
    return kind_of(crash) == "scheduling-while-atomic"


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("complains", "schedule() complains on this stack", lambda: _complains(scene))
    yield necessary("count", "preempt_count forbids to sleep", lambda: _forbids(scene))
    yield supporting("printed", "it is what the message says", lambda: _printed(scene))
    yield supporting("lock", "a function on the stack holds a spinlock", lambda: _lock(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def atomic(self) -> Atomic:
        from crashkit.crash.panics.atomic import Atomic

        return section_of(self.crash, "atomic", Atomic)

    @cached_property
    def frame(self) -> Frame | None:
        """That of __schedule_bug(); None: the stack is whole and has none."""
        from crashkit.oops import plain_name

        stack = self.crash.crashed_stack
        for frame in stack.frames:
            if plain_name(frame.function or "") == "__schedule_bug":
                return frame
        if not stack.complete:
            reason = stack.reason or Reason.NOT_SAVED
            raise Unavailable("__schedule_bug()", reason, "the stack is not whole")
        return None

    @cached_property
    def count(self) -> PreemptCount:
        from crashkit.decode.cpus import decode_cpu

        cpu = self.crash.thread.cpu
        if cpu is None:
            raise Unavailable("preempt_count", Reason.NOT_IN_DUMP, "the CPU is not known")
        state = decode_cpu(self.crash.prog, cpu)
        if state.preempt_count is None:
            raise state.absent["preempt_count"]
        return state.preempt_count


def _complains(scene: _Scene) -> Observation:
    if scene.frame is None:
        depth = len(scene.crash.crashed_stack.frames)
        frames = fact("frames", depth, "bt", "crash.crashed_stack", origin=Origin.CFI)
        return seen(False, frames, note="none of them is __schedule_bug()")
    note = f"{scene.atomic.comm} ({scene.atomic.pid}) in {place_words(scene.atomic.place)}"
    return seen(True, return_value(scene.frame), note=note)


def _forbids(scene: _Scene) -> Observation:
    count = scene.count
    if scene.frame is None:
        raise Unavailable("its count", Reason.NOT_APPLICABLE, "schedule() is not on the stack")
    forbids = bool(count.preempt > _OWN or count.softirq or count.hardirq or count.nmi)
    if not forbids and count.preempt == _OWN:
        # panic() of old kernels adds none: then this is one too many, else it is not.
        raise Unavailable("preempt_count", Reason.AMBIGUOUS, "it may be panic()'s own")
    note = f"preempt {count.preempt}, softirq {count.softirq}, hardirq {count.hardirq}"
    return seen(forbids, _value(scene, count), note=f"{note}; schedule() and panic() add {_OWN}")


def _value(scene: _Scene, count: PreemptCount) -> Value:
    from crashkit.symbols import find_symbol

    cpu = scene.crash.thread.cpu
    look = f"crashkit.decode.cpus.decode_cpu(prog, {cpu}).preempt_count"
    hot = find_symbol(scene.crash.prog, "pcpu_hot")
    where = "pcpu_hot" if hot is not None else "__preempt_count"
    return fact("preempt_count", count.value, f"p {where}:{cpu}", look)


def _printed(scene: _Scene) -> Observation:
    said = scene.atomic.count
    if said is None:
        raise scene.atomic.absent["count"]
    same = 0 <= scene.count.value - said.value < _OWN
    return seen(same, _value(scene, scene.count), note=f"printed {said.value:#x}")


def _lock(scene: _Scene) -> Observation:
    held = scene.atomic.spinlocks
    values = [
        fact(
            f"taken by {lock.function}+{lock.offset:#x}",
            lock.address,
            "bt -f",
            f"prog.read_u32({lock.address:#x})",
            origin=Origin.DATAFLOW,
            certainty=Certainty.INFERRED,
        )
        for lock in held
    ]
    return seen(bool(held), *(values or [_value(scene, scene.count)]))


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say which field of the count forbade it."""
    if not holds(found, "count"):
        return ()
    count = _Scene(crash).count
    fields = ((count.preempt > _OWN, 0), (count.softirq, 1), (count.hardirq, 2))
    return tuple(META.classes[number] for there, number in fields if there)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name who slept, and who had taken a lock."""
    if not holds(found, "count"):
        return ()
    atomic = _Scene(crash).atomic
    slept = f"{place_words(atomic.place)} slept, called by {', '.join(atomic.callers[:2])}"
    took = [f"{x.function}+{x.offset:#x} called {x.called}() before ~" for x in atomic.spinlocks]
    return (slept, *(took or ["find what disabled preemption further out"]))
