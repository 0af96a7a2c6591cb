"""The words of a stack, frame by frame, as ``bt -f`` shows them."""

from __future__ import annotations

from drgn import Program

from crashkit.crash.stack import Stack
from crashkit.errors import Unavailable
from crashkit.memory import read_bytes, read_u64

MAX_WORDS = 4096
"""Words of one frame; no kernel stack is longer than 64 KiB even under KASAN."""


def words_of(prog: Program, stack: Stack, position: int) -> tuple[tuple[int, int | None], ...]:
    """Read the words of one frame: (address, word), None for a word not in the dump.

    As crash does: from above the frame's own return address up to and with the next
    one's; the last frame of a stack reaches to the stack's top.
    """
    frame = stack.frames[position]
    if frame.inlined:
        return ()
    start = frame.sp if frame.slot is None else frame.slot + 8
    end = _end(stack, position)
    if end is None or start % 8 or not 0 < end - start <= 8 * MAX_WORDS:
        return ()
    try:
        data = read_bytes(prog, start, end - start)
    except Unavailable:
        return tuple((address, _word(prog, address)) for address in range(start, end, 8))
    return tuple(
        (start + at, int.from_bytes(data[at : at + 8], "little")) for at in range(0, end - start, 8)
    )


def _end(stack: Stack, position: int) -> int | None:
    frame = stack.frames[position]
    top = next((high for low, high, _s in stack.ranges if low <= frame.sp <= high), None)
    outer = next((f for f in stack.frames[position + 1 :] if not f.inlined), None)
    if outer is None:
        return top
    end = outer.sp if outer.slot is None else outer.slot + 8
    start = frame.sp if frame.slot is None else frame.slot + 8
    on_another = top is not None and not start <= end <= top
    return top if on_another else end


def _word(prog: Program, address: int) -> int | None:
    try:
        return read_u64(prog, address)
    except Unavailable:
        return None
