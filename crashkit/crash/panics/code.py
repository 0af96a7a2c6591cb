"""The code on the crashed stack against its vmlinux."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Unavailable
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.symbols.code_check import CodeDifference, check_code
from crashkit.symbols.file_text import slide_of_file
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_MOST_FUNCTIONS = 32


@facts
class CodeFacts:
    """Functions of the core kernel on the stack, compared with the file."""

    functions: int
    """Compared; innermost first, at most 32."""
    compared: int
    """Bytes."""
    unread: tuple[str, ...]
    """Functions that the dump or the file lacks."""
    patched: dict[str, int]
    """Changes the kernel makes to itself, counted by what makes them."""
    corrupt: tuple[CodeDifference, ...]
    """Bytes that differ and that nothing changes."""


def read(crash: Crash) -> CodeFacts | None:
    """Compare; None where no vmlinux with code was found."""
    prog = crash.prog
    if slide_of_file(prog) is None:
        return None
    compared, patched, unread = 0, dict[str, int](), list[str]()
    corrupt: list[CodeDifference] = []
    functions = _functions(crash)
    for function in functions:
        try:
            found = check_code(prog, function.address, function.size)
        except Unavailable:
            unread.append(function.name)
            continue
        compared += found.compared
        corrupt += found.corrupt
        for by, count in found.explained.items():
            patched[by] = patched.get(by, 0) + count
    return CodeFacts(
        functions=len(functions) - len(unread),
        compared=compared,
        unread=tuple(unread),
        patched=patched,
        corrupt=tuple(corrupt),
    )


def _functions(crash: Crash) -> list[SymbolAt]:
    found: dict[int, SymbolAt] = {}
    for frame in crash.outer_frames:
        symbol = symbol_at(crash.prog, frame.pc)
        if symbol is not None and symbol.module is None and symbol.size:
            found.setdefault(symbol.address, symbol)
    return list(found.values())[:_MOST_FUNCTIONS]
