"""Leaving a place that is no code: a bad pointer was called, or jumped to.

The processor pushed the return address and changed nothing else, so rsp points at it. The
kernel's unwinder does the same for NULL only (null_orc_entry in arch/x86/kernel/unwind_orc.c).
A return to a bad address looks alike, but what rsp points at is then no return address of an
indirect call, or only by chance.
"""

from __future__ import annotations

from drgn import FaultError, Program

from crashkit.disasm import Flow, Instruction, decode_one, disassemble_function, recognise
from crashkit.errors import Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols.lookup import SymbolAt, find_symbol, in_kernel_text, symbol_at

_SHORTEST_CALL, _LONGEST_CALL = 2, 9


def is_no_code(prog: Program, pc: int, symbol: SymbolAt | None) -> bool:
    """Whether no instruction can lie at ``pc``.

    :param symbol: the one there, which may be data
    """
    if symbol is None:
        if in_kernel_text(prog, pc):
            return False
        return _is_direct_map(prog, pc) or not _is_mapped(prog, pc)
    marks = [find_symbol(prog, name) for name in ("_etext", "_sinittext", "_einittext")]
    if symbol.module is not None or None in marks:
        return False  # what of it is code is not known
    end, init, init_end = (mark.address for mark in marks if mark)
    return end <= pc and not init <= pc < init_end


def _is_direct_map(prog: Program, pc: int) -> bool:
    # Slab objects and other data: PAGE_KERNEL, which is no-execute (arch/x86/mm/init_64.c).
    try:
        start = int(prog["page_offset_base"])
        pages = int(prog["max_pfn"])
    except (LookupError, FaultError):
        return False
    return start <= pc < start + (pages << 12)


def _is_mapped(prog: Program, pc: int) -> bool:
    # BPF programs and trampolines have no symbol; a small address may be mapped by a user.
    if pc < 1 << 47:
        return False
    try:
        read_bytes(prog, pc, 1)
    except Unavailable:
        return False
    return True


def called_a_pointer(prog: Program, return_address: int) -> bool:
    """Whether the call before ``return_address`` may have led to any address.

    It goes through a pointer, or to a function that jumps through one.
    """
    for length in range(_SHORTEST_CALL, _LONGEST_CALL + 1):
        call = _instruction(prog, return_address - length)
        if call is None or call.operation != "call" or call.end != return_address:
            continue
        if call.target is None or _jumps_through_pointer(prog, call.target):
            return True
    return False


def _instruction(prog: Program, address: int) -> Instruction | None:
    try:
        found = decode_one(prog, address)
    except Unavailable:
        return None
    return recognise([found], name_at=lambda at: _name(prog, at))[0]


def _jumps_through_pointer(prog: Program, target: int) -> bool:
    function = symbol_at(prog, target)
    if function is None or function.address != target:
        return False
    try:
        code = disassemble_function(prog, target, function.size, name_at=lambda at: _name(prog, at))
    except Unavailable:
        return False
    return any(each.flow is Flow.JUMP and each.target is None for each in code)


def _name(prog: Program, address: int) -> str | None:
    symbol = symbol_at(prog, address)
    return symbol.name if symbol is not None and symbol.address == address else None
