"""Global objects as C expressions."""

from __future__ import annotations

from drgn import Program, Type

from crashkit.dataflow import Const, Term
from crashkit.errors import Reason, Unavailable
from crashkit.fault.members import Reading, as_number, dereference, word_of
from crashkit.symbols import SymbolAt, symbol_at

_WORD = 8


def object_at(prog: Program, address: int) -> tuple[Reading, int]:
    """Find the global object that contains an address, and the distance into it.

    :returns: a reading as a pointer to the object
    :raises Unavailable: no symbol is there, or nothing tells its type
    """
    symbol = symbol_at(prog, address)
    what = f"object at {address:#x}"
    if symbol is None:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "no symbol is there")
    type_ = _type_of(prog, symbol, what)
    reading = Reading(
        term=Const(symbol.address),
        text=f"&{symbol.name}",
        type=prog.pointer_type(type_),
        place=symbol.name,
    )
    return reading, address - symbol.address


def _type_of(prog: Program, symbol: SymbolAt, what: str) -> Type:
    try:
        found = prog.variable(symbol.name)
    except LookupError as unknown:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    if found.address_ != symbol.address:
        raise Unavailable(what, Reason.AMBIGUOUS, f"another object is called {symbol.name}")
    return found.type_


def read_object(prog: Program, address: int, size: int, term: Term) -> tuple[Reading, ...]:
    """Read ``size`` bytes of a global object.

    :raises Unavailable: nothing of that kind is there
    """
    try:
        reading, rest = object_at(prog, address)
    except Unavailable:
        symbol = symbol_at(prog, address)
        if symbol is None or not symbol.address <= address < symbol.address + symbol.size:
            raise
        # Types without variables: its name is known, and how large it is.
        void = prog.pointer_type(prog.void_type())
        if symbol.address == address and size == symbol.size == _WORD:
            return (Reading(term=term, text=symbol.name, type=void),)
        start = Const(symbol.address)
        whole = Reading(term=start, text=f"(void *)&{symbol.name}", type=void, bare=True)
        return (as_number(whole, address - symbol.address, size, term, word_of(prog, size)),)
    return dereference(reading, rest, size, term)
