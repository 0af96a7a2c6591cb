"""Symbols of the running kernel as it names them itself: kallsyms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drgn import (
    BadDataError,
    FaultError,
    MissingDebugInfoError,
    Object,
    Program,
    Symbol,
    SymbolIndex,
)
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms, module_kallsyms

from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, IMPOSSIBLE
from crashkit.symbols.kallsyms_check import contradiction, image_symbols
from crashkit.target.vmcoreinfo import parse

SymbolFinder = Callable[[Program, str | None, int | None, bool], Sequence[Symbol]]

_TOLD = "SYMBOL(kallsyms_names)"

# Per-CPU symbols are offsets from 0 up to 6.12 (no longer in 6.18); a small integer is
# no symbol, so look-ups by address below 1 MiB find nothing.
_LOWEST_ADDRESS = 1 << 20


def load_vmlinux(prog: Program) -> CoreSymbols:
    """Load the built-in kallsyms of the core kernel.

    VMCOREINFO says where they are since Linux 6.0 (f09bddbd8661, "vmcoreinfo: add
    kallsyms_num_syms symbol"); where it does not, the kernel's image is searched.

    :raises Unavailable: they cannot be read, or not be found; or they contradict VMCOREINFO, as
        they do where a page of the names is damaged: every name behind has another's address
    """
    try:
        info = parse(prog["VMCOREINFO"].string_())
    except (LookupError, ValueError) as error:
        raise Unavailable("kallsyms", Reason.NO_DEBUGINFO, f"no VMCOREINFO: {error}") from error
    if _TOLD not in info:
        # Imported here: newer kernels tell.
        from crashkit.symbols.kallsyms_scan import scan_kallsyms

        return CoreSymbols(scan_kallsyms(prog, info))
    try:
        index = load_vmlinux_kallsyms(prog)
    except FaultError as fault:
        raise Unavailable("kallsyms", Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, ValueError, MissingDebugInfoError) as error:
        detail = f"VMCOREINFO does not describe them: {error}"
        raise Unavailable("kallsyms", Reason.NO_DEBUGINFO, detail) from error
    except (BadDataError, *IMPOSSIBLE) as error:
        raise Unavailable("kallsyms", Reason.CORRUPTED, str(error)) from error
    why = contradiction(
        image_symbols(info), lambda name: [s.address for s in index(prog, name, None, False)]
    )
    if why is not None:
        raise Unavailable("kallsyms", Reason.CORRUPTED, f"they are damaged: {why}")
    return CoreSymbols(index)


class CoreSymbols:
    """The core kernel's symbols, as a finder."""

    def __init__(self, index: SymbolIndex) -> None:
        self._index = index

    def __call__(
        self, prog: Program, name: str | None, address: int | None, one: bool
    ) -> Sequence[Symbol]:
        """Find symbols, but no per-CPU ones by address."""
        if address is not None and address < _LOWEST_ADDRESS:
            return []
        return list(self._index(prog, name, address, one))

    def every(self, prog: Program) -> Sequence[Symbol]:
        """Return all of them, per-CPU ones too, by address."""
        return list(self._index(prog, None, None, False))

    def per_cpu(self, prog: Program, offset: int) -> Symbol | None:
        """Find the per-CPU symbol at an offset into each CPU's memory, where they count from 0."""
        found = list(self._index(prog, None, offset, True)) if offset < _LOWEST_ADDRESS else []
        return found[0] if found else None


def load_modules(modules: Sequence[Object]) -> tuple[SymbolFinder, list[tuple[str, str]]]:
    """Load the symbols of loaded modules (``struct module *`` each).

    :returns: one finder, and (module, why) for those that could not be read
    """
    symbols: list[Symbol] = []
    failed: list[tuple[str, str]] = []
    for module in modules:
        name = module.name.string_().decode("ascii", "backslashreplace")
        try:
            symbols += [s for s in module_kallsyms(module) if s.name and s.address]
        except BROKEN_WALK as error:
            failed.append((name, str(error) or "its symbol table has no plausible size"))
    return SymbolIndex(symbols), failed
