"""A stack ran out because functions called each other again and again.

A stack can end by depth, by one large frame, or by a stack pointer that was never one. Only
the first is recursion.

Recognised by: the stack pointer, or what was to be written on the stack, is past the end of
the task's stack, in its guard page, and more than half of the stack are frames of one cycle of
functions. The frames must have been walked: return addresses that merely lie there may be left
over.
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
    return_value,
    section_of,
    word_value,
)
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Origin, Value

if TYPE_CHECKING:
    from crashkit.crash.panics.stack import Cycle, TaskStack
    from crashkit.unwind import Frame

META = Meta(
    id="stack-recursion",
    claim="the stack ran out, and most of it are frames of functions that call each other",
    references=("arch/x86/kernel/traps.c: handle_stack_overflow(); CONFIG_VMAP_STACK",),
    matches=("kind-stackoverflow",),
    rejects=("kind-doublefault", "kind-stackprotector"),
    told_apart_from=(
        "a stack pointer that was lost: it is in no stack",
        "an overwritten stack: the stack pointer has room left",
        "one large frame: no cycle of functions fills the stack",
    ),
)

_KINDS = ("stack-overflow", "double-fault", "stack-corruption")
_BESIDE = ("the task's stack", "its guard page")
_GUARD = 4096
"""The page below a stack, which is never mapped."""


def applies(crash: Crash) -> bool:
    """Whether the kernel complained about a stack."""
    return kind_of(crash) in _KINDS


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("exhausted", "the stack pointer is past the end", lambda: _exhausted(scene))
    yield necessary("cycle", "one cycle of functions fills most of it", lambda: _fills(scene))
    yield supporting("magic", "the last word of the stack is intact", lambda: _magic(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def stack(self) -> TaskStack:
        from crashkit.crash.panics.stack import TaskStack

        return section_of(self.crash, "stack", TaskStack)

    @property
    def filled(self) -> int:
        """Bytes of the cycle's frames."""
        cycle = self.stack.cycle
        return 0 if cycle is None else cycle.rounds * (cycle.bytes_per_round or 0)

    def frames(self) -> tuple[Frame, ...]:
        """Those of the cycle's functions, innermost first."""
        names = self.cycle.functions
        stack = self.stack
        return tuple(
            frame
            for frame in self.crash.frames
            if not frame.inlined and frame.function in names and frame.slot is not None
            and stack.low <= frame.sp < stack.high
        )  # fmt: skip

    @property
    def cycle(self) -> Cycle:
        if self.stack.cycle is None:
            raise Unavailable("the cycle", Reason.NOT_APPLICABLE, "there is none")
        return self.stack.cycle


def _exhausted(scene: _Scene) -> Observation:
    stack = scene.stack
    if stack.sp is None or scene.crash.fault_frame is None:
        if stack.place == "the task's stack" and stack.sp is not None:
            return seen(False, _sp(stack), note=f"{stack.left} bytes are left; nothing faulted")
        raise Unavailable("the stack pointer", stack.absent.get("sp", Reason.NOT_SAVED))
    if stack.place not in _BESIDE:
        return seen(False, _sp(stack), note=f"it is in {stack.place}")
    left, size = stack.left or 0, stack.high - stack.low
    past = "past" if left < 0 else "from"
    note = f"{stack.place}, {abs(left)} bytes {past} the end of {size}"
    if left < 0:
        return seen(True, _sp(stack), note=note)
    # A push or a call faults before it moves the stack pointer.
    fault = scene.crash.fault
    access = None if fault is None else fault.address
    if fault is None or access is None or not stack.low - _GUARD <= access < stack.low:
        return seen(False, _sp(stack), note=note)
    below = f"{note}; the {fault.access or 'access'} was {stack.low - access} bytes below it"
    address = fact("address accessed", access, "bt", "crash.fault.address", origin=Origin.REGISTER)
    return seen(True, _sp(stack), address, note=below)


def _sp(stack: TaskStack) -> Value:
    return fact("RSP", stack.sp or 0, "bt", "crash.fault_frame.sp", origin=Origin.REGISTER)


def _fills(scene: _Scene) -> Observation:
    stack, size = scene.stack, scene.stack.high - scene.stack.low
    walked = stack.cycle is not None and stack.cycle.origin == "frames"
    if walked and scene.filled * 2 > size:
        # The innermost one, and the one with which half of the stack is theirs.
        frames = scene.frames()
        half = next((f for f in frames if f.sp - stack.low > size // 2), frames[-1])
        values = [return_value(frames[0]), return_value(half)]
        note = f"{' < '.join(scene.cycle.functions)}: {scene.cycle.rounds} rounds of"
        return seen(True, *values, note=f"{note} {scene.cycle.bytes_per_round} bytes")
    if not stack.complete and stack.place in _BESIDE:
        why = "not all of its frames could be walked"
        raise Unavailable("the frames", scene.crash.crashed_stack.reason or Reason.NOT_SAVED, why)
    depth = fact("frames", stack.depth, "bt", "crash.crashed_stack", origin=Origin.CFI)
    return seen(False, depth, note=f"{scene.filled} of {size} bytes")


def _magic(scene: _Scene) -> Observation:
    stack = scene.stack
    if stack.end_magic is None:
        raise Unavailable("the end of the stack", stack.absent["end_magic"])
    magic = word_value("STACK_END_MAGIC", stack.low, stack.end_magic)
    return seen(bool(stack.end_intact), magic)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the cycle and how it was entered."""
    if not holds(found, "cycle"):
        return ()
    scene = _Scene(crash)
    last = scene.frames()[-1]
    outer = [f for f in crash.outer_frames if f.sp > last.sp and not f.inlined and f.function]
    begun = f", entered from {outer[0].function}" if outer else ""
    names = " < ".join(scene.cycle.functions)
    return (f"find what should end the recursion of {names}{begun}",)
