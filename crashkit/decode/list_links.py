"""A list's links around one entry as they are now, and the poison that says what happened."""

from __future__ import annotations

from drgn import Program

from crashkit.decode.identity import identify
from crashkit.errors import Unavailable
from crashkit.memory import is_kernel_address, read_u64
from crashkit.value import facts

_WORD = 8
_U64 = (1 << 64) - 1

# include/linux/poison.h with x86-64's POISON_POINTER_DELTA. LIST_POISON2 ended in 200 after Linux
# kernel commit 8a5e5e02fc83 ("include/linux/poison.h: fix LIST_POISON{1,2} offset") (in v4.3), the
# pair that ends in 100100 and 200200 is from before it.
_POISON = {
    0xDEAD_0000_0000_0100: "LIST_POISON1: removed from its list",
    0xDEAD_0000_0000_0122: "LIST_POISON2: removed from its list",
    0xDEAD_0000_0000_0200: "LIST_POISON2: removed from its list",
    0xDEAD_0000_0020_0200: "LIST_POISON2: removed from its list",
    0xDEAD_0000_0010_0100: "LIST_POISON1: removed from its list",
    0x6B6B_6B6B_6B6B_6B6B: "POISON_FREE: the object was freed",
    0x5A5A_5A5A_5A5A_5A5A: "POISON_INUSE: never written",
    0: "NULL: never on a list, or cleared",
}


@facts
class ListNode:
    """One ``struct list_head``."""

    role: str
    """``entry``, ``prev`` or ``next`` of the operation."""
    address: int
    next: int | None
    """What it holds now; None: not in the dump."""
    prev: int | None
    identity: str | None
    """The object it lies in."""
    next_words: str | None
    """What a link that is poison says."""
    prev_words: str | None


@facts
class Link:
    """One link that the check compares."""

    expression: str
    """``next->prev``"""
    expected: int
    now: int | None
    now_identity: str | None
    """The object it leads into."""
    printed: int | None
    """What the kernel found there."""
    holds: bool | None
    """The link is as it should be now."""


def read_node(prog: Program, role: str, address: int) -> ListNode:
    """Read one list head; what is not in the dump is None."""
    forward, back = _word(prog, address), _word(prog, address + _WORD)
    return ListNode(
        role=role,
        address=address,
        next=forward,
        prev=back,
        identity=identify(prog, address),
        next_words=poison_words(forward),
        prev_words=poison_words(back),
    )


def _word(prog: Program, address: int) -> int | None:
    if not is_kernel_address(address):
        return None
    try:
        return read_u64(prog, address & _U64)
    except Unavailable:
        return None


def poison_words(value: int | None) -> str | None:
    """Say what a link that is a poison value tells; None: it is none."""
    if value is None or value in _POISON:
        return None if value is None else _POISON[value]
    return None if is_kernel_address(value) else "no kernel address: overwritten"
