"""Leaving a function that has no unwind rule, by the call that entered it.

``__crash_kexec()`` is marked STACK_FRAME_NON_STANDARD, so objtool writes no ORC for it,
and every real kdump of a panic starts in it.
"""

from __future__ import annotations

from drgn import Program

from crashkit.errors import Unavailable
from crashkit.memory import read_bytes, read_u64
from crashkit.symbols.lookup import SymbolAt, in_kernel_text

_MAX_WORDS = 512
_CALL_REL32 = 0xE8


# Where the kernel puts modules and the code it generates: after its own image, up to the
# fixmap (Documentation/arch/x86/x86_64/mm.rst, "module mapping space").
_MODULES_START, _MODULES_END = 0xFFFF_FFFF_A000_0000, 0xFFFF_FFFF_FF00_0000


def may_be_generated(prog: Program, address: int) -> bool:
    """Whether ``address`` lies where BPF programs and trampolines do, and in no module."""
    in_space = _MODULES_START <= address < _MODULES_END
    return in_space and not in_kernel_text(prog, address)


def find_caller(prog: Program, function: SymbolAt, sp: int) -> int | None:
    """Find the stack slot of the return address of a call to ``function``.

    From ``sp`` upward, the first word in kernel text that follows a direct call whose
    target lies in the function.
    """
    for slot in range(sp, sp + 8 * _MAX_WORDS, 8):
        try:
            word = read_u64(prog, slot)
        except Unavailable:
            return None
        if in_kernel_text(prog, word) and calls(prog, word, function):
            return slot
    return None


def calls(prog: Program, return_address: int, function: SymbolAt) -> bool:
    """Whether the instruction before ``return_address`` is ``call rel32`` into ``function``."""
    try:
        code = read_bytes(prog, return_address - 5, 5)
    except Unavailable:
        return False
    if code[0] != _CALL_REL32:
        return False
    target = return_address + int.from_bytes(code[1:], "little", signed=True)
    return function.address <= target < function.address + max(function.size, 1)
