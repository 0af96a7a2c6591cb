"""Walks over the kinds of lists that skbs wait in; each ends, and says if it cannot."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

from crashkit.decode.fields import naming, pointer
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded

MAX_QUEUE = 1_000_000
"""skbs of one queue that are followed."""
MAX_RING = 1 << 20


def unrepeated(items: Iterator[Object], what: str) -> Iterator[Object]:
    """Yield pointers of a walk; end it when one comes again.

    :raises Unavailable: ``corrupted`` (a cycle), ``budget``, or why it cannot be read on
    """
    seen: set[int] = set()
    with naming(what):
        for item in bounded(items, MAX_QUEUE, what):
            address = int(item.value_())
            if address in seen:
                raise Unavailable(what, Reason.CORRUPTED, f"a cycle at {address:#x}")
            seen.add(address)
            yield item


def for_each_in_chain(first: Object, what: str, end: int = 0) -> Iterator[Object]:
    """Yield skbs that are linked by ``next``, ``struct sk_buff *``.

    :param first: ``struct sk_buff *``; NULL is an empty chain
    :param end: address at which the chain ends
    """
    return unrepeated(_chain(first, what, end), what)


def _chain(item: Object, what: str, end: int) -> Iterator[Object]:
    while item and item.value_() != end:
        pointer(item, what)
        yield item
        item = item.next.read_()


def for_each_in_head(head: Object, what: str) -> Iterator[Object]:
    """Yield the skbs of a ``struct sk_buff_head``, a circle through the head itself.

    :param head: ``struct sk_buff_head``, in memory
    """
    with naming(what):
        first, address = head.next.read_(), head.address_ or 0
        count = int(head.qlen.value_())
    found = 0
    for skb in for_each_in_chain(first, what, address):
        found += 1
        yield skb
    if found != count and _settled(what):
        raise Unavailable(what, Reason.CORRUPTED, f"{found} skbs, and qlen is {count}")


def _settled(what: str) -> bool:
    # Input queues are changed by their CPU without a lock that would stop a crash between
    # the two writes: the count of those may be off by one, and is not judged.
    return not what.startswith("softnet")


def for_each_in_tree(root: Object, what: str) -> Iterator[Object]:
    """Yield the skbs of a red-black tree by ``rbnode``. ``root``: ``struct rb_root``, in memory."""
    walk = rbtree_inorder_for_each_entry("struct sk_buff", root.address_of_(), "rbnode")
    return unrepeated(walk, what)


def for_each_in_list(head: Object, what: str) -> Iterator[Object]:
    """Yield the skbs linked by ``list``. ``head``: ``struct list_head``, in memory."""
    return unrepeated(list_for_each_entry("struct sk_buff", head.address_of_(), "list"), what)


def for_each_in_ring(ring: Object, what: str) -> Iterator[Object]:
    """Yield the skbs of a ``struct ptr_ring``, oldest first, up to the first empty slot.

    Slots behind ``consumer_head`` may still hold what was taken out: they are emptied in
    batches (include/linux/ptr_ring.h: __ptr_ring_discard_one()).

    :param ring: ``struct ptr_ring``, in memory
    """
    prog = ring.prog_
    with naming(what):
        size = int(ring.size.value_())
        first, stale = int(ring.consumer_head.value_()), int(ring.consumer_tail.value_())
        if not (0 <= size <= MAX_RING and 0 <= stale <= first < max(size, 1)):
            raise Unavailable(what, Reason.CORRUPTED, f"a ring of {size} slots, read at {first}")
        for at in range(first, size + stale):
            skb = Object(prog, "struct sk_buff *", int(ring.queue[at % size].value_()))
            if not skb:
                return
            pointer(skb, what)
            yield skb
