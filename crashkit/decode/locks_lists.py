"""Who waits for a lock: the lists and trees of waiters that sleeping locks keep."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object
from drgn.helpers import ValidationError
from drgn.helpers.linux.list import validate_list_for_each_entry
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

from crashkit.decode.fields import has_member, member, naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_WAITERS = 2000


@facts
class Waiter:
    """One entry of a lock's list of waiters."""

    task: int
    """Address of its ``struct task_struct``."""
    wants: str
    """``read``, ``write``, or empty where the lock has one kind of holder."""


def listed(head: Object, ctype: str, link: str = "list") -> Iterator[Waiter]:
    """Yield the waiters of a list.

    :param head: ``struct list_head``
    :param ctype: the entries' type, with a member ``task``, e.g. ``struct mutex_waiter``
    :param link: its member in the list
    :raises Unavailable: the type is not known, a page is missing, or the list is corrupt
    """
    what = f"the list of {ctype}"
    with naming(what):
        entries = validate_list_for_each_entry(ctype, head.address_of_(), link)
        try:
            for entry in bounded(entries, MAX_WAITERS, what):
                yield Waiter(task=int(entry.task.value_()), wants=_wants(entry))
        except ValidationError as broken:
            raise Unavailable(what, Reason.CORRUPTED, str(broken)) from broken


def _wants(entry: Object) -> str:
    # enum rwsem_waiter_type (kernel/locking/rwsem.c): RWSEM_WAITING_FOR_WRITE is 0.
    if not has_member(entry, "type"):
        return ""
    return "read" if int(member(entry, "type").value_()) else "write"


def queued(head: Object) -> Iterator[Waiter]:
    """Yield the tasks on a wait queue, ordinary or simple.

    Entries with another ``func`` than a wake-up of a task can have anything in ``private``;
    whoever asks compares with a known task.

    :param head: ``struct wait_queue_head`` or ``struct swait_queue_head``
    :raises Unavailable: a type is not known, a page is missing, or the list is corrupt
    """
    if has_member(head, "head"):  # renamed by 2055da97389a (in v4.13)
        yield from _entries(member(head, "head"), "struct wait_queue_entry", "entry")
    elif has_member(head, "task_list"):
        if "swait" in head.type_.type_name():
            yield from listed(member(head, "task_list"), "struct swait_queue", "task_list")
        else:
            yield from _entries(member(head, "task_list"), "struct __wait_queue", "task_list")


def _entries(head: Object, ctype: str, link: str) -> Iterator[Waiter]:
    what = "the wait queue"
    with naming(what):
        entries = validate_list_for_each_entry(ctype, head.address_of_(), link)
        try:
            for entry in bounded(entries, MAX_WAITERS, what):
                yield Waiter(task=int(entry.private.value_()), wants="")
        except ValidationError as broken:
            raise Unavailable(what, Reason.CORRUPTED, str(broken)) from broken


def in_tree(lock: Object) -> Iterator[Waiter]:
    """Yield the waiters of an rt_mutex, the first to get it first.

    :param lock: ``struct rt_mutex_base`` or, up to 5.14, ``struct rt_mutex``
    :raises Unavailable: the type is not known, or a page is missing
    """
    what = "the tree of rt_mutex waiters"
    with naming(what):
        root = member(lock.waiters, "rb_root").address_of_()
        kind = lock.prog_.type("struct rt_mutex_waiter")
        # struct rt_waiter_node since f7853c342418 ("locking/rtmutex: Fix task->pi_waiters
        # integrity") (in v6.5, and stable).
        link = "tree.entry" if kind.has_member("tree") else "tree_entry"
        entries = rbtree_inorder_for_each_entry("struct rt_mutex_waiter", root, link)
        for entry in bounded(entries, MAX_WAITERS, what):
            yield Waiter(task=int(entry.task.value_()), wants="")
