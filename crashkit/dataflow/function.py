"""A function of the dump, all its parts, ready for questions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from drgn import Program

from crashkit.dataflow.analysis import Dataflow, analyse
from crashkit.dataflow.bugs import goes_on
from crashkit.dataflow.edges import changed_by_handlers, more_edges
from crashkit.dataflow.frame import incoming_bytes, pointee_size, variables_of
from crashkit.dataflow.realigned import LARGEST, aligned, realignments
from crashkit.disasm import (
    Flow,
    Instruction,
    disassemble,
    disassemble_function,
    disassemble_known,
    recognise,
    thunk_at,
    with_literals,
)
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import SymbolAt, find_symbols, symbol_at
from crashkit.symbols.file_text import text_of_file
from crashkit.unwind.bridge import may_be_generated

_CACHE_KEY = "crashkit.dataflow"
_MOST_NAMESAKES = 16
_ALIGNMENTS_KEY = "crashkit.dataflow.alignments"
COLD = ".cold"


def analyse_function(prog: Program, function: SymbolAt, cfa: int | None = None) -> Dataflow:
    """Analyse a function from the dump's bytes, with the part the compiler split off.

    ``function`` may be either part. Cached in ``prog.cache``.

    Where the dump lacks some of its bytes, or an ``int3`` hides one, the others are analysed
    and the result is not :attr:`~crashkit.dataflow.analysis.Dataflow.complete`.

    :param cfa: of the frame in question: by it more is known of a function that aligns its
        stack pointer
    :raises Unavailable: none of its bytes is in the dump, or ``function`` is a cold part
        whose function cannot be told from others of its name
    """
    remainder = None if cfa is None else alignment_of(prog, function, cfa)
    key = (_CACHE_KEY, function.address, remainder)
    flow = prog.cache.get(key)
    if not isinstance(flow, Dataflow):
        flow = prog.cache[key] = _analyse(prog, function, remainder)
    return flow


def alignment_of(prog: Program, function: SymbolAt, cfa: int) -> int | None:
    """What of a frame's CFA its code depends on: a remainder; None for most functions."""
    key = (_ALIGNMENTS_KEY, function.address)
    if key not in prog.cache:
        try:
            flow = analyse_function(prog, function)
            prog.cache[key] = bool(realignments(flow.instructions, flow.entry))
        except Unavailable:
            prog.cache[key] = False  # there is no code that could depend on it
    return cfa % LARGEST if prog.cache[key] else None


def _analyse(prog: Program, function: SymbolAt, cfa: int | None) -> Dataflow:
    hot = _hot_part(prog, function)
    instructions, whole = _all_parts(prog, hot)
    if cfa is not None:
        places = realignments({each.address: each for each in instructions}, hot.address)
        instructions = aligned(instructions, places, cfa)
    edges, known = more_edges(prog, instructions)
    flow = analyse(
        instructions,
        exception_edges=edges,
        edges_known=known,
        find_variables=partial(variables_of, prog, hot.address),
        pointee=partial(pointee_size, prog),
        entry=hot.address,
        gaps=not whole,
        shows_saves=may_be_generated(prog, hot.address),
        incoming=incoming_bytes(prog, hot),
        handlers=changed_by_handlers(prog, instructions) if edges else None,
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
    # Also whether it is all that runs there.
    start, size = part.address, part.size
    read = partial(disassemble_function, undo_probes=True)
    read_known = partial(disassemble_known, undo_probes=True)
    name_at, is_warning = partial(_name_at, prog), partial(goes_on, prog)
    try:
        found = read(prog, start, size, name_at=name_at, is_warning=is_warning)
    except Unavailable as missing:
        if missing.reason is not Reason.NOT_IN_DUMP:
            raise
        return read_known(prog, start, size, name_at=name_at, is_warning=is_warning), False
    if may_be_generated(prog, start):  # such code has its constants beside it
        return with_literals(found, read_bytes(prog, start, size), start), True
    code = _behind_int3(prog, found)
    if code is not None:
        whole = disassemble(code, start)
        return recognise(whole, name_at=name_at, is_warning=is_warning, entry=start), False
    return found, not any(_leads_out(prog, each) for each in found)


def _behind_int3(prog: Program, found: Sequence[Instruction]) -> bytes | None:
    # The code with the debug file's bytes where an int3 is that nothing in the dump explains;
    # None where there is none. Behind a return or a jump they fill what was patched.
    originals = {}
    for before, instruction in pairwise(found):
        if instruction.operation == "int3" and before.flow in (Flow.NEXT, Flow.BRANCH, Flow.CALL):
            original = text_of_file(prog, instruction.address, 1)
            if original is not None and original != instruction.data:
                originals[instruction.address] = original
    if not originals:
        return None
    return b"".join(originals.get(each.address, each.data) for each in found)


def _name_at(prog: Program, address: int) -> str | None:
    symbol = symbol_at(prog, address)
    if symbol is not None:
        return symbol.name if symbol.address == address else None
    return thunk_at(prog, address) if may_be_generated(prog, address) else None


def _leads_out(prog: Program, instruction: Instruction) -> bool:
    # To code that was made since and may come back, as that of a probe does.
    target = instruction.target
    if target is None or instruction.flow not in (Flow.JUMP, Flow.BRANCH):
        return False
    return may_be_generated(prog, target)


def _hot_part(prog: Program, function: SymbolAt) -> SymbolAt:
    name, cold, _ = function.name.partition(COLD)
    if not cold:
        return function
    found = [s for s in find_symbols(prog, name) if s.module == function.module]
    what = f"function of {function.name}"
    if not found:
        raise Unavailable(what, Reason.NO_DEBUGINFO, f"no symbol {name}")
    # Static functions share names: the right one jumps into this part.
    there: list[SymbolAt] = []
    missing: Unavailable | None = None
    for hot in found[:_MOST_NAMESAKES]:
        try:
            there += [hot] if _goes_into(prog, hot, function) else []
        except Unavailable as unread:
            missing = missing or unread
    if len(there) == 1:
        return there[0]
    if there:
        raise Unavailable(what, Reason.AMBIGUOUS, f"several functions {name} go there")
    if missing is not None:
        raise missing
    places = ", ".join(f"{hot.address:#x}" for hot in found[:_MOST_NAMESAKES])
    detail = f"{name} at {places} never goes there"
    raise Unavailable(what, Reason.AMBIGUOUS, detail)


def _goes_into(prog: Program, hot: SymbolAt, part: SymbolAt) -> bool:
    return any(
        part.address <= instruction.target < part.address + part.size
        for instruction in _disassemble(prog, hot)[0]
        if instruction.target is not None
    )
