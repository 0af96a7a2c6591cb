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
class _Kind:
    type: str
    fields: tuple[str, str]
    start: str
    stop: str
    of_module: tuple[str, str]


_EXCEPTIONS = _Kind(
    "struct exception_table_entry",
    ("insn", "fixup"),
    "__start___ex_table",
    "__stop___ex_table",
    ("extable", "num_exentries"),
)
_JUMPS = _Kind(
    "struct jump_entry",
    ("code", "target"),
    "__start___jump_table",
    "__stop___jump_table",
    ("jump_entries", "num_jump_entries"),
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


def _table_for(prog: Program, kind: _Kind, address: int) -> Table | None:
    module = module_at(prog, address)
    place = module.object_address if module else None
    key = (_CACHE_KEY, kind.type, place)
    if key not in prog.cache:
        try:
            prog.cache[key] = _read(prog, kind, *_place(prog, kind, place))
        except (FaultError, LookupError, AttributeError, Unavailable):
            prog.cache[key] = None  # no types, or not in the dump
    found: Table | None = prog.cache[key]
    return found


def _place(prog: Program, kind: _Kind, module: int | None) -> tuple[int, int]:
    # Address and bytes of the core kernel's table or of a module's.
    if module is None:
        start, stop = find_symbol(prog, kind.start), find_symbol(prog, kind.stop)
        if start is None or stop is None:
            raise Unavailable(kind.start, Reason.NO_DEBUGINFO, "no such symbol")
        return start.address, stop.address - start.address
    loaded = Object(prog, "struct module *", module)
    entries, count = kind.of_module
    number = int(loaded.member_(count))
    return int(loaded.member_(entries)), number * sizeof(prog.type(kind.type))


def _read(prog: Program, kind: _Kind, start: int, size: int) -> Table:
    type_ = prog.type(kind.type)
    step = sizeof(type_)
    instruction, target = (int(offsetof(type_, name)) for name in kind.fields)
    if size > _MOST_ENTRIES * step or size < 0:
        raise Unavailable(kind.start, Reason.CORRUPTED, f"a table of {size} bytes")
    data = read_bytes(prog, start, size, kind.start) if size else b""

    def at(place: int) -> int:
        return start + place + int.from_bytes(data[place : place + 4], "little", signed=True)

    places = range(0, size - step + 1, step)
    return tuple(sorted((at(n + instruction), at(n + target)) for n in places))
