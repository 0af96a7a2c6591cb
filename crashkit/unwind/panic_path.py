"""The frames between the fault and machine_kexec(), which a kdump's notes leave out.

In a kdump of an oops the saved registers are those of the fault itself. crash numbers
its frames from ``machine_kexec``, deeper in the same stack, so a person comparing the
two needs them. They are searched for, and used only if the walk from there arrives at
the very exception frame that the notes describe.
"""

from __future__ import annotations

from drgn import FaultError, Object, Program

from crashkit.errors import Unavailable
from crashkit.memory import read_u64, words_between
from crashkit.symbols.lookup import SymbolAt, find_symbol, symbol_at
from crashkit.unwind.bridge import calls
from crashkit.unwind.frame_pointers import FramePointerRules
from crashkit.unwind.frames import RegisterValue
from crashkit.unwind.rules import unwind_rules
from crashkit.unwind.walk import Context, Recover, Walk, walk
from crashkit.value import Certainty, Origin

_INNERMOST, _CALLER = "machine_kexec", "__crash_kexec"


def find_exception_frame(prog: Program, pc: int, sp: int, low: int) -> int | None:
    """Find the ``struct pt_regs`` that the fault at (``pc``, ``sp``) pushed.

    :param low: lowest address of the stack
    """
    type_ = prog.type("struct pt_regs")
    # The CPU aligns the stack to 16 before it pushes ss (SDM vol. 3, 6.14.2).
    address = (sp & ~0xF) - (type_.size or 0)
    if address < low:
        return None
    try:
        regs = Object(prog, type_, address=address)
        return address if int(regs.ip) == pc and int(regs.sp) == sp else None
    except FaultError:
        return None


def walk_from_kexec(
    prog: Program, low: int, high: int, *, recover: Recover | None = None
) -> list[Walk]:
    """Walk from each place between ``low`` and ``high`` where machine_kexec was called.

    :returns: the walks, lowest first; stale stack words can make more than one
    """
    callee = find_symbol(prog, _INNERMOST)
    caller = find_symbol(prog, _CALLER)
    if callee is None or caller is None:
        return []
    if isinstance(unwind_rules(prog), FramePointerRules):
        return _walk_by_frame_pointers(prog, callee, low, high, recover)
    walks = []
    for slot, word in words_between(prog, low, high):
        if not caller.address <= word < caller.address + caller.size:
            continue
        if not calls(prog, word, callee):
            continue
        inner = _inside(prog, low, slot)
        if inner is not None:
            walks.append(walk(prog, inner, recover=recover))
    return walks


def _walk_by_frame_pointers(
    prog: Program, innermost: SymbolAt, low: int, high: int, recover: Recover | None
) -> list[Walk]:
    # Each return address into machine_kexec whose callee pushed a frame pointer of this stack.
    walks = []
    for slot in range(low + 8, high - 7, 8):
        try:
            word, pushed = read_u64(prog, slot), read_u64(prog, slot - 8)
        except Unavailable:
            continue
        is_inside = innermost.address < word <= innermost.address + innermost.size
        if not is_inside or not slot < pushed < high:
            continue
        base = RegisterValue(
            value=pushed, origin=Origin.CFI, certainty=Certainty.INFERRED, slot=slot - 8
        )
        start = Context(
            pc=word, sp=slot + 8, registers={"rbp": base}, interrupted=False, slot=slot,
            how="frame pointer",
        )  # fmt: skip
        walks.append(walk(prog, start, recover=recover))
    return walks


def _inside(prog: Program, low: int, slot: int) -> Context | None:
    # The innermost return address into machine_kexec below its own return slot.
    for at in range(slot - 8, low - 1, -8):
        try:
            word = read_u64(prog, at)
        except Unavailable:
            continue
        symbol = symbol_at(prog, word - 1) if word > 1 << 32 else None
        if symbol is not None and symbol.name == _INNERMOST:
            return Context(pc=word, sp=at + 8, interrupted=False, slot=at, how="call-site scan")
    return None
