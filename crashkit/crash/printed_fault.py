"""The fault's own registers in memory, where no note of the dump has the crashed thread's.

The kernel prints the stack pointer of the fault, and the entry code saved all registers below
it (``struct pt_regs``): they are there to be read, whatever the CPU did since.
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Object, Program

from crashkit.crash.segments import Stacks, stacks_of
from crashkit.crash.thread import Crashed
from crashkit.errors import Unavailable
from crashkit.memory import read_u64
from crashkit.oops import CodeLocation, Oops
from crashkit.symbols import symbol_at
from crashkit.unwind import Context, Segment


def printed_fault(
    prog: Program, crashed: Crashed, oops: Oops | None, entries: frozenset[str]
) -> Context | None:
    """Find the place from which the walk arrives at the fault that the log reports.

    The saved registers must lie where the CPU puts them for the printed stack pointer, have it
    and the printed instruction, and a call out of the exception's entry code must stand right
    below.

    :param entries: names of the entry code of exceptions
    :returns: None where the log reports no fault of this thread, or memory does not agree
    """
    if oops is None or oops.ip is None or oops.pid is None or oops.pid != crashed.facts.pid:
        return None
    sp = oops.registers.get("rsp")
    if sp is None:
        return None
    stacks = stacks_of(prog, crashed.task, crashed.facts.cpu)
    try:
        size = prog.type("struct pt_regs").size or 0
        found = (_saved_at(prog, oops.ip, sp, at, entries) for at in _places(stacks, sp, size))
        return next((start for start in found if start is not None), None)
    except LookupError:
        return None


def _places(stacks: Stacks, sp: int, size: int) -> Iterator[int]:
    # Below the printed stack pointer, which the CPU aligns to 16 (SDM vol. 3, 6.14.2). If that
    # is on no stack, as after an overflow, at the top of the exception's own (6.14.5).
    bounds = stacks.bounds(sp)
    if bounds is not None:
        yield from (at for at in ((sp & ~0xF) - size,) if at >= bounds[0])
        return
    for _low, high, segment in stacks.ranges:
        if segment is Segment.EXCEPTION:
            yield high - size


def _saved_at(
    prog: Program, ip: CodeLocation, sp: int, address: int, entries: frozenset[str]
) -> Context | None:
    slot = address - 8
    try:
        saved = Object(prog, "struct pt_regs", address=address)
        pc, saved_sp = int(saved.ip), int(saved.sp)
        back = read_u64(prog, slot)
    except (FaultError, Unavailable):
        return None
    entry = symbol_at(prog, back - 1)
    is_entry = entry is not None and entry.name in entries
    if not is_entry or saved_sp != sp or not _is_printed(prog, ip, pc):
        return None
    return Context(pc=back, sp=slot + 8, interrupted=False, slot=slot, how="call-site scan")


def _is_printed(prog: Program, printed: CodeLocation, pc: int) -> bool:
    if printed.function is None:
        return printed.address == pc  # a jump to where no code is
    at = symbol_at(prog, pc)
    return at is not None and (at.name, pc - at.address) == (printed.function, printed.offset)
