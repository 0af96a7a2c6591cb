"""Whether a function is gone to by jumps, where that can be looked at cheaply.

An indirect call whose pointer is lost either called the frame's function, or one that
jumped to it. The compiler makes such jumps mostly within one file, and a module's own
functions are jumped to from nowhere else.
"""

from __future__ import annotations

import re

from drgn import Program

from crashkit.errors import Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import module_at
from crashkit.symbols.lookup import names_of

_CACHE_KEY = "crashkit.jumpers"
_AROUND = 1 << 17
_LARGEST = 1 << 22
_PAGE = 1 << 12
_JUMP = re.compile(rb"(?=(?:\xe9|\x0f[\x80-\x8f])(....))", re.DOTALL)


def may_be_jumped_to(prog: Program, function: int, size: int) -> bool:
    """Whether code outside of the function but near it jumps to its start.

    Also true when that code is not in the dump.
    """
    key = (_CACHE_KEY, function)
    found: bool | None = prog.cache.get(key)
    if found is None:
        try:
            found = _is_jumped_to(prog, function, size)
        except Unavailable:
            found = True
        prog.cache[key] = found
    return found


def _is_jumped_to(prog: Program, function: int, size: int) -> bool:
    start, end = _neighbourhood(prog, function)
    code = read_bytes(prog, start, end - start, "the code around it")
    for match in _JUMP.finditer(code):
        after = start + match.end(1)
        if after + int.from_bytes(match[1], "little", signed=True) != function:
            continue
        if not function <= after <= function + size:
            return True
    return False


def _neighbourhood(prog: Program, function: int) -> tuple[int, int]:
    module = module_at(prog, function)
    if module is not None:
        for low, high in module.ranges:
            if low <= function < high:
                return low, min(high, low + _LARGEST)
    text = names_of(prog).text
    low, high = text or (function, function + _PAGE)
    return max(function - _AROUND, low), min(function + _AROUND, high)
