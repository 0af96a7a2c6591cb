"""Where execution may go on besides where an instruction says: the kernel's own tables.

The exception table tells where the handler of a fault goes on, the jump table which
instructions are a jump or nothing as a static key is set. Each entry holds distances from
its own fields (arch/x86/include/asm/extable.h, include/linux/jump_label.h).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from drgn import FaultError, Object, Program, offsetof, sizeof

from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import find_symbol, module_at

_CACHE_KEY = "crashkit.edges"
_MOST_ENTRIES = 1 << 18

Table = tuple[tuple[int, int], ...]
"""Address of an instruction and where it may go on, by address."""


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table that the linker puts together, of the core kernel and of each module."""

    type: str
    """Of an entry."""
    start: str
    """Symbol at the core kernel's table."""
    stop: str
    """Symbol behind it."""
    of_module: tuple[str, str]
    """Members of ``struct module``: its own table, and how many entries that has."""
    fields: tuple[str, str] = ("", "")
    """Members of an entry that hold distances: to the instruction, and where it may go."""


_EXCEPTIONS = TableOf(
    "struct exception_table_entry",
    "__start___ex_table",
    "__stop___ex_table",
    ("extable", "num_exentries"),
    ("insn", "fixup"),
)
_HANDLERS = TableOf(
    _EXCEPTIONS.type, _EXCEPTIONS.start, _EXCEPTIONS.stop, _EXCEPTIONS.of_module, ("insn", "data")
)
# What the handlers of a fault change besides (ex_handler_fault() and others,
# arch/x86/mm/extable.c), and the registers as ``data`` numbers them (EX_DATA_REG(),
# arch/x86/include/asm/extable_fixup_types.h, since 4b5305decc84).
_BY_ANY_HANDLER = frozenset({"rax", "rcx", "rdx"})
_NUMBERED = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_JUMPS = TableOf(
    "struct jump_entry",
    "__start___jump_table",
    "__stop___jump_table",
    ("jump_entries", "num_jump_entries"),
    ("code", "target"),
)


def more_edges(
    prog: Program, instructions: Sequence[Instruction]
) -> tuple[dict[int, list[int]], bool]:
    """List where the instructions of one function may go on, after a fault or by a static key.

    :returns: the targets by instruction, and whether the tables could be read; if not,
        other code may be reached too
    """
    edges: dict[int, list[int]] = {}
    if not instructions:
        return edges, False
    ends = {instruction.address: instruction.end for instruction in instructions}
    known = True
    for kind in (_EXCEPTIONS, _JUMPS):
        table = _table_for(prog, kind, instructions[0].address)
        known = known and table is not None
        first = bisect_left(table or (), (min(ends), 0))
        last = bisect_left(table or (), (max(ends) + 1, 0))
        for address, target in (table or ())[first:last]:
            if address in ends:
                also = [ends[address]] if kind is _JUMPS else []
                edges.setdefault(address, []).extend([target, *also])
    return edges, known


def changed_by_handlers(
    prog: Program, instructions: Sequence[Instruction]
) -> dict[int, frozenset[str]]:
    """List the registers that the handler of a fault may change, by the instruction at fault."""
    if not instructions:
        return {}
    table = _table_for(prog, _HANDLERS, instructions[0].address)
    numbers: dict[int, int] = dict(table or ())
    exceptions = _table_for(prog, _EXCEPTIONS, instructions[0].address) or ()
    at_fault = {instruction.address for instruction in instructions}
    at_fault &= {address for address, _ in exceptions}
    return {
        address: _BY_ANY_HANDLER | {_NUMBERED[numbers.get(address, 0) >> 8 & 0xF]}
        for address in at_fault
    }


def _table_for(prog: Program, kind: TableOf, address: int) -> Table | None:
    module = module_at(prog, address)
    place = module.object_address if module else None
    key = (_CACHE_KEY, kind, place)
    if key not in prog.cache:
        try:
            prog.cache[key] = _read(prog, kind, *place_of_table(prog, kind, place))
        except (FaultError, LookupError, AttributeError, Unavailable):
            prog.cache[key] = None  # no types, or not in the dump
    found: Table | None = prog.cache[key]
    return found


def place_of_table(prog: Program, kind: TableOf, module: int | None) -> tuple[int, int]:
    """Find a table: its address and its bytes.

    :param module: ``struct module *``; None for the core kernel's
    :raises Unavailable: the kernel has no such symbols
    """
    if module is None:
        start, stop = find_symbol(prog, kind.start), find_symbol(prog, kind.stop)
        if start is None or stop is None:
            raise Unavailable(kind.start, Reason.NO_DEBUGINFO, "no such symbol")
        return start.address, stop.address - start.address
    loaded = Object(prog, "struct module *", module)
    entries, count = kind.of_module
    number = int(loaded.member_(count))
    return int(loaded.member_(entries)), number * sizeof(prog.type(kind.type))


def _read(prog: Program, kind: TableOf, start: int, size: int) -> Table:
    type_ = prog.type(kind.type)
    step = sizeof(type_)
    instruction, target = (int(offsetof(type_, name)) for name in kind.fields)
    if size > _MOST_ENTRIES * step or size < 0:
        raise Unavailable(kind.start, Reason.CORRUPTED, f"a table of {size} bytes")
    data = read_bytes(prog, start, size, kind.start) if size else b""

    def number(place: int) -> int:
        return int.from_bytes(data[place : place + 4], "little", signed=True)

    def at(place: int) -> int:
        return start + place + number(place)

    places = range(0, size - step + 1, step)
    second = number if kind is _HANDLERS else at
    return tuple(sorted((at(n + instruction), second(n + target)) for n in places))
