"""Parameters of the kernel's assembly functions, which no debug information describes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from drgn import Program, Type

from crashkit.dataflow import Entry, Parameter, Term
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import SymbolAt
from crashkit.symbols.btf_structures import has_btf

# arch/x86/lib: memcpy_64.S, memmove_64.S, memset_64.S, clear_page_64.S, copy_page_64.S,
# copy_user_64.S, copy_mc_64.S, csum-copy_64.S; arch/x86/include/asm/string_64.h.
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "memcpy": ("dest", "src", "count"),
    "memmove": ("dest", "src", "count"),
    "memset": ("s", "c", "count"),
    "clear_page": ("page",),
    "copy_page": ("to", "from"),
    "copy_user": ("to", "from", "count"),
    "copy_user_generic": ("to", "from", "count"),
    "rep_movs_alternative": ("to", "from", "count"),
    "rep_stos_alternative": ("to", "count"),
    "copy_mc_fragile": ("dest", "src", "count"),
    "csum_partial_copy_generic": ("src", "dest", "len"),
}
# Called from inline assembly, as the instructions they stand for would be used.
_AS_STRING_INSTRUCTIONS = frozenset({"rep_movs_alternative", "rep_stos_alternative"})
_STRING_REGISTERS: Mapping[str, str] = {"to": "rdi", "from": "rsi", "count": "rcx"}
# What a ``void *`` is made into first (kernel/workqueue.c, kernel/kthread.c), and where that
# is defined: a module may have a structure of the name, too.
_WORKER = ("struct worker", "kernel/workqueue_internal.h")
_MEANT: Mapping[tuple[str, str], tuple[str, str]] = {
    ("worker_thread", "__worker"): _WORKER,
    ("rescuer_thread", "__rescuer"): _WORKER,
    ("kthread", "_create"): ("struct kthread_create_info", "kernel/kthread.c"),
}
_NUMBERS = frozenset({"c", "count", "len"})
_VARIANT = re.compile(
    r"^_*(.+?)(?:_(?:erms|rep|orig|unrolled|string|fast_string|enhanced_fast_string|fsrm))?$"
)


def library_parameters(prog: Program, function: SymbolAt) -> dict[Term, Parameter]:
    """Name the parameters of one of them; empty for any other function."""
    found = _VARIANT.match(function.name)
    if found is None or function.module is not None:
        return {}
    names = _PARAMETERS.get(found[1], ())
    pointer = prog.pointer_type(prog.void_type())
    try:
        number = prog.type("unsigned long")
    except LookupError:
        return {}
    registers: Iterable[str] = ARGUMENT_REGISTERS
    if found[1] in _AS_STRING_INSTRUCTIONS:
        registers = (_STRING_REGISTERS[name] for name in names)
    return {
        Entry(register): Parameter(name=name, type=number if name in _NUMBERS else pointer)
        for register, name in zip(registers, names, strict=False)
    }


def meant_by(prog: Program, function: SymbolAt, parameter: str) -> Type | None:
    """Type that one of the kernel's own functions takes a ``void *`` for; None for others."""
    meant = _MEANT.get((function.name, parameter)) if function.module is None else None
    if meant is None:
        return None
    name, file = meant
    # BTF has no files; of a name, it gives the kernel's own type first.
    for filename in (file, None) if has_btf(prog) else (file,):
        with suppress(LookupError):
            return prog.pointer_type(prog.type(name, filename))
    return None
