"""What DWARF says of a function's frame, its parameters and its calls.

Debug files come from outside and may be damaged or lack any part: no question raises,
each has an answer for "not known". The readers behind it are imported with the first
question about an address that a debug file describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from drgn import Module, Program, RelocatableModule

from crashkit.symbols.lookup import names_of

if TYPE_CHECKING:
    from crashkit.symbols.dwarf_questions import Reader
    from crashkit.symbols.dwarf_values import (
        CallSite,
        Constant,
        EntryValue,
        FrameAddress,
        FrameVariable,
        LoadValue,
        Location,
        RegisterValue,
        Value,
    )

__all__ = [
    "CallSite",
    "Constant",
    "EntryValue",
    "FrameAddress",
    "FrameVariable",
    "LoadValue",
    "Location",
    "RegisterValue",
    "Value",
    "call_site",
    "frame_variables",
    "has_debug_file",
    "parameter_locations",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # The answers' classes take 3 ms to make, and most dumps are read without DWARF.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from crashkit.symbols import dwarf_values

        return getattr(dwarf_values, name)


_CACHE_KEY = "crashkit.dwarf"


def frame_variables(prog: Program, address: int) -> tuple[FrameVariable, ...] | None:
    """List the variables and parameters in the frame of the function that contains ``address``.

    Those of inlined functions and of all blocks are among them, and from location lists
    what they say of the frame. Offsets are relative to the CFA, or to the stack pointer in
    the function's body where the variable says so. Memory that the compiler took for itself
    is no variable and not among them.

    :returns: None when no DWARF describes the function, its frame base is not the CFA, or
        anything about one of its variables was not understood
    """
    reader = _reader(prog, address)
    return reader.frame_variables(address) if reader else None


def parameter_locations(prog: Program, address: int, pc: int) -> Mapping[str, Location]:
    """Say where each parameter of the function that contains ``address`` is at ``pc``.

    :param address: of the function itself, not of one inlined into it
    :param pc: for a frame that made a call, its return address less 1
    :returns: name to location; empty when no DWARF describes the function
    """
    reader = _reader(prog, address)
    return reader.parameter_locations(address, pc) if reader else {}


def call_site(prog: Program, return_pc: int) -> CallSite | None:
    """Find what DWARF says of the call that returns to ``return_pc``."""
    reader = _reader(prog, return_pc - 1)
    return reader.call_site(return_pc, lambda name: _address_of(prog, name)) if reader else None


def has_debug_file(prog: Program) -> bool:
    """Whether the kernel has a debug file, so that asking makes sense."""
    try:
        return prog.main_module().debug_file_path is not None
    except LookupError:
        return False


def _address_of(prog: Program, name: str) -> int | None:
    # A global function's address, unless a static one has its name, too.
    names = names_of(prog)
    finders = [names.find_symbols, names.find_module_symbols]
    found = {
        symbol.address
        for finder in finders
        if finder is not None
        for symbol in finder(prog, name, None, False)
    }
    return found.pop() if len(found) == 1 else None


def _reader(prog: Program, address: int) -> Reader | None:
    try:
        module = prog.module(address)
    except (LookupError, OverflowError):
        return None
    path = module.debug_file_path
    if path is None:
        return None
    known: dict[str, Reader | None] = prog.cache.setdefault(_CACHE_KEY, {})
    if path not in known:
        known[path] = _open(module, path)
    return known[path]


def _open(module: Module, path: str) -> Reader | None:
    from crashkit.symbols.dwarf_questions import open_reader

    places: Mapping[str, int] = {}
    if isinstance(module, RelocatableModule):
        loaded = module.address_ranges or ()
        # The kernel frees .init sections: another module may be in their place by now.
        places = {
            name: place
            for name, place in module.section_addresses.items()
            if any(start <= place < end for start, end in loaded)
        }
    return open_reader(Path(path), module.debug_file_bias or 0, places)
