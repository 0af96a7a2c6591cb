"""Where a value came from, through arithmetic and over joins: a search back from the fault.

The forward analysis says for each register a term, or names the instruction or the join at
which it stops following. This goes on from there, backwards: what the instruction computed,
and what came in on each way into the block. Several ways give :class:`OneOf`, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    Defined,
    Load,
    Masked,
    Merged,
    Part,
    PerCpu,
    Result,
    State,
    Sum,
    Term,
    Unknown,
    add,
)
from crashkit.disasm import (
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.fault.paths import Paths

MOST_ALTERNATIVES = 4
_MOST_STEPS = 200
_DEEPEST = 24
_U64 = (1 << 64) - 1
_OPERATORS = {
    "add": "+", "sub": "-", "and": "&", "or": "|", "xor": "^", "imul": "*", "shl": "<<",
    "sal": "<<", "shr": ">>", "sar": "sar",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OneOf(Unknown):
    """One of these, as execution came; two to :data:`MOST_ALTERNATIVES`."""

    alternatives: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Computed(Unknown):
    """``left operator right``, modulo 2^64; ``sar`` is ``>>`` of a signed number."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True, slots=True)
class Element(Unknown):
    """``base + index * scale``; made by :func:`element`."""

    base: Term
    index: Term
    scale: int


def element(base: Term, index: Term, scale: int) -> Term:
    """``base + index * scale`` with the factors of the index in ``scale``."""
    if scale == 1 and _scaled(base) and not _scaled(index):
        base, index = index, base
    while True:
        if isinstance(index, Const):
            return add(base, index.value * scale)
        if isinstance(index, Sum):
            base, index = add(base, index.addend * scale), index.base
        elif isinstance(index, Computed) and isinstance(index.right, Const):
            factor = _factor(index.operator, index.right.value)
            if factor is None:
                break
            index, scale = index.left, scale * factor
        else:
            break
    if base == index:
        return Computed("*", base, Const(scale + 1))
    if isinstance(base, Sum):
        return add(Element(base.base, index, scale), base.addend)
    return Element(base, index, scale)


def _scaled(term: Term) -> bool:
    return (
        isinstance(term, Computed)
        and isinstance(term.right, Const)
        and _factor(term.operator, term.right.value) is not None
    )


def _factor(operator: str, number: int) -> int | None:
    if operator == "*":
        return number if number < 1 << 32 else None
    return 1 << number if operator == "<<" and number < 32 else None


def children(term: Term) -> tuple[Term, ...]:
    """The terms one was made from, those of this module too."""
    match term:
        case OneOf(alternatives=alternatives):
            return alternatives
        case Computed(left=left, right=right):
            return (left, right)
        case Element(base=base, index=index):
            return (base, index)
        case Load(base=base) | PerCpu(base=base) | Sum(base=base) | Masked(base=base):
            return (base,)
        case Part(base=base):
            return (base,)
    return ()


