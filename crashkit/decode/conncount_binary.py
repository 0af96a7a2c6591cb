"""What this very nf_conncount does when it adds a connection, seen in its instructions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drgn import Program

from crashkit.decode.conncount_layout import Layouts, layouts
from crashkit.disasm import (
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    RegisterOperand,
    disassemble_function,
)
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt, find_symbol
from crashkit.value import facts

_ADDING = (
    "__nf_conncount_add", "nf_conncount_add", "nf_conncount_add_skb", "count_tree",
    "nf_conncount_count", "nf_conncount_count_skb",
)  # fmt: skip
# The function that adds an entry, and those it may be inlined into.
_PASS = {8: 9, 9: 9, 0x40: 65, 0x41: 65}
# `collect > 8` and `collect > 64`, compiled as a comparison with the number or the one after.
_GROWN = (0x3F, 0x40)  # `count - last_gc_count < 64`
_NEAR = 4  # instructions between that subtraction and its comparison


@facts
class Collection:
    """How adding an entry collects, in this binary."""

    per_pass: int
    """Entries that one pass removes at most."""
    again: bool
    """Whether a pass is made again in one tick once the list has grown by 64."""
    how: str
    """The instructions that decided, as a person would point at them."""

    @property
    def fixed(self) -> bool | None:
        """Whether it has 21d033e47273: both of its changes; None when it has one of them."""
        if self.per_pass == 65 and self.again:
            return True
        return False if self.per_pass == 9 and not self.again else None


def collection(prog: Program) -> Collection:
    """Find how this binary collects when it adds.

    :raises Unavailable: the code is not in the dump, or does not decide
    """
    known = layouts(prog)
    found = [
        one for symbol in _functions(prog) if (one := _in_function(prog, symbol, known)) is not None
    ]
    if not found:
        raise Unavailable("collection", Reason.AMBIGUOUS, "no function of nf_conncount decides")
    if len({(one.per_pass, one.again) for one in found}) > 1:
        raise Unavailable("collection", Reason.AMBIGUOUS, "functions of nf_conncount differ")
    return found[0]


def _functions(prog: Program) -> Iterator[SymbolAt]:
    for name in _ADDING:
        symbol = find_symbol(prog, name)
        if symbol is not None and symbol.size:
            yield symbol


def _in_function(prog: Program, symbol: SymbolAt, known: Layouts) -> Collection | None:
    # None: it does not look at the tick of the last collection, or counts nothing known.
    code = disassemble_function(prog, symbol.address, symbol.size)
    last_gc = known.list.last_gc
    if last_gc is None or not any(_compares(i, _places(known, last_gc)) for i in code):
        return None
    passes = list(_passes(code))
    if len({count for count, _where in passes}) != 1:
        return None
    per_pass, where = passes[0]
    shown = f"{symbol.name}+{where.address - symbol.address:#x}: {where.text}"
    grown = _growth_test(code, known)
    if grown is None:
        text = f"{shown} ends a pass after {per_pass}; no test of how much the list has grown"
        return Collection(per_pass=per_pass, again=False, how=text)
    at = f"{symbol.name}+{grown.address - symbol.address:#x}: {grown.text}"
    text = f"{shown} ends a pass after {per_pass}; {at} makes one again after 64 were added"
    return Collection(per_pass=per_pass, again=True, how=text)


def _places(known: Layouts, offset: int) -> tuple[int, int]:
    # Where a member of the list lies for code that has the list, and that has its tree node.
    return offset, known.rb_list + offset


def _compares(instruction: Instruction, places: Sequence[int]) -> bool:
    if instruction.operation != "cmp":
        return False
    kinds = {type(argument) for argument in instruction.arguments}
    return kinds == {MemoryOperand, RegisterOperand} and _displaced(instruction, places)


def _displaced(instruction: Instruction, places: Sequence[int]) -> bool:
    return any(
        isinstance(argument, MemoryOperand)
        and argument.base not in (None, "rip", "rsp")
        and argument.displacement in places
        for argument in instruction.arguments
    )


def _passes(code: Sequence[Instruction]) -> Iterator[tuple[int, Instruction]]:
    # A counter is raised by one somewhere and compared with a known bound: a register, or a
    # place on the stack.
    raised = {_place(i) for i in code if _raises(i)} - {None}
    for instruction in code:
        if instruction.operation != "cmp" or _place(instruction) not in raised:
            continue
        bound = _immediate(instruction)
        if bound in _PASS:
            yield _PASS[bound], instruction


def _raises(instruction: Instruction) -> bool:
    if instruction.operation == "inc":
        return True
    return instruction.operation == "add" and _immediate(instruction) == 1


def _immediate(instruction: Instruction) -> int | None:
    last = instruction.arguments[-1] if instruction.arguments else None
    return last.value if isinstance(last, ImmediateOperand) else None


def _place(instruction: Instruction) -> str | None:
    first = instruction.arguments[0] if instruction.arguments else None
    if isinstance(first, RegisterOperand) and first.size == 4:
        return first.full
    if isinstance(first, MemoryOperand) and first.base in ("rsp", "rbp"):
        return f"{first.displacement}({first.base})"
    return None


def _growth_test(code: Sequence[Instruction], known: Layouts) -> Instruction | None:
    offset = known.list.last_gc_count
    if offset is None:
        return None
    places = _places(known, offset)
    for position, instruction in enumerate(code):
        if instruction.operation != "sub" or not _displaced(instruction, places):
            continue
        for after in code[position + 1 : position + 1 + _NEAR]:
            if after.operation == "cmp" and _immediate(after) in _GROWN:
                return after
    return None
