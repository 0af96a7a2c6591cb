"""The fault's own registers in memory, where no note of the dump has the crashed thread's.

The kernel prints the stack pointer of the fault, and the entry code saved all registers below
it (``struct pt_regs``): they are there to be read, whatever the CPU did since.
"""

from __future__ import annotations

from drgn import FaultError, Object, Program

from crashkit.crash.segments import stacks_of
from crashkit.crash.thread import Crashed
from crashkit.errors import Unavailable
from crashkit.memory import read_u64
from crashkit.oops import CodeLocation, Oops
from crashkit.symbols import symbol_at
from crashkit.unwind import Context
from crashkit.unwind.panic_path import find_exception_frame


def printed_fault(
    prog: Program, crashed: Crashed, oops: Oops | None, entries: frozenset[str]
) -> Context | None:
    """Find the place from which the walk arrives at the fault that the log reports.

    The saved registers must lie where the CPU puts them for the printed stack pointer, be of the
    printed instruction, and a call out of the exception's entry code must stand right below.

    :param entries: names of the entry code of exceptions
    :returns: None where the log reports no fault of this thread, or memory does not agree
    """
    if oops is None or oops.ip is None or oops.pid is None or oops.pid != crashed.facts.pid:
        return None
    sp = oops.registers.get("rsp")
    bounds = stacks_of(prog, crashed.task, crashed.facts.cpu).bounds(sp) if sp else None
    if sp is None or bounds is None:
        return None
    try:
        size = prog.type("struct pt_regs").size or 0
        address = (sp & ~0xF) - size
        pc = int(Object(prog, "struct pt_regs", address=address).ip)
        slot = address - 8
        back = read_u64(prog, slot)
    except (FaultError, LookupError, Unavailable):
        return None
    entry = symbol_at(prog, back - 1)
    agrees = (
        _is_printed(prog, oops.ip, pc)
        and entry is not None
        and entry.name in entries
        and find_exception_frame(prog, pc, sp, bounds[0]) == address
    )
    if not agrees:
        return None
    return Context(pc=back, sp=slot + 8, interrupted=False, slot=slot, how="call-site scan")


def _is_printed(prog: Program, printed: CodeLocation, pc: int) -> bool:
    if printed.function is None:
        return printed.address == pc  # a jump to where no code is
    at = symbol_at(prog, pc)
    return at is not None and (at.name, pc - at.address) == (printed.function, printed.offset)
