"""Names and types of a dump: kallsyms, BTF, ORC, and debug files that match."""

from crashkit.symbols.lookup import (
    ModuleRange,
    SymbolAt,
    find_symbol,
    find_symbols,
    in_kernel_text,
    module_at,
    per_cpu_symbol_at,
    symbol_at,
)

__all__ = [
    "ModuleRange",
    "SymbolAt",
    "find_symbol",
    "find_symbols",
    "in_kernel_text",
    "module_at",
    "per_cpu_symbol_at",
    "symbol_at",
]
