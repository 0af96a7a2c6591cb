"""The wait queue that a task sleeps on: by its own entry, which lies on its stack."""

from __future__ import annotations

from collections.abc import Sequence

from drgn import Object, Program

from crashkit.decode.fields import naming
from crashkit.decode.locks_lists import queued
from crashkit.errors import Unavailable
from crashkit.layout import offset_of
from crashkit.memory import is_kernel_address, read_u64
from crashkit.symbols import in_kernel_text

_ENTRY = "struct wait_queue_entry"
_HEAD = "struct wait_queue_head"
MAX_ENTRIES = 64
"""Entries of one queue that are looked at for its head."""


def find_queue(prog: Program, task: int, words: Sequence[tuple[int, int | None]]) -> int | None:
    """Find the wait queue head that a task's entry is linked to.

    An entry on a stack can be left over from an earlier sleep: it counts only where the
    head's own list has it.

    :param task: address of its ``struct task_struct``
    :param words: (address, word) of a frame of its stack
    :returns: address of a ``struct wait_queue_head``; None: no entry leads to one
    """
    try:
        private = offset_of(prog.type(_ENTRY), "private")
        link = offset_of(prog.type(_ENTRY), "entry")
    except (LookupError, Unavailable):
        return None
    for slot, word in words:
        if word == task:
            head = _head(prog, slot - private + link, task)
            if head is not None:
                return head
    return None


def _head(prog: Program, node: int, task: int) -> int | None:
    # Of the nodes in the ring, the head is the one that is no entry: an entry's func is
    # kernel text.
    entry, head = prog.type(_ENTRY), prog.type(_HEAD)
    to_func = offset_of(entry, "func") - offset_of(entry, "entry")
    try:
        if not in_kernel_text(prog, read_u64(prog, node + to_func)):
            return None
        here, seen = read_u64(prog, node), 0
        while here != node and seen < MAX_ENTRIES and is_kernel_address(here):
            if not in_kernel_text(prog, read_u64(prog, here + to_func)):
                found = here - offset_of(head, "head")
                return found if _lists(prog, found, task) else None
            here, seen = read_u64(prog, here), seen + 1
    except Unavailable:
        return None
    return None


def _lists(prog: Program, address: int, task: int) -> bool:
    with naming("a wait queue"):
        head = Object(prog, _HEAD, address=address)
        return any(waiter.task == task for waiter in queued(head))
