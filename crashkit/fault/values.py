"""What terms were worth at the fault, and what their memory holds in the dump."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from drgn import Program

from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    Entry,
    FrameAddress,
    Load,
    Masked,
    Part,
    State,
    Sum,
    Term,
    locations_of,
    split,
)
from crashkit.errors import Reason, Unavailable
from crashkit.fault.origins import Computed, Element, Origins
from crashkit.fault.returned import of_arguments
from crashkit.memory import read_bytes
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin, facts

_U64 = (1 << 64) - 1
_STRING = ("rcx", "rsi", "rdi")
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "&": operator.and_,
    "|": operator.or_, "^": operator.xor, ">>": operator.rshift,
}  # fmt: skip


@facts
class Known:
    """A value of a term and how it is known."""

    value: int
    origin: Origin
    certainty: Certainty
    register: str | None = None


class Values:
    """Values of one frame's terms, at an instruction that was about to run.

    :ivar state: the state before that instruction
    :ivar origins: the search back from it
    :ivar passed: tells what a register held on entry, where a caller is known
    :ivar cfa: the frame's canonical frame address, where it is known
    """

    def __init__(self, prog: Program, frame: Frame, flow: Dataflow) -> None:
        self.prog = prog
        self.frame = frame
        self.flow = flow
        self.state: State = flow.state_before(frame.pc)
        self.origins = Origins(flow, frame.pc)
        self.origins.returned = partial(of_arguments, prog)
        self.passed: Callable[[str], Known] | None = None
        # A repeated string instruction that faulted has moved its registers on.
        self._moved = _STRING if flow.instructions[frame.pc].repeats else ()
        self._sure = Certainty.PROVED if flow.complete else Certainty.INFERRED
        self.cfa = self._find_cfa()

    def _find_cfa(self) -> int | None:
        stack = self.state.register("rsp")
        if isinstance(stack, FrameAddress):
            return (self.frame.sp - stack.offset) & _U64
        return self.frame.cfa

    def at_fault(self, term: Term) -> Known:
        """What a term was worth when the instruction faulted.

        From a register, a stack slot or by arithmetic; otherwise, marked inferred, what
        the memory it was read from holds in the dump.

        :raises Unavailable: nothing keeps it
        """
        known = self._kept(term)
        if known is not None:
            return known
        if isinstance(term, Load):
            return Known(value=self.now(term), origin=Origin.MEMORY, certainty=Certainty.INFERRED)
        raise Unavailable("value", Reason.NOT_SAVED, "no register or stack slot keeps it")

    def _kept(self, term: Term) -> Known | None:
        if isinstance(term, Const):
            return Known(value=term.value, origin=Origin.DATAFLOW, certainty=self._sure)
        if isinstance(term, FrameAddress) and self.cfa is not None:
            value = (self.cfa + term.offset) & _U64
            return Known(value=value, origin=Origin.DATAFLOW, certainty=self._sure)
        held = self.origins.as_held(term)
        kept = self._in_place(held) if held is not None and held != UNKNOWN else None
        return kept or self._computed(term)

    def _in_place(self, term: Term) -> Known | None:
        found = self._in_register(term) or self._in_slot(term)
        if found is None and isinstance(term, Entry) and self.passed is not None:
            with suppress(Unavailable):
                return self.passed(term.register)
        return found

    def _in_register(self, term: Term) -> Known | None:
        root, addend = split(term)
        for name, held in self.state.registers.items():
            found = self.frame.registers.get(name) if name not in self._moved else None
            base, distance = split(held)
            if found is None or base != root:
                continue
            sure = self._sure if found.certainty is Certainty.PROVED else Certainty.INFERRED
            return Known(
                value=(found.value + addend - distance) & _U64,
                origin=found.origin,
                certainty=sure,
                register=name,
            )
        return None

    def _in_slot(self, term: Term) -> Known | None:
        if self.cfa is None:
            return None
        for location in locations_of(self.flow, self.state, term):
            if location.cfa_offset is None:
                continue
            try:
                value = self._read(self.cfa + location.cfa_offset, 8, signed=False)
            except Unavailable:
                continue
            return Known(value=value, origin=Origin.MEMORY, certainty=self._sure)
        return None

    def _computed(self, term: Term) -> Known | None:
        if isinstance(term, (Computed, Element)):
            return self._of_two(term)
        if not isinstance(term, (Sum, Masked, Part)):
            return None
        try:
            base = self.at_fault(term.base)
        except Unavailable:
            return None
        if isinstance(term, Sum):
            value = base.value + term.addend
        elif isinstance(term, Masked):
            value = base.value & term.mask
        else:
            value = _extend(base.value, term.size, term.signed)
        return Known(value=value & _U64, origin=Origin.DATAFLOW, certainty=base.certainty)

    def _of_two(self, term: Computed | Element) -> Known | None:
        first, second = (
            (term.base, term.index) if isinstance(term, Element) else (term.left, term.right)
        )
        try:
            left, right = self.at_fault(first), self.at_fault(second)
        except Unavailable:
            return None
        if isinstance(term, Element):
            value = left.value + right.value * term.scale
        elif term.operator in _ARITHMETIC:
            value = _ARITHMETIC[term.operator](left.value, right.value)
        else:
            return None
        sure = left.certainty is right.certainty is Certainty.PROVED
        certainty = Certainty.PROVED if sure else Certainty.INFERRED
        return Known(value=value & _U64, origin=Origin.DATAFLOW, certainty=certainty)

    def address_of(self, term: Load) -> int:
        """Address a load read from.

        :raises Unavailable: the pointer's value is not kept
        """
        return (self.at_fault(term.base).value + term.offset) & _U64

    def now(self, term: Load) -> int:
        """What the memory a load read from holds in the dump.

        :raises Unavailable: the pointer's value is not kept, or the page is not in the dump
        """
        return self._read(self.address_of(term), term.size, term.signed)

    def _read(self, address: int, size: int, signed: bool) -> int:
        data = read_bytes(self.prog, address & _U64, size)
        return int.from_bytes(data, "little", signed=signed) & _U64


def _extend(value: int, size: int, signed: bool) -> int:
    data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return int.from_bytes(data, "little", signed=signed)
