"""skbs that wait for the other fragments of their packet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from drgn import Object, Program, cast, container_of

from crashkit.decode.fields import has_member, naming, pointer
from crashkit.decode.netns import namespaces, net_generic_of_module
from crashkit.decode.skb_lists import for_each_in_chain, for_each_in_tree, unrepeated
from crashkit.decode.skb_queues import QueuedSkb, Reading, skb_addresses
from crashkit.errors import Reason, Unavailable

MAX_BUCKETS = 1 << 22


def from_fragments(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs of incomplete packets: IPv4, IPv6 and conntrack's IPv6."""
    for net in namespaces(prog):
        for name, directory in _directories(reading, net):
            queues = partial(_queues, directory)
            for queue in reading.walk("fragments", f"{name} fragments", queues):
                yield from _skbs(reading, net, name, queue)


def _directories(reading: Reading, net: Object) -> Iterator[tuple[str, Object]]:
    def one(read: str) -> Iterator[Object]:
        owner = _OWNERS[read](net)
        # a struct fqdir by pointer in newer kernels, struct netns_frags in older ones
        yield _directory(owner.fqdir if has_member(owner, "fqdir") else owner.frags)

    for name in _OWNERS:
        for found in reading.walk("fragments", f"{name} fragments", partial(one, name)):
            yield name, found


def _of_ipv6(net: Object) -> Object:
    if not has_member(net, "ipv6"):
        raise Unavailable("fragments", Reason.NOT_APPLICABLE, "a kernel without IPv6")
    return net.ipv6


def _of_conntrack(net: Object) -> Object:
    # In older kernels a member of struct net, all zeros until the module is loaded
    # (include/net/netns/ipv6.h: struct netns_nf_frag); in newer ones the module's own data.
    if has_member(net, "nf_frag"):
        if not any(net.nf_frag.to_bytes_()):
            raise Unavailable("fragments", Reason.NOT_APPLICABLE, "nf_defrag_ipv6 is not loaded")
        return net.nf_frag
    module, id_symbol = "nf_defrag_ipv6", "nf_frag_pernet_id"
    return net_generic_of_module(net.prog_, net, module, id_symbol, "struct nft_ct_frag6_pernet")


_OWNERS: dict[str, Callable[[Object], Object]] = {
    "IPv4": lambda net: net.ipv4,
    "IPv6": _of_ipv6,
    "conntrack IPv6": _of_conntrack,
}
"""What has the table of each."""


def _directory(obj: Object) -> Object:
    pointer(obj, "fqdir")
    if not has_member(obj, "rhashtable"):
        raise Unavailable("fragments", Reason.UNSUPPORTED, "a table of another kind (before v4.17)")
    return obj


def _queues(directory: Object) -> Iterator[Object]:
    tables = [directory.rhashtable.tbl.read_()]
    if tables[0] and tables[0].future_tbl:
        tables.append(tables[0].future_tbl.read_())
    for table in tables:
        for node in for_each_in_rhashtable(table):
            yield container_of(node, "struct inet_frag_queue", "node")


def for_each_in_rhashtable(table: Object) -> Iterator[Object]:
    """Yield the entries of a resizable hash table, ``struct rhash_head *``.

    :param table: ``struct bucket_table *``
    :raises Unavailable: it is nested, impossible, or a page is missing
    """
    what = "rhashtable"
    pointer(table, what)
    with naming(what):
        size, nested = int(table.size.value_()), int(table.nest.value_())
        if nested:
            raise Unavailable(what, Reason.UNSUPPORTED, "a nested table")
        if size > MAX_BUCKETS:
            raise Unavailable(what, Reason.CORRUPTED, f"{size} buckets")
        yield from unrepeated(_entries(table, size), what)


def _entries(table: Object, size: int) -> Iterator[Object]:
    # Bit 0 of a bucket is its lock (include/linux/rhashtable.h: BIT(0) of struct
    # rhash_lock_head *); at a chain's end it marks the end.
    prog = table.prog_
    for index in range(size):
        value = int(cast("unsigned long", table.buckets[index]).value_()) & ~1
        while value and not value & 1:
            node = Object(prog, "struct rhash_head *", value)
            pointer(node, "rhashtable")
            yield node
            value = int(node.next.value_())


def _skbs(reading: Reading, net: Object, name: str, queue: Object) -> Iterator[QueuedSkb]:
    what = f"{name} fragments at {queue.value_():#x}"
    for skb in skb_addresses(reading.walk("fragments", what, partial(_fragments, queue, what))):
        yield QueuedSkb(
            address=skb,
            place="fragments",
            queue="rb_fragments",
            owner_type="struct inet_frag_queue",
            owner=int(queue.value_()),
            owner_name=f"an incomplete {name} packet, {int(queue.meat.value_())} bytes so far",
            net=int(net.value_()),
        )


def _fragments(queue: Object, what: str) -> Iterator[Object]:
    # A tree of runs since Linux kernel commit 353c9cb36087 ("ip: add helpers to process
    # in-order fragments faster.") (in v4.20); a list before.
    if not has_member(queue, "rb_fragments"):
        yield from for_each_in_chain(queue.fragments.read_(), what)
        return
    for run in for_each_in_tree(queue.rb_fragments, what):
        yield from unrepeated(_run(run, what), what)


def _run(skb: Object, what: str) -> Iterator[Object]:
    while skb:
        pointer(skb, what)
        yield skb
        block = cast("struct ipfrag_skb_cb *", skb.cb.address_of_())
        skb = block.next_frag.read_()
