"""The function tracer's trampolines: copies of its entry code, one for each user of it.

Nothing in the tables describes a copy; the kernel looks up the original's rule instead
(orc_ftrace_find(), arch/x86/kernel/unwind_orc.c). Its code is in the dump, and behind it the
address of the ``struct ftrace_ops`` that it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass

from drgn import FaultError, Object, Program

from crashkit.symbols.lookup import SymbolAt, find_symbol

_CACHE_KEY = "crashkit.trampolines"
_MOST = 1024
_NAME = "ftrace_trampoline"
"""What /proc/kallsyms calls each of them (FTRACE_TRAMPOLINE_SYM, kernel/trace/ftrace.c)."""
_WITH_REGISTERS, _PLAIN = "ftrace_regs_caller", "ftrace_caller"


@dataclass(frozen=True)
class _Trampoline:
    start: int
    size: int
    """Bytes, with the address behind the code."""
    original: int
    """Address of the code it is a copy of."""


def original_of(prog: Program, pc: int) -> int | None:
    """Give the place in the tracer's own code that ``pc`` of a trampoline is a copy of."""
    for trampoline in _trampolines(prog):
        if 0 <= pc - trampoline.start < trampoline.size:
            return trampoline.original + pc - trampoline.start
    return None


def trampoline_at(prog: Program, pc: int) -> SymbolAt | None:
    """Give the trampoline that ``pc`` is in, as the function that it is."""
    for trampoline in _trampolines(prog):
        if 0 <= pc - trampoline.start < trampoline.size:
            return SymbolAt(_NAME, trampoline.start, trampoline.size, None)
    return None


def _trampolines(prog: Program) -> list[_Trampoline]:
    found: list[_Trampoline] | None = prog.cache.get(_CACHE_KEY)
    if found is None:
        try:
            found = _read(prog)
        except (FaultError, LookupError, AttributeError):
            found = []  # a kernel without them, or a list that is not there: no rule, as before
        prog.cache[_CACHE_KEY] = found
    return found


def _read(prog: Program) -> list[_Trampoline]:
    saves_registers = prog.constant("FTRACE_OPS_FL_SAVE_REGS").value_()
    last = find_symbol(prog, "ftrace_list_end")
    ops: Object = prog["ftrace_ops_list"].read_()
    found: list[_Trampoline] = []
    seen: set[int] = set()
    while ops and ops.value_() not in seen and len(seen) < _MOST:
        if last is not None and ops.value_() == last.address:
            break
        seen.add(ops.value_())
        name = _WITH_REGISTERS if ops.flags.value_() & saves_registers else _PLAIN
        original = find_symbol(prog, name)
        start, size = ops.trampoline.value_(), ops.trampoline_size.value_()
        if start and original is not None:
            found.append(_Trampoline(start, size, original.address))
        ops = ops.next.read_()
    return found
