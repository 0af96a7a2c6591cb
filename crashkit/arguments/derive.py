"""Values that nothing holds any longer, from what they were made of.

An instruction's result is what it makes of its operands, and what a place held when a block was
entered is what one of the ways into it brought. Both are terms of an earlier point of the function;
they mean the same at the call if nothing that they name ran again in between.
"""

from __future__ import annotations

from collections.abc import Callable

from crashkit.arguments.activation import Stopped
from crashkit.arguments.answer import Answer
from crashkit.arguments.arithmetic import flags_of, keeps_flags, not_known, result_of
from crashkit.dataflow import Dataflow, Defined, Merged, State, Term, lineage
from crashkit.dataflow.paths import before_in_block, run_between, states_into
from crashkit.disasm import ImmediateOperand, Instruction, Operand, RegisterOperand
from crashkit.value import Origin

ValueOf = Callable[[Term, int], Answer]
"""Gives a term of the function a value, of so many bytes; raises Unavailable."""
_MOST_WAYS = 8
_NOWHERE = "no register or slot keeps it"
_CHANGED = "what it was made from may have changed"


def derived(here: Stopped, stop: int, term: Term, size: int, value_of: ValueOf) -> Answer:
    """Work out a term that is not held anywhere.

    :param stop: address of the instruction at which the term is wanted
    :raises Unavailable: what it was made from is not known either, or may have changed since
    """
    if isinstance(term, Defined):
        return _Calculation(here, stop, term, value_of).answer()
    if isinstance(term, Merged):
        return _one_of(here, stop, term, size, value_of)
    raise not_known(_NOWHERE)


class _Calculation:
    # The instruction that made a value, and what it read, as far as that is known at the stop.

    def __init__(self, here: Stopped, stop: int, term: Defined, value_of: ValueOf) -> None:
        self._flow = here.flow
        self._stop = stop
        self._term = term
        self._value_of = value_of
        self._proved = True

    def answer(self) -> Answer:
        instruction = self._flow.instructions.get(self._term.at)
        if instruction is None or instruction.accesses:
            raise not_known(_NOWHERE)
        register, value = result_of(self, instruction)
        if register != self._term.register:
            raise not_known(_NOWHERE)
        how = f"{value:#x}, calculated at {instruction.address:016x}"
        return Answer(value=value, proved=self._proved, origin=Origin.DATAFLOW, how=how)

    def operand(self, at: Instruction, operand: Operand) -> int:
        if isinstance(operand, ImmediateOperand):
            return operand.value
        if not isinstance(operand, RegisterOperand) or operand.full is None:
            raise not_known("it was calculated from memory")
        if operand.is_high_byte:
            raise not_known("it was calculated from a high byte")
        return self.register(at, operand.full, operand.size)

    def register(self, at: Instruction, name: str, size: int = 8) -> int:
        term = self._flow.state_before(at.address).register(name)
        if not _means_the_same(self._flow, at.address, self._stop, term):
            raise not_known(_CHANGED)
        found = self._value_of(term, size)
        self._proved = self._proved and found.proved
        return found.value & ((1 << 8 * size) - 1)

    def condition(self, at: Instruction, condition: str) -> bool:
        for earlier in before_in_block(self._flow, at.address):
            if keeps_flags(earlier):
                continue
            flags = flags_of(self, earlier)
            met = flags.holds(condition) if flags is not None else None
            if met is None:
                break
            return met
        raise not_known("it depends on flags that are not known")


def _one_of(here: Stopped, stop: int, term: Merged, size: int, value_of: ValueOf) -> Answer:
    # On whichever way the block was entered: if they all bring the same, that is it.
    ways = states_into(here.flow, term.at)
    if not ways or len(ways) > _MOST_WAYS:
        raise not_known("it is not known on which ways it was made")
    answers = []
    for state in ways:
        brought = _content(state, term.place)
        if not _means_the_same(here.flow, term.at, stop, brought, entered=True):
            raise not_known(_CHANGED)
        answers.append(value_of(brought, size))
    cut = (1 << 8 * size) - 1
    if len({answer.value & cut for answer in answers}) > 1:
        raise not_known("it is one of several values")
    return min(answers, key=lambda answer: answer.proved)


def _content(state: State, place: str | int) -> Term:
    if isinstance(place, str):
        return state.register(place)
    slot = state.slots.get(place)
    if slot is None:
        raise not_known(_NOWHERE)
    return slot.term


def _means_the_same(
    flow: Dataflow, start: int, stop: int, term: Term, *, entered: bool = False
) -> bool:
    # Whether a term before the instruction at ``start`` is worth the same at ``stop``: none of
    # the instructions and blocks that it names has run again. With ``entered`` it is a term
    # from before the block that begins at ``start``.
    blocks = {part.at for part in lineage(term) if isinstance(part, Merged)}
    named = {part.at for part in lineage(term) if hasattr(part, "at")}
    if not named:
        return True
    since = run_between(flow, start, stop)
    if blocks == {start} == named and not entered:
        since = since - {start}
    return named.isdisjoint(since)