class Origins:
    """The search in one function, back from one instruction.

    :ivar held: for a term found, the one the states have: a register may hold that. Only
        what no instruction on the way to the fault has computed anew is among them
    :ivar returned: says what a call returned, in terms of this function
    """

    def __init__(self, flow: Dataflow, pc: int) -> None:
        self.flow = flow
        self.held: dict[Term, Term] = {}
        self.paths = Paths(flow)
        self._pc = pc
        self.returned: Callable[[Result, State], Term | None] | None = None
        self._steps = 0
        self._deep = 0
        self._stale: set[Term] = set()

    def register(self, name: str, at: int | None = None) -> Term:
        """What a register holds before an instruction, by default the fault's."""
        point = self._pc if at is None else at
        return self.expand(self.flow.state_before(point).register(name), point)

    def operand(self, instruction: Instruction, operand: Operand, size: int) -> Term:
        """What an operand of an instruction is worth before it."""
        return self._operand(instruction, operand, size, frozenset())

    def address(self, instruction: Instruction, memory: MemoryOperand) -> Term:
        """Where a memory operand points, its segment base apart."""
        return self._address(instruction, memory, frozenset())

    def as_held(self, term: Term) -> Term | None:
        """The term of the states that means this value at the fault; None: none does."""
        if term in self._stale:
            return None
        return self.held.get(term, term)

    def expand(self, term: Term, point: int, seen: frozenset[Term] = frozenset()) -> Term:
        """Say more of a term of the state before the instruction at ``point``."""
        found = self._expanded(term, point, seen)
        if found not in self._stale and self._still_means(term, point):
            if found != term:
                self.held.setdefault(found, term)
        else:
            self._stale.add(found)
        return found

    def _still_means(self, term: Term, point: int) -> bool:
        # Terms name the latest execution: none may lie between there and the fault.
        if point == self._pc:
            return True
        between = self.paths.between(point, self._pc)
        return not any(
            isinstance(part, (Load, PerCpu, Defined, Merged)) and part.at in between
            for part in _parts(term)
        )

    def _expanded(self, term: Term, point: int, seen: frozenset[Term]) -> Term:
        self._steps += 1
        if self._steps > _MOST_STEPS or self._deep >= _DEEPEST:
            return term
        self._deep += 1
        try:
            return self._followed(term, point, seen)
        finally:
            self._deep -= 1

    def _followed(self, term: Term, point: int, seen: frozenset[Term]) -> Term:
        match term:
            case Merged():
                return term if term in seen else self._merged(term, seen | {term})
            case Defined():
                return term if term in seen else self._defined(term, seen | {term})
            case Load() | PerCpu():
                return self._loaded(term, point, seen)
            case Result():
                return self._returned(term, seen)
            case Sum(base=base, addend=addend):
                return add(self.expand(base, point, seen), addend)
            case Masked() | Part():
                return replace(term, base=self.expand(term.base, point, seen))
        return term

    def _returned(self, term: Result, seen: frozenset[Term]) -> Term:
        if self.returned is None or term in seen or term.at not in self.flow.instructions:
            return term
        made = self.returned(term, self.flow.state_before(term.at))
        if made is None or UNKNOWN in _parts(made):
            return term
        return self.expand(made, term.at, seen | {term})

    def _loaded(self, term: Load | PerCpu, point: int, seen: frozenset[Term]) -> Term:
        if term.base != UNKNOWN:
            return replace(term, base=self.expand(term.base, point, seen))
        instruction = self.flow.instructions.get(term.at)
        if instruction is None or term in seen:
            return term
        for access in instruction.accesses:
            if access.kind != "write" and access.size == term.size:
                base = self._address(instruction, access.memory, seen | {term})
                return replace(term, base=base, offset=0)
        return term

    # Joins

    def _merged(self, term: Merged, seen: frozenset[Term]) -> Term:
        found: dict[Term, None] = {}
        for point, state in self.paths.states_into(term.at):
            held = _place(state, term.place)
            if held == term:
                continue  # unchanged on this way round
            expanded = self.expand(held, point, seen)
            if expanded == UNKNOWN:
                return term
            found.update(dict.fromkeys(_alternatives(expanded)))
        return _one_of(found) or term

    # Instructions

    def _defined(self, term: Defined, seen: frozenset[Term]) -> Term:
        instruction = self.flow.instructions.get(term.at)
        if instruction is None or not instruction.arguments:
            return term
        return self._rule(instruction, term.register, seen) or term

    def _rule(self, instruction: Instruction, register: str, seen: frozenset[Term]) -> Term | None:
        target, *sources = instruction.arguments
        operation = instruction.operation
        if operation in ("div", "idiv"):
            return self._quotient(instruction, register, seen)
        if operation in ("xadd", "cmpxchg", "xchg"):
            return self._exchanged(instruction, register, seen)
        if not isinstance(target, RegisterOperand) or target.full != register or target.size < 4:
            return None
        if operation == "lea" and isinstance(sources[0], MemoryOperand):
            return _narrow(self._address(instruction, sources[0], seen), target.size)
        if operation.startswith("cmov"):
            ways = [self._operand(instruction, o, target.size, seen) for o in (target, sources[0])]
            return _one_of(dict.fromkeys(way for term in ways for way in _alternatives(term)))
        operator = _OPERATORS.get(operation)
        if operator is None or not sources:
            return None
        left = sources[0] if len(sources) == 2 else target  # imul $3,%rsi,%rdi
        terms = [
            self._operand(instruction, operand, target.size, seen)
            for operand in (left, sources[-1])
        ]
        return _narrow(_computed(operator, *terms), target.size)

    def _quotient(
        self, instruction: Instruction, register: str, seen: frozenset[Term]
    ) -> Term | None:
        (divisor,) = instruction.arguments
        if divisor.size < 4 or register not in ("rax", "rdx"):
            return None
        dividend = self._operand(instruction, RegisterOperand("rax", 8, "rax"), 8, seen)
        by = self._operand(instruction, divisor, divisor.size, seen)
        return Computed("/" if register == "rax" else "%", dividend, by)

    def _exchanged(
        self, instruction: Instruction, register: str, seen: frozenset[Term]
    ) -> Term | None:
        # The register gets what the memory had.
        memory = instruction.arguments[0]
        if not isinstance(memory, MemoryOperand) or memory.segment is not None:
            return None
        if instruction.operation == "cmpxchg" and register != "rax":
            return None
        return Load(self._address(instruction, memory, seen), 0, memory.size, instruction.address)

    def _operand(
        self, instruction: Instruction, operand: Operand, size: int, seen: frozenset[Term]
    ) -> Term:
        if isinstance(operand, ImmediateOperand):
            return Const(operand.value & _U64)
        if isinstance(operand, MemoryOperand):
            base = self._address(instruction, operand, seen)
            if operand.segment is not None:
                return PerCpu(base, 0, operand.size, instruction.address, operand.segment)
            return Load(base, 0, operand.size, instruction.address)
        if operand.full is None or operand.is_high_byte:
            return UNKNOWN
        at = instruction.address
        term = self.flow.state_before(at).register(operand.full)
        return _narrow(self.expand(term, at, seen), size)

    def _address(
        self, instruction: Instruction, memory: MemoryOperand, seen: frozenset[Term]
    ) -> Term:
        absolute = instruction.absolute(memory)
        if absolute is not None:
            return Const(absolute)
        at = instruction.address
        state = self.flow.state_before(at)
        base: Term = Const(0)
        if memory.base is not None:
            base = self.expand(state.register(memory.base), at, seen)
        if memory.index is not None:
            index = self.expand(state.register(memory.index), at, seen)
            base = element(base, index, memory.scale)
        return add(base, memory.displacement)


