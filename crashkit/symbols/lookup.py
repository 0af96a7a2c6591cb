"""Which symbol and module an address belongs to; what is known of one dump's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drgn import Program, Symbol

from crashkit.symbols.kallsyms import CoreSymbols, SymbolFinder

_CACHE_KEY = "crashkit.names"


@dataclass(frozen=True, slots=True)
class SymbolAt:
    """The symbol that contains an address."""

    name: str
    address: int
    size: int
    """Bytes up to the next symbol, as the kernel prints it."""
    module: str | None
    """None for the core kernel."""


@dataclass(kw_only=True)
class ModuleRange:
    """Where one loaded module lies."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    """[start, end) pairs."""
    object_address: int
    """``struct module *``."""
    build_id: str | None


@dataclass(kw_only=True)
class Names:
    """What is known of a program's names; kept in ``Program.cache``."""

    find_symbols: SymbolFinder | None = None
    """kallsyms of the core kernel; None: drgn's own (DWARF or ELF)."""
    find_module_symbols: SymbolFinder | None = None
    modules: list[ModuleRange] = field(default_factory=list)
    text: tuple[int, int] | None = None
    """[_stext, _end) of the core kernel."""
    at: dict[int, SymbolAt | None] = field(default_factory=dict)


def names_of(prog: Program) -> Names:
    """Return the program's record of names, an empty one if nothing was attached."""
    names = prog.cache.get(_CACHE_KEY)
    if not isinstance(names, Names):
        names = prog.cache[_CACHE_KEY] = Names()
    return names


def module_at(prog: Program, address: int) -> ModuleRange | None:
    """Find the loaded module whose memory holds ``address``."""
    for module in names_of(prog).modules:
        if any(start <= address < end for start, end in module.ranges):
            return module
    return None


def in_kernel_text(prog: Program, address: int) -> bool:
    """Whether ``address`` lies in the core kernel's image or in a module."""
    text = names_of(prog).text
    if text is not None and text[0] <= address < text[1]:
        return True
    return module_at(prog, address) is not None


def symbol_at(prog: Program, address: int) -> SymbolAt | None:
    """Find the symbol that contains ``address``; None when nothing names it."""
    names = names_of(prog)
    if address not in names.at:
        names.at[address] = _look_up(prog, names, address)
    return names.at[address]


def _look_up(prog: Program, names: Names, address: int) -> SymbolAt | None:
    module = module_at(prog, address)
    finders = (names.find_module_symbols,) if module else (names.find_symbols,)
    for finder in finders:
        found = finder(prog, None, address, True) if finder else []
        if found:
            return _symbol(found[0], module.name if module else None)
    try:
        symbol = prog.symbol(address)
    except LookupError:
        return None
    return _symbol(symbol, module.name if module else None)


def _symbol(symbol: Symbol, module: str | None) -> SymbolAt:
    return SymbolAt(symbol.name, symbol.address, symbol.size, module)


def find_symbol(prog: Program, name: str) -> SymbolAt | None:
    """Find a symbol by name, the core kernel's first."""
    names = names_of(prog)
    for finder in (names.find_symbols, names.find_module_symbols):
        found = finder(prog, name, None, True) if finder else []
        if found:
            module = module_at(prog, found[0].address)
            return _symbol(found[0], module.name if module else None)
    try:
        symbol = prog.symbol(name)
    except LookupError:
        return None
    module = module_at(prog, symbol.address)
    return _symbol(symbol, module.name if module else None)


def find_symbols(prog: Program, name: str) -> tuple[SymbolAt, ...]:
    """Find every symbol of a name: static functions of different files may share one."""
    names = names_of(prog)
    found = [
        symbol
        for finder in (names.find_symbols, names.find_module_symbols)
        if finder is not None
        for symbol in finder(prog, name, None, False)
    ]
    found = found or list(prog.symbols(name))
    at = {symbol.address: symbol for symbol in found}
    modules = {address: module_at(prog, address) for address in at}
    return tuple(
        _symbol(at[address], module.name if (module := modules[address]) else None)
        for address in sorted(at)
    )


def per_cpu_symbol_at(prog: Program, offset: int) -> Symbol | None:
    """Find the per-CPU symbol at an offset into the template that each CPU has a copy of.

    :param offset: from the template's own address, 0 up to Linux 6.14
    """
    finder = names_of(prog).find_symbols
    if isinstance(finder, CoreSymbols):
        found = finder.per_cpu(prog, offset)
        if found is not None:
            return found
    try:
        return prog.symbol(offset)
    except LookupError:
        return None


Finder = Callable[[str], Symbol | None]


def symbol_finder(prog: Program) -> Finder:
    """Return a look-up by name over kallsyms, for finders that make objects."""

    def find(name: str) -> Symbol | None:
        names = names_of(prog)
        for finder in (names.find_symbols, names.find_module_symbols):
            found = finder(prog, name, None, True) if finder else []
            if found:
                return found[0]
        return None

    return find
