"""Reading and writing operands: registers, stack slots, memory elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from crashkit.dataflow.extents import EVERYTHING, Extents, Variables
from crashkit.dataflow.state import Slot, State
from crashkit.dataflow.terms import (
    DEEPEST,
    UNKNOWN,
    Const,
    Defined,
    Entry,
    FrameAddress,
    Load,
    PerCpu,
    Term,
    depth,
    part,
    signed64,
    split,
)
from crashkit.disasm import (
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.registers import CALLEE_SAVED

_U64 = 0xFFFF_FFFF_FFFF_FFFF

FindVariables: TypeAlias = Callable[[], Variables | None]
"""Lists a function's variables; None when nothing describes them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a memory operand points: a term and a distance."""

    base: Term
    offset: int
    in_frame: bool
    """It may lie in this function's frame even where ``base`` is unknown."""

    @property
    def frame_offset(self) -> int | None:
        """Offset from the CFA, where it is known."""
        return self.base.offset + self.offset if isinstance(self.base, FrameAddress) else None


@dataclass(slots=True)
class Operands:
    """Reads and writes operands in states, and notes what only the whole function shows."""

    restores: frozenset[tuple[str, str | None, int]] = frozenset()
    """Loads that may restore a callee-saved register: register, base, displacement."""
    loaded_slots: dict[int, set[int]] = field(default_factory=dict)
    """Frame offsets the function reads, and the instructions that do: slots of its own,
    not arguments for a callee."""
    find_variables: FindVariables | None = None
    """Lists what the function keeps in its frame; None: an address leads everywhere."""
    stack_pointer: Callable[[], int | None] = lambda: None
    """Tells where rsp is in the function's body, as an offset from the CFA."""
    _found: Variables | None = None

    @property
    def variables(self) -> Variables | None:
        """What the function keeps in its frame; looked up when an address first escapes."""
        if self.find_variables is not None:
            found, self.find_variables = self.find_variables(), None
            if found is not None and found.unplaced:
                found = found.placed(self.stack_pointer())
            self._found = found
        return self._found

    def reached_from(self, offset: int, size: int | None = None) -> Extents:
        """Where a C pointer of the value CFA plus ``offset`` leads."""
        variables = self.variables
        return variables.reached_from(offset, size) if variables else EVERYTHING

    # Reading operands

    def place(self, state: State, instruction: Instruction, memory: MemoryOperand) -> Place:
        """Where a memory operand points; without its segment base."""
        absolute = instruction.absolute(memory)
        if absolute is not None:
            return Place(Const(absolute), 0, in_frame=False)
        base: Term = Const(0) if memory.base is None else state.register(memory.base)
        index: Term = Const(0) if memory.index is None else state.register(memory.index)
        in_frame = _may_be_frame(memory, base) or isinstance(index, FrameAddress)
        if not isinstance(index, Const):
            return Place(UNKNOWN, 0, in_frame=in_frame)
        root, distance = split(base)
        offset = signed64(distance + index.value * memory.scale + memory.displacement)
        return Place(root, offset, in_frame=in_frame)

    def load(
        self,
        state: State,
        instruction: Instruction,
        memory: MemoryOperand,
        size: int,
        signed: bool = False,
    ) -> Term:
        """Term of ``size`` bytes read through a memory operand."""
        place = self.place(state, instruction, memory)
        if depth(place.base) >= DEEPEST:
            place = Place(UNKNOWN, place.offset, place.in_frame)
        if memory.segment is not None:
            return PerCpu(
                place.base, place.offset, size, instruction.address, memory.segment, signed
            )
        if place.frame_offset is not None:
            self.note_read(state, instruction, place.frame_offset, size)
            known = state.load(place.frame_offset, size, signed)
            if known is not None:
                return known
            return Load(FrameAddress(place.frame_offset), 0, size, instruction.address, signed)
        if place.in_frame:
            state.reveal_all()
        elif state.hides and not isinstance(place.base, (Entry, Const)):
            state.reveal_escaped()
        return Load(place.base, place.offset, size, instruction.address, signed)

    def note_read(self, state: State, instruction: Instruction, offset: int, size: int) -> None:
        """Note that an instruction reads ``size`` bytes of the frame."""
        self.loaded_slots.setdefault(offset, set()).add(instruction.address)
        if state.hides and (size != 8 or state.load(offset, 8, False) is None):
            state.reveal(offset, size)

    def read(
        self, state: State, instruction: Instruction, operand: Operand, size: int, signed: bool
    ) -> Term:
        """Term of an operand, extended from ``size`` bytes to 64 bits."""
        if isinstance(operand, ImmediateOperand):
            return part(Const(operand.value & _U64), size, signed)
        if isinstance(operand, MemoryOperand):
            return self.load(state, instruction, operand, size, signed)
        if operand.full is None or operand.is_high_byte:
            return UNKNOWN
        term = state.register(operand.full)
        if size < 8:
            escape_value(state, term)
        return part(term, size, signed)

    # Writing operands

    def write(
        self, state: State, instruction: Instruction, operand: Operand, size: int, term: Term
    ) -> None:
        """Write a term to an operand of ``size`` bytes."""
        if isinstance(operand, MemoryOperand):
            self.store(state, instruction, operand, size, term)
        elif isinstance(operand, RegisterOperand) and operand.full is not None:
            if size < 4:  # what is left of a frame address still points into the frame
                escape_value(state, state.register(operand.full))
            result = part(term, size, False) if size >= 4 else UNKNOWN
            state.set_register(operand.full, named(instruction, operand.full, result))

    def store(
        self,
        state: State,
        instruction: Instruction,
        memory: MemoryOperand,
        size: int,
        term: Term,
    ) -> None:
        """Write ``size`` bytes through a memory operand."""
        place = self.place(state, instruction, memory)
        addresses: frozenset[int] = frozenset()
        if isinstance(term, FrameAddress):
            if self._is_spill(memory, place, size):
                addresses = frozenset({term.offset})
            else:
                is_pointer = size == 8 and (place.frame_offset is not None or not place.in_frame)
                state.escape(self.reached_from(term.offset) if is_pointer else EVERYTHING)
        if memory.segment is not None:
            return  # per-CPU memory is not the stack
        if place.frame_offset is not None:
            saved = size == 8 and self._is_save(state, memory, place.frame_offset, term)
            slot = Slot(size, part(term, size, False), saved, addresses)
            state.store(place.frame_offset, slot)
        elif place.in_frame:
            state.drop_unsaved()
        elif not isinstance(place.base, (Entry, Const)):
            # What a caller passed and global objects lie outside of this frame.
            state.drop_escaped()

    def _is_spill(self, memory: MemoryOperand, place: Place, size: int) -> bool:
        # The source's own store of an address has a C pointer. What is put into the frame
        # outside of the variables may be a register that is spilled, with any distance in
        # it: it is followed, as in a register, and a callee may have it as an argument.
        at = place.frame_offset
        if size != 8 or at is None or memory.segment is not None:
            return False
        return self.variables is not None and not self.variables.covers(at, 8)

    def _is_save(self, state: State, memory: MemoryOperand, offset: int, term: Term) -> bool:
        if not isinstance(term, Entry) or term.register not in CALLEE_SAVED:
            return False
        # A push, or a store below rsp before it is lowered: no local lies there. Or a
        # store to a place from which the same register is restored.
        stack = state.register("rsp")
        if isinstance(stack, FrameAddress) and offset < stack.offset:
            return True
        return (term.register, memory.base, memory.displacement) in self.restores


def named(instruction: Instruction, register: str, term: Term) -> Term:
    """Give an unknown value that an instruction puts into a register its name."""
    return Defined(instruction.address, register) if term == UNKNOWN else term


def escape_value(state: State, term: Term) -> None:
    """Note that a term becomes a value that is not followed: a frame address escapes.

    What is calculated from it need not point into the same object, so it leads everywhere.
    """
    if isinstance(term, FrameAddress):
        state.escape(EVERYTHING)


def _may_be_frame(memory: MemoryOperand, base: Term) -> bool:
    if isinstance(base, FrameAddress):
        return True
    return memory.base == "rsp"


def restores_of(instructions: Sequence[Instruction]) -> frozenset[tuple[str, str | None, int]]:
    """List the loads that may restore a callee-saved register: register, base, displacement."""
    found = set()
    for instruction in instructions:
        if instruction.operation != "mov" or len(instruction.arguments) != 2:
            continue
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or not isinstance(source, MemoryOperand):
            continue
        if target.name in CALLEE_SAVED and source.base in ("rsp", "rbp"):
            found.add((target.name, source.base, source.displacement))
    return frozenset(found)