def _parts(term: Term) -> Iterator[Term]:
    yield term
    for child in children(term):
        yield from _parts(child)


def _place(state: State, place: str | int) -> Term:
    if isinstance(place, str):
        return state.register(place)
    slot = state.slots.get(place)
    return slot.term if slot is not None else UNKNOWN


def _alternatives(term: Term) -> tuple[Term, ...]:
    return term.alternatives if isinstance(term, OneOf) else (term,)


def _one_of(found: dict[Term, None]) -> Term | None:
    if not found or len(found) > MOST_ALTERNATIVES or UNKNOWN in found:
        return None
    return OneOf(tuple(found)) if len(found) > 1 else next(iter(found))


def _narrow(term: Term, size: int) -> Term:
    if size >= 8 or term == UNKNOWN:
        return term
    if isinstance(term, Const):
        return Const(term.value & (1 << 8 * size) - 1)
    if isinstance(term, (Load, PerCpu, Part)) and term.size <= size and not term.signed:
        return term
    return Part(term, size, signed=False)


def _computed(operator: str, left: Term, right: Term) -> Term:
    if UNKNOWN in (left, right):
        return UNKNOWN
    if operator == "+":
        return element(left, right, 1)
    if operator == "-" and isinstance(right, Const):
        return add(left, -right.value)
    if operator == "&" and isinstance(right, Const):
        return Masked(left, right.value)
    return Computed(operator, left, right)
