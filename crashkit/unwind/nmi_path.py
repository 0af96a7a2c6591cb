"""The frames by which a CPU was stopped, which a kdump's notes leave out.

The panicking CPU stops the others by an NMI; each saves the registers it was interrupted
with and waits in ``crash_nmi_callback()``. The notes hold those registers, and crash
numbers the CPU's frames from the callback. Its frames are searched for on the NMI stack,
and used only if the walk from there arrives at the very registers of the note.
"""

from __future__ import annotations

from drgn import Program

from crashkit.memory import words_between
from crashkit.symbols.lookup import find_symbol
from crashkit.unwind.walk import Context, Recover, Walk, walk

_CALLBACK = "crash_nmi_callback"
_MAX_BYTES = 0x8000


def walk_from_nmi(
    prog: Program,
    stack: tuple[int, int],
    start: Context,
    *,
    user: bool = False,
    recover: Recover | None = None,
) -> Walk | None:
    """Find the walk that begins in the NMI callback and interrupts ``start``.

    :param stack: [low, high) of the CPU's NMI stack
    :param user: ``start`` is in user space
    """
    callback = find_symbol(prog, _CALLBACK)
    low, high = stack
    if callback is None or high - low > _MAX_BYTES:
        return None
    for slot, word in words_between(prog, low, high):
        if not callback.address < word <= callback.address + callback.size:
            continue
        inner = Context(pc=word, sp=slot + 8, interrupted=False, slot=slot, how="call-site scan")
        found = walk(prog, inner, recover=recover)
        arrives = any(f.interrupted and (f.pc, f.sp) == (start.pc, start.sp) for f in found.frames)
        if arrives or (user and found.complete):
            return found
    return None
