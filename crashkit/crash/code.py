"""Code of the dump by the names a person gives it."""

from __future__ import annotations

import re

from drgn import Program

from crashkit.errors import Reason, Unavailable, UsageError
from crashkit.symbols import SymbolAt, find_symbols, symbol_at

_PLACE = re.compile(
    r"(?:(?P<module>[\w-]+):)?(?P<name>[A-Za-z_.$][\w.$]*)(?:\+(?P<offset>0x[0-9a-f]+|\d+))?"
    r"(?:/0x[0-9a-f]+)?",
    re.ASCII | re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?:0x)?([0-9a-f]{8,16})", re.ASCII | re.IGNORECASE)
_LISTED = 8


def find_code(prog: Program, text: str) -> tuple[SymbolAt, int | None]:
    """Find code by ``symbol``, ``symbol+0x1f``, ``module:symbol`` or an address in hex.

    ``symbol+0x1f/0x60``, as a trace prints it, is understood, too.

    :returns: the symbol and the address in it; None for its start
    :raises UsageError: it is none of these
    :raises Unavailable: nothing of that name, several (each named), or no symbol there
    """
    if found := _ADDRESS.fullmatch(text):
        address = int(found[1], 16)
        symbol = symbol_at(prog, address)
        if symbol is None or not symbol.address <= address < symbol.address + symbol.size:
            raise Unavailable(f"code at {address:#x}", Reason.NO_DEBUGINFO, "no symbol is there")
        return symbol, address
    named = _PLACE.fullmatch(text)
    if named is None:
        raise UsageError(f"{text!r} is neither a symbol, symbol+offset nor a kernel address")
    symbol = _one(find_symbols(prog, named["name"]), named["name"], named["module"])
    if named["offset"] is None:
        return symbol, None
    offset = int(named["offset"], 0)
    if offset >= symbol.size:
        raise Unavailable(text, Reason.NOT_APPLICABLE, f"{symbol.name} has {symbol.size:#x} bytes")
    return symbol, symbol.address + offset


def _one(found: tuple[SymbolAt, ...], name: str, module: str | None) -> SymbolAt:
    chosen = [symbol for symbol in found if module in (None, symbol.module or "vmlinux")]
    if not chosen:
        where = f"{module}:{name}" if module else name
        raise Unavailable(where, Reason.NO_DEBUGINFO, "no symbol of that name")
    if len(chosen) > 1:
        places = ", ".join(
            f"{symbol.address:016x}" + (f" [{symbol.module}]" if symbol.module else "")
            for symbol in chosen[:_LISTED]
        )
        raise Unavailable(name, Reason.AMBIGUOUS, f"{len(chosen)} have that name, at {places}")
    return chosen[0]
