"""What led to a ``ud2``, and what was divided: comparisons and divisions with their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from drgn import TypeKind

from crashkit.dataflow import Const, Load, Masked, Term, Unknown
from crashkit.dataflow.terms import signed64
from crashkit.disasm import (
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.errors import Reason, Unavailable
from crashkit.fault.chain import links
from crashkit.fault.diagnosis import LIST_POISON
from crashkit.fault.draft import Draft
from crashkit.fault.here import Here
from crashkit.fault.members import operand as enclosed
from crashkit.fault.model import Condition, Diagnosis, Side
from crashkit.fault.operand import plain
from crashkit.layout import size_of, strip
from crashkit.value import Certainty

_MOST_WAYS = 4
_MOST_STEPS = 60
_RAX = RegisterOperand("rax", 8, "rax")
# Condition codes of the branches to operators; and those that compare as signed numbers.
_OPERATORS = {
    "e": "==", "ne": "!=", "a": ">", "ae": ">=", "b": "<", "be": "<=", "g": ">", "ge": ">=",
    "l": "<", "le": "<=", "s": "<", "ns": ">=",
}  # fmt: skip
_SIGNED = frozenset({"g", "ge", "l", "le", "s", "ns"})
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_TESTS: dict[str, Callable[[int, int], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
_RESULTS = frozenset({
    "and", "or", "xor", "add", "sub", "dec", "inc", "neg", "shl", "shr", "sar", "xadd",
})  # fmt: skip
_KEEP_FLAGS = ("mov", "lea", "push", "pop", "nop", "set", "cmov", "not", "xchg", "bswap")


def explain_trap(draft: Draft, look: Callable[[], Here]) -> None:
    """Say which comparison led to a ``ud2``: a failed BUG_ON() or WARN_ON()."""
    draft.diagnosis = Diagnosis(kind="other", statement="a check in the code failed")
    try:
        here = look()
    except Unavailable as missing:
        draft.lacks(missing, "condition")
        return
    ways = list(dict.fromkeys(_ways(here, draft.frame.pc)))
    found = [condition for way in ways if (condition := _condition(here, *way)) is not None]
    left = [condition for condition in found if _holds(condition) is not False]
    if not left or len(found) < len(ways):
        return  # not every way there is understood
    likely = [condition for condition in left if _holds(condition, inferred=True)]
    draft.condition = likely[0] if len(likely) == 1 else _one_of(left)
    draft.diagnosis = Diagnosis(
        kind="other", statement=f"a check in the code failed: {draft.condition.statement}"
    )


def _ways(here: Here, pc: int) -> Iterator[tuple[Instruction, bool]]:
    # The nearest branches back from the place, and whether each was taken.
    always = _always_lead(here, pc)
    work: list[int] = [pc]
    seen: set[int] = set()
    found = 0
    while work and len(seen) < _MOST_STEPS and found <= _MOST_WAYS:
        address = work.pop()
        if address in seen:
            continue
        seen.add(address)
        for before in here.origins.paths.before(address):
            if before.flow is Flow.BRANCH and before.address not in always:
                found += 1
                yield before, before.target == address
            else:
                work.append(before.address)


def _always_lead(here: Here, pc: int) -> frozenset[int]:
    # From where every way goes to the place: a branch there decides nothing.
    always = {pc}
    work = [pc]
    while work and len(always) < _MOST_STEPS:
        for before in here.origins.paths.before(work.pop()):
            if before.address in always:
                continue
            is_branch = before.flow is Flow.BRANCH
            both = always.issuperset((before.target, before.end))
            if is_branch and not both and not _is_once(here, before):
                continue
            always.add(before.address)
            work.append(before.address)
    return frozenset(always)


def _is_once(here: Here, branch: Instruction) -> bool:
    # WARN_ONCE() and the like: a flag that is set when it was found clear.
    compare = _flags_from(here, branch)
    memory = compare.memory if compare is not None else None
    if compare is None or memory is None or memory.size != 1 or memory.base != "rip":
        return False
    flag = compare.absolute(memory)
    return any(
        i.operation == "mov" and i.memory is not None and i.absolute(i.memory) == flag
        for i in here.place.flow.instructions.values()
        if i.access == "write" and i.access_size == 1
    )


@dataclass(frozen=True)
class _Comparison:
    left: Term
    right: Term
    size: int
    names: tuple[str | None, str | None]
    # How the operands are written in the instruction.


def _condition(here: Here, branch: Instruction, taken: bool) -> Condition | None:
    code = branch.operation.removeprefix("j")
    operator = _OPERATORS.get(code)
    compare = _flags_from(here, branch)
    if operator is None or compare is None:
        return None
    compared = _compared(here, compare, code)
    if compared is None:
        return None
    operator = operator if taken else _OPPOSITE[operator]
    if compare.operation == "bt":
        operator = "!=" if (code == "b") == taken else "=="
    signed = code in _SIGNED
    left = _side(here, compared.left, compared.names[0], compared.size, signed)
    right = _side(here, compared.right, compared.names[1], compared.size, signed)
    text = f"{_words(left)} {operator} {_words(right)}"
    if left.expression is None:
        return None
    sure = left.certainty is right.certainty is Certainty.PROVED
    return Condition(
        text=text,
        operator=operator,
        left=left,
        right=right,
        offset=branch.address - here.place.function.address,
        statement=f"{text}{_said(left, right, operator)}",
        certainty=Certainty.PROVED if sure and here.place.flow.complete else Certainty.INFERRED,
    )


def _said(left: Side, right: Side, operator: str) -> str:
    # The values, of what is no number already, nor said to be one.
    if operator == "==" and right.value == left.value is not None:
        is_number = right.expression == _number(right.value or 0)
        if is_number and Certainty.INFERRED not in (left.certainty, right.certainty):
            return ""
    words = []
    for side in (left, right):
        if side.value is not None and side.expression is not None:
            unsure = "" if side.certainty is Certainty.PROVED else "~"
            if side.expression != _number(side.value):
                words.append(f"{side.expression} was {_number(side.value)}{unsure}")
    return ": " + ", ".join(words) if words else ""


def _flags_from(here: Here, branch: Instruction) -> Instruction | None:
    # The instruction whose flags a branch tests.
    address = branch.address
    for _ in range(_MOST_STEPS):
        before = here.origins.paths.before(address)
        if len(before) != 1:
            return None
        (instruction,) = before
        if instruction.flow is Flow.CALL:
            return None
        operation = instruction.operation
        if operation in ("cmp", "test", "bt") or operation in _RESULTS:
            return instruction
        if not operation.startswith(_KEEP_FLAGS) and instruction.flow is not Flow.BRANCH:
            return None
        address = instruction.address
    return None


def _compared(here: Here, compare: Instruction, code: str) -> _Comparison | None:
    arguments = compare.arguments
    if not arguments or any(getattr(a, "full", "") is None for a in arguments):
        return None
    size = arguments[0].size
    if compare.operation == "cmp":
        left, right = (here.origins.operand(compare, a, size) for a in arguments)
        return _Comparison(left, right, size, (_name(arguments[0]), _name(arguments[1])))
    zero = Const(0)
    if compare.operation == "test":
        tested = here.origins.operand(compare, arguments[0], size)
        if arguments[0] != arguments[1]:
            if not isinstance(arguments[1], ImmediateOperand):
                return None
            tested = Masked(tested, arguments[1].value & (1 << 8 * size) - 1)
        return _Comparison(tested, zero, size, (_name(arguments[0]), "0"))
    if compare.operation == "bt":
        bit = arguments[1]
        if not isinstance(bit, ImmediateOperand):
            return None
        tested = Masked(here.origins.operand(compare, arguments[0], size), 1 << bit.value % 64)
        return _Comparison(tested, zero, size, (_name(arguments[0]), "0"))
    if code not in ("e", "ne", "s", "ns") or not isinstance(arguments[0], RegisterOperand):
        return None
    register = arguments[0].full or ""
    result = here.origins.register(register, compare.end)
    return _Comparison(result, zero, size, (arguments[0].name, "0"))


def _name(operand: Operand) -> str | None:
    if isinstance(operand, RegisterOperand):
        return f"%{operand.name}"
    return None


def _side(here: Here, term: Term, name: str | None, size: int, signed: bool) -> Side:
    if isinstance(term, Const):
        number = _as(term.value, size, signed or signed64(term.value) < 0)
        return Side(expression=_number(number), value=number, certainty=Certainty.PROVED)
    text, value, certainty = name, None, Certainty.INFERRED
    unsure = False
    with suppress(Unavailable):
        reading = here.reader.readings(term)[0]
        text, unsure = reading.text, reading.unsure
        bare = strip(reading.type)
        signed = signed or (bare.kind is TypeKind.INT and bare.is_signed and size_of(bare) == size)
    with suppress(Unavailable):
        known = here.values.at_fault(term)
        value, certainty = _as(known.value, size, signed), known.certainty
    return Side(
        expression=text,
        value=value,
        certainty=Certainty.INFERRED if unsure else certainty,
    )


def _as(value: int, size: int, signed: bool) -> int:
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if signed and value >> (8 * size - 1) else value


def _number(value: int) -> str:
    named = LIST_POISON.get(value % (1 << 64))
    if named is not None:
        return named
    if value < -(1 << 32):
        value += 1 << 64  # an address
    return str(value) if abs(value) < 1 << 16 else f"{value:#x}"


def _words(side: Side) -> str:
    return side.expression or "?"


def _holds(condition: Condition, *, inferred: bool = False) -> bool | None:
    # By the values at the fault; by inferred ones, too, where asked.
    left, right = condition.left, condition.right
    if left.value is None or right.value is None:
        return None
    if not inferred and Certainty.INFERRED in (left.certainty, right.certainty):
        return None
    return _TESTS[condition.operator](left.value, right.value)


def _one_of(conditions: list[Condition]) -> Condition:
    if len(conditions) == 1:
        return conditions[0]
    nothing = Side(expression=None, value=None, certainty=Certainty.INFERRED)
    text = " or ".join(condition.text for condition in conditions)
    statement = "one of: " + "; ".join(condition.statement for condition in conditions)
    return Condition(
        text=text, operator="or", left=nothing, right=nothing, offset=conditions[0].offset,
        statement=statement, certainty=Certainty.INFERRED,
    )  # fmt: skip


def explain_division(draft: Draft, here: Here, instruction: Instruction) -> None:
    """Explain a division that the CPU refused: by zero, or with a result that is too large."""
    (by,) = instruction.arguments
    if here.no_parameters is not None:
        draft.lacks(here.no_parameters, "expression", "null_or_bad")
    term = here.origins.operand(instruction, by, by.size)
    name, value = _divisor(draft, here, by, term)
    if value is not None:
        value = _as(value, by.size, instruction.operation == "idiv")
    draft.diagnosis = _divided(name, value)
    with suppress(Unavailable):
        draft.bad = plain(here.reader.readings(term)[0])
        draft.chain = links(draft.bad, here.values, draft.identify)
        draft.diagnosis = _divided(draft.bad.text, value)
        draft.text = f"{_dividend(here, instruction, by.size)} / {enclosed(draft.bad.text)}"
        sure = here.place.flow.complete and not draft.bad.unsure
        draft.certainty = Certainty.PROVED if sure else Certainty.INFERRED
    none = Unavailable("faulting access", Reason.NOT_APPLICABLE, "a division faults by its values")
    draft.lacks(none, "access", "address", "bad_register", "expression", "null_or_bad")


def _divisor(draft: Draft, here: Here, by: Operand, term: Term) -> tuple[str, int | None]:
    if isinstance(by, RegisterOperand) and by.full is not None:
        draft.bad_register = by.full
        value = draft.registers.get(by.full)
        return by.full, None if value is None else value & (1 << 8 * by.size) - 1
    if isinstance(by, MemoryOperand) and isinstance(term, Load):
        with suppress(Unavailable):
            return "the divisor", here.values.at_fault(term).value
    return "the divisor", None


def _divided(name: str, value: int | None) -> Diagnosis:
    if value is None:
        return Diagnosis(kind="other", statement=f"{name} was 0, or the quotient is too large")
    if value:
        statement = f"{name} was {_number(value)}: the quotient is too large"
        return Diagnosis(kind="other", statement=statement)
    return Diagnosis(kind="other", statement=f"{name} was 0: a division by zero")


def _dividend(here: Here, instruction: Instruction, size: int) -> str:
    term = here.origins.operand(instruction, _RAX, size)
    with suppress(Unavailable):
        return enclosed(here.reader.readings(term)[0].text)
    value = None if isinstance(term, Unknown) else here.value(term)
    held = here.values.frame.registers.get("rax")
    if value is None and held is not None:
        value = held.value & (1 << 8 * size) - 1
    return "?" if value is None else _number(value)
