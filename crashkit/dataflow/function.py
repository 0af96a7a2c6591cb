"""A function of the dump, all its parts, ready for questions."""

from __future__ import annotations

from functools import partial

from drgn import Program

from crashkit.dataflow.analysis import Dataflow, analyse
from crashkit.dataflow.edges import more_edges
from crashkit.dataflow.frame import pointee_size, variables_of
from crashkit.disasm import Instruction, disassemble_function, disassemble_known
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt, find_symbol, symbol_at
from crashkit.symbols.file_text import text_of_file

_CACHE_KEY = "crashkit.dataflow"
COLD = ".cold"


def analyse_function(prog: Program, function: SymbolAt) -> Dataflow:
    """Analyse a function from the dump's bytes, with the part the compiler split off.

    ``function`` may be either part. Cached in ``prog.cache``.

    Where the dump lacks some of its bytes, the others are analysed and the result is not
    :attr:`~crashkit.dataflow.analysis.Dataflow.complete`.

    :raises Unavailable: none of its bytes is in the dump, or ``function`` is a cold part
        whose function cannot be told from others of its name
    """
    key = (_CACHE_KEY, function.address)
    flow = prog.cache.get(key)
    if not isinstance(flow, Dataflow):
        hot = _hot_part(prog, function)
        instructions, whole = _all_parts(prog, hot)
        edges, known = more_edges(prog, instructions)
        flow = prog.cache[key] = analyse(
            instructions,
            exception_edges=edges,
            edges_known=known,
            find_variables=partial(variables_of, prog, hot.address),
            pointee=partial(pointee_size, prog),
            entry=hot.address,
            gaps=not whole,
        )
        flow.from_file = not whole and text_of_file(prog, hot.address, hot.size) is not None
    return flow


def _all_parts(prog: Program, function: SymbolAt) -> tuple[list[Instruction], bool]:
    # Also whether they are all of it.
    instructions, whole = _disassemble(prog, function)
    outside = sorted(
        {
            instruction.target
            for instruction in instructions
            if instruction.target is not None
            and instruction.operation.startswith("j")
            and not function.address <= instruction.target < function.address + function.size
        }
    )
    for target in outside:
        cold = symbol_at(prog, target)
        if cold is not None and _is_cold_part(cold, function):
            try:
                more, all_of_it = _disassemble(prog, cold)
            except Unavailable:
                return instructions, False
            return instructions + more, whole and all_of_it
    return instructions, whole


def _is_cold_part(part: SymbolAt, function: SymbolAt) -> bool:
    return part.name.partition(COLD)[0] == function.name and COLD in part.name


def _disassemble(prog: Program, part: SymbolAt) -> tuple[list[Instruction], bool]:
    def name_at(address: int) -> str | None:
        symbol = symbol_at(prog, address)
        return symbol.name if symbol is not None and symbol.address == address else None

    def goes_on(_: int) -> bool:
        return True  # a ud2 is taken for a warning's: that only ever adds a path

    start, size = part.address, part.size
    try:
        found = disassemble_function(prog, start, size, name_at=name_at, is_warning=goes_on)
    except Unavailable as missing:
        if missing.reason is not Reason.NOT_IN_DUMP:
            raise
        known = disassemble_known(prog, start, size, name_at=name_at, is_warning=goes_on)
        return known, False
    return found, True


def _hot_part(prog: Program, function: SymbolAt) -> SymbolAt:
    name, cold, _ = function.name.partition(COLD)
    if not cold:
        return function
    hot = find_symbol(prog, name)
    what = f"function of {function.name}"
    if hot is None:
        raise Unavailable(what, Reason.NO_DEBUGINFO, f"no symbol {name}")
    # Static functions share names: the right one jumps into this part.
    end = function.address + function.size
    for instruction in _disassemble(prog, hot)[0]:
        if instruction.target is not None and function.address <= instruction.target < end:
            return hot
    raise Unavailable(what, Reason.AMBIGUOUS, f"{name} at {hot.address:#x} never goes there")
