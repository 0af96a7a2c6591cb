"""A function's code again, with what is known of this one call of it.

Its arguments are numbers then, and so is what it reads from memory that does not change. A branch
that depends on them goes one way only, and code on the other did not run: what several ways would
have made unknown has one value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from drgn import Program

from crashkit.arguments.activation import Stopped
from crashkit.arguments.answer import Answer
from crashkit.arguments.arithmetic import Flags, flags_of, keeps_flags, not_known, result_of
from crashkit.arguments.edges import Edge
from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    FrameAddress,
    State,
    Term,
    Unknown,
    lineage,
)
from crashkit.dataflow.frame import incoming_bytes, pointee_size, variables_of
from crashkit.dataflow.paths import strays
from crashkit.dataflow.transfer import Transfer
from crashkit.disasm import (
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.errors import Reason, Unavailable
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import in_kernel_text

Constant = Callable[[int, int], int | None]
"""Gives what an address holds, in so many bytes, if it held that all the time; else None."""
_FLAGS = "flags"
_CACHE_KEY = "crashkit.replay"
_MOST_INSTRUCTIONS = 500
_U64 = (1 << 64) - 1


class Replays:
    """The functions of one stack again, each with what its own call passed to it."""

    def __init__(self, prog: Program, constant: Constant, place: object) -> None:
        """Begin with a stack.

        :param place: tells the memory apart that ``constant`` knows
        """
        self._prog = prog
        self._constant = constant
        self._place = place
        self._found: dict[int, Stopped | None] = {}
        self._under_way = False

    def of(
        self, position: int, stopped: Callable[[], Stopped], entry: Callable[[str], Answer]
    ) -> Stopped:
        """Analyse the function of a frame again.

        :param entry: gives what a register held on its entry; raises Unavailable
        :raises Unavailable: it cannot be gone through again, or that is under way
        """
        if position not in self._found and not self._under_way:
            self._under_way = True  # one at a time: its arguments are known without another
            try:
                self._found[position] = self._replayed(stopped(), entry)
            finally:
                self._under_way = False
        found = self._found.get(position)
        if found is None:
            why = "its arguments do not tell either"
            raise Unavailable("what it passes", Reason.OPTIMIZED_OUT, why)
        return found

    def _replayed(self, here: Stopped, entry: Callable[[str], Answer]) -> Stopped | None:
        if here.call is None or len(here.flow.instructions) > _MOST_INSTRUCTIONS:
            return None
        known = self._known(entry)
        key = (_CACHE_KEY, here.call.address, tuple(known.items()), self._place)
        if known and key not in self._prog.cache:
            self._prog.cache[key] = None
            with suppress(Unavailable):
                self._prog.cache[key] = replayed(self._prog, here, known, self._constant)
        found: Stopped | None = self._prog.cache.get(key)
        return found

    def _known(self, entry: Callable[[str], Answer]) -> dict[str, int]:
        known: dict[str, int] = {}
        for name in ARGUMENT_REGISTERS:
            with suppress(Unavailable):
                answer = entry(name)
                if answer.proved:
                    known[name] = answer.value
        return known


def may_differ(edge: Edge, register: str) -> bool:
    """Whether what is passed may be known with numbers for arguments, and is not without."""
    terms, _ = edge.terms(register)
    return any(isinstance([*lineage(term)][-1], (Unknown, FrameAddress)) for term in terms)


def replayed(prog: Program, here: Stopped, known: Mapping[str, int], constant: Constant) -> Stopped:
    """Analyse the function of a stopped frame again, with these values on entry.

    :param known: argument registers, proved
    :raises Unavailable: not all of its code is known, or it would not have got there
    """
    what = f"{here.function.name} with its arguments"
    in_text = in_kernel_text(prog, here.flow.entry)
    if here.call is None or not here.flow.complete or strays(here.flow) or not in_text:
        raise Unavailable(what, Reason.UNSUPPORTED, "not all ways through its code are known")
    flow = _Replay(prog, here, known, constant)
    if not flow.complete or not flow.reaches(here.call.address):
        raise Unavailable(what, Reason.AMBIGUOUS, "it would not have made the call")
    before = flow.state_before(here.call.address)
    return replace(here, flow=flow, before=before, now=flow.state_during(here.call))


class _Replay(Dataflow):
    def __init__(
        self, prog: Program, here: Stopped, known: Mapping[str, int], constant: Constant
    ) -> None:
        self._known = known
        self._constant = constant
        flow = here.flow
        super().__init__(
            list(flow.instructions.values()),
            flow.exception_edges,
            edges_known=True,
            find_variables=partial(variables_of, prog, flow.entry),
            pointee=partial(pointee_size, prog),
            entry=flow.entry,
            incoming=incoming_bytes(prog, here.function),
            handlers=flow.handlers,
        )

    def reaches(self, address: int) -> bool:
        """Whether the instruction at ``address`` was found to run."""
        return self.leader_of(address) in self._before

    def _refined(self, transfer: Transfer) -> Transfer:
        return _Numbers(
            restores=transfer.restores,
            find_variables=transfer.find_variables,
            stack_pointer=transfer.stack_pointer,
            pointee=transfer.pointee,
            constant=self._constant,
        )

    def _at_entry(self, incoming: int) -> State:
        state = super()._at_entry(incoming)
        state.registers |= {name: Const(value) for name, value in self._known.items()}
        state.registers[_FLAGS] = UNKNOWN
        return state

    def _seed_the_rest(self) -> None:
        pass  # what nothing leads to did not run

    def _successors(self, instruction: Instruction, state: State) -> list[int]:
        found = super()._successors(instruction, state)
        flags = state.registers[_FLAGS]
        if instruction.flow is not Flow.BRANCH or not isinstance(flags, Const):
            return found
        met = Flags.unpacked(flags.value).holds(instruction.operation[1:])
        if met is None:
            return found
        goes_to = instruction.target if met else instruction.end
        return [address for address in found if address == goes_to]


@dataclass(slots=True, kw_only=True)
class _Numbers(Transfer):
    """Applies instructions to states with numbers in them."""

    constant: Constant
    _state: State | None = None

    def apply(self, state: State, instruction: Instruction) -> None:
        """Change ``state`` from before to after ``instruction``."""
        self._state = state
        flags, result = state.registers[_FLAGS], None
        with suppress(Unavailable):
            if not instruction.writes_memory:
                result = result_of(self, instruction)
        if not keeps_flags(instruction):
            flags = UNKNOWN
            with suppress(Unavailable):
                after = flags_of(self, instruction)
                flags = UNKNOWN if after is None else Const(after.packed())
        super(_Numbers, self).apply(state, instruction)
        if result is not None:
            state.set_register(result[0], Const(result[1]))
        state.registers[_FLAGS] = flags

    def load(
        self,
        state: State,
        instruction: Instruction,
        memory: MemoryOperand,
        size: int,
        signed: bool = False,
    ) -> Term:
        """Term of ``size`` bytes read through a memory operand."""
        term = super(_Numbers, self).load(state, instruction, memory, size, signed)
        place = self.place(state, instruction, memory)
        if memory.segment is None and isinstance(place.base, Const):
            value = self.constant((place.base.value + place.offset) & _U64, size)
            if value is not None:
                sign = 1 << (8 * size - 1)
                return Const(((value ^ sign) - sign) & _U64 if signed else value)
        return term

    # What an instruction reads

    def operand(self, at: Instruction, operand: Operand) -> int:
        """Value of an operand."""
        if isinstance(operand, ImmediateOperand):
            return operand.value
        if isinstance(operand, RegisterOperand) and operand.full and not operand.is_high_byte:
            return self.register(at, operand.full)
        if isinstance(operand, MemoryOperand) and self._state is not None:
            term = self.load(self._state, at, operand, operand.size)
            if isinstance(term, Const):
                return term.value
        raise not_known("it is in memory")

    def register(self, at: Instruction, name: str) -> int:
        """Value of a full register."""
        term = self._state.register(name) if self._state else UNKNOWN
        if not isinstance(term, Const):
            raise not_known(f"{name} before {at.address:#x}")
        return term.value

    def condition(self, at: Instruction, condition: str) -> bool:
        """Whether a condition is met."""
        flags = self._state.registers[_FLAGS] if self._state else UNKNOWN
        met = Flags.unpacked(flags.value).holds(condition) if isinstance(flags, Const) else None
        if met is None:
            raise not_known(f"flags before {at.address:#x}")
        return met
