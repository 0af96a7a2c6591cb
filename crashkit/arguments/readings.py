"""What is read of terms and registers: parts of values, and the words for where they are."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.arguments.activation import Stopped
from crashkit.arguments.answer import Answer
from crashkit.dataflow import Entry, FrameAddress, Incoming, Masked, Part, Term, signed64
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.unwind import RegisterValue
from crashkit.value import Certainty, Origin

_U64 = (1 << 64) - 1


def passed_terms(here: Stopped) -> Iterator[tuple[Term, Term]]:
    """What a call passes: the callee's name for each place, and the caller's term."""
    for name in ARGUMENT_REGISTERS:
        yield Entry(name), here.before.register(name)
    stack = here.before.register("rsp")
    if isinstance(stack, FrameAddress):
        for offset, slot in here.before.slots.items():
            if slot.size == 8 and offset >= stack.offset:
                yield Incoming(offset - stack.offset), slot.term


def low(term: Term, size: int) -> Term:
    """Leave out what only changes bytes above the wanted ones."""
    while True:
        if isinstance(term, Part):
            keeps = term.size >= size
        else:
            keeps = isinstance(term, Masked) and not ~term.mask & ((1 << 8 * size) - 1)
        if not keeps or not isinstance(term, (Part, Masked)):
            return term
        term = term.base


def extended(value: int, size: int, signed: bool) -> int:
    """The low ``size`` bytes of a value, extended to 64 bits."""
    value &= (1 << 8 * size) - 1
    if signed and size < 8 and value >> (8 * size - 1):
        value -= 1 << 8 * size
    return value & _U64


def with_value(answer: Answer, value: int) -> Answer:
    """The answer, with a value made of it."""
    return answer.moved(signed64(value - answer.value))


def in_register(name: str, held: RegisterValue) -> Answer:
    """The answer that a register gives."""
    where = ""
    if held.slot is not None:
        where = f", saved at {held.slot:016x}"
        if held.saved_by is not None:
            where = f"; {held.saved_by} pushed it at {held.slot:016x}"
    return Answer(
        value=held.value,
        proved=held.certainty is Certainty.PROVED,
        origin=Origin.SAVED_REGISTER if held.saved_by else Origin.REGISTER,
        how=name + where,
    )


def stack_pointer(value: int) -> Answer:
    """The answer that the stack pointer gives."""
    how = f"the stack pointer {value:016x}"
    return Answer(value=value, proved=True, origin=Origin.CFI, how=how)
