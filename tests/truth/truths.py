"""Which logged entries are what a frame's function was called with, and where each argument was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from drgn import Type, TypeKind

from crashkit.crash import Crash
from crashkit.layout import COMPOUND, size_of, strip
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.unwind import Frame
from tests.truth.events import Event, EventLog, live_activations
from tests.truth.stacks import TaskStack, function_of

# The function tracer's call is over at a return address beyond these bytes.
ENTRY_BYTES = 9
STACK_GAP = 0x4000
WORD = 8
# A probe's own handler, which was interrupted: entries further in are not logged.
IN_PROBE = ("kprobe_ftrace_handler", "kprobe_dispatcher", "kprobe_int3_handler")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a parameter is when its function is entered."""

    type: Type
    register: str | None = None
    word: int | None = None
    """Number of the stack's word, 0 being the one above the return address."""

    @property
    def mask(self) -> int:
        """The bits that count."""
        return (1 << 8 * (size_of(self.type) or 8)) - 1

    def passed(self, event: Event) -> int | None:
        """What was passed there; None if that was not logged."""
        if self.register is not None:
            return event.register(self.register) & self.mask
        if self.word is not None and self.word < len(event.stack):
            return event.stack[self.word] & self.mask
        return None


def truths_of(crash: Crash, stack: TaskStack, log: EventLog) -> Mapping[int, Event]:
    """Map a frame's position on the stack to the entry that made it, where that is certain."""
    found: dict[int, Event] = {}
    if log.stopped and stack.running and not stack.crashed:
        return found  # its CPU may have gone round a loop since the log ended
    in_probe = (p for p, frame in enumerate(stack.frames) if frame.function in IN_PROBE)
    first_logged = max(in_probe, default=-1) + 1
    for positions in _joined(stack.frames):
        places = {p: (stack.frames[p].cfa or 0) - WORD for p in positions}
        live = live_activations(log.events, min(places.values()), max(places.values()))
        for position, sp in places.items():
            event = live.get(sp)
            if event is None or position < first_logged:
                continue
            if _made(crash, stack.frames[position], event, log):
                found[position] = event
    return found


def _made(crash: Crash, frame: Frame, event: Event, log: EventLog) -> bool:
    function = function_of(crash, frame)
    if function is None or event.function != function.address:
        return False
    is_past_entry = (frame.offset or 0) > ENTRY_BYTES
    is_complete = function.address not in log.missed and event.time >= log.complete_since
    return is_past_entry and is_complete and event.certain


def _joined(frames: Sequence[Frame]) -> Iterator[list[int]]:
    # Frames on one stack: an interrupt's or exception's stack lies somewhere else.
    group: list[int] = []
    last = 0
    for position, frame in enumerate(frames):
        if frame.cfa is None:
            continue
        if group and not 0 <= frame.cfa - last < STACK_GAP:
            yield group
            group = []
        group.append(position)
        last = frame.cfa
    if group:
        yield group


def places_of(prototype: Type) -> Iterator[Place]:
    """Yield where each parameter is passed (psABI 3.2.3).

    Of a structure in two registers, and of floating-point numbers, no place is given.
    """
    result = strip(prototype.type)
    used = int(result.kind in COMPOUND and (size_of(result) or 0) > 2 * WORD)
    words: int | None = 0
    for parameter in prototype.parameters:
        type_ = parameter.type
        bare = strip(type_)
        size = WORD if bare.kind is TypeKind.POINTER else size_of(bare) or 0
        needed = -(-size // WORD)
        if bare.kind is TypeKind.FLOAT or size == 0:
            words = None  # whether it is on the stack is not looked into
            yield Place(type=type_)
        elif needed <= 2 and used + needed <= len(ARGUMENT_REGISTERS):
            yield Place(type=type_, register=ARGUMENT_REGISTERS[used] if needed == 1 else None)
            used += needed
        else:
            yield Place(type=type_, word=words if needed == 1 else None)
            words = None if words is None else words + needed
