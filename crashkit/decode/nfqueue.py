"""NFQUEUE: packets waiting for a verdict, and the queues they wait in."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program
from drgn.helpers.linux.list import hlist_for_each_entry, list_for_each_entry

from crashkit.decode.fields import Absent, Fields, has_member, member, naming, pointer
from crashkit.decode.netns import net_generic_of_module
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_QUEUES = 65536
MAX_ENTRIES = 1_000_000

HOOK_NAMES = {0: "PRE_ROUTING", 1: "LOCAL_IN", 2: "FORWARD", 3: "LOCAL_OUT", 4: "POST_ROUTING"}
"""``enum nf_inet_hooks`` without its prefix (include/uapi/linux/netfilter.h)."""

PROTOCOL_FAMILY_NAMES = {0: "UNSPEC", 1: "INET", 2: "IPV4", 3: "ARP", 7: "BRIDGE", 10: "IPV6"}
"""``NFPROTO_...`` without its prefix (include/uapi/linux/netfilter.h)."""


@facts
class QueueEntry:
    """Facts of a ``struct nf_queue_entry``. A None field has its reason in ``absent``."""

    address: int
    skb: int | None
    """``struct sk_buff *``."""
    id: int | None
    """Packet id that user space names in its verdict."""
    pf: int | None
    """NFPROTO_..."""
    hook: int | None
    """NF_INET_... number of the hook."""
    hook_index: int | None
    """Which of the hook's functions queued it, on kernels that count them."""
    in_device: int | None
    """``struct net_device *``; 0 is none."""
    out_device: int | None
    net: int | None
    """``struct net *`` of the hook state."""
    absent: Absent


@facts
class QueueInstance:
    """Facts of a ``struct nfqnl_instance``. A None field has its reason in ``absent``."""

    address: int
    queue_number: int | None
    peer_port: int | None
    """Netlink port id of the program that listens."""
    waiting: int | None
    """Packets in the queue."""
    maximum: int | None
    """Packets it may hold."""
    dropped: int | None
    """Packets dropped since the queue was full (``queue_dropped``)."""
    user_dropped: int | None
    """Packets that did not get into the listener's socket (``queue_user_dropped``)."""
    copy_mode: int | None
    """NFQNL_COPY_NONE 0, META 1, PACKET 2."""
    copy_range: int | None
    """Bytes of each packet that the listener is given."""
    absent: Absent


def decode_queue_entry(entry: Object) -> QueueEntry:
    """Decode a queued packet's entry.

    :param entry: ``struct nf_queue_entry *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(entry, "struct nf_queue_entry")
    # The hook's parameters are in entry->state since Linux kernel commit 1c491ba2592f
    # ("netfilter: Pass nf_hook_state through nf_queue") (in v4.1) and in el7.
    state = entry.state if has_member(entry, "state") else entry
    fields = Fields(f"struct nf_queue_entry {address:#x}")
    return QueueEntry(
        address=address,
        skb=fields.number("skb", entry, "skb"),
        id=fields.number("id", entry, "id"),
        pf=fields.number("pf", state, "pf"),
        hook=fields.number("hook", state, "hook"),
        hook_index=fields.number("hook_index", entry, "hook_index"),
        in_device=fields.number("in_device", state, "in", "indev"),
        out_device=fields.number("out_device", state, "out", "outdev"),
        net=fields.number("net", state, "net"),
        absent=fields.reasons(),
    )


def queue_instances(prog: Program, net: Object) -> tuple[QueueInstance, ...]:
    """Decode the active queues of a namespace; empty when there are none.

    :param net: ``struct net *``
    :raises Unavailable: nfnetlink_queue is not loaded (``not-applicable``), its types
        are unknown, or a page is missing
    """
    instances = list(for_each_queue(prog, net))
    return tuple(_decode_instance(instance) for instance in instances)


def for_each_queue(prog: Program, net: Object) -> Iterator[Object]:
    """Yield the queues of a namespace as ``struct nfqnl_instance *``.

    :param net: ``struct net *``
    :raises Unavailable: as :func:`queue_instances`
    """
    module = "nfnetlink_queue"
    data = net_generic_of_module(prog, net, module, "nfnl_queue_net_id", "struct nfnl_queue_net")
    with naming("NFQUEUE instance_table"):
        for head in data.instance_table:
            walk = hlist_for_each_entry("struct nfqnl_instance", head.address_of_(), "hlist")
            yield from bounded(walk, MAX_QUEUES, "NFQUEUE instance_table")


def _decode_instance(instance: Object) -> QueueInstance:
    address = pointer(instance, "struct nfqnl_instance")
    fields = Fields(f"struct nfqnl_instance {address:#x}")
    return QueueInstance(
        address=address,
        queue_number=fields.number("queue_number", instance, "queue_num"),
        # peer_portid since Linux kernel commit 15e473046cb6 ("netlink: Rename pid to
        # portid to avoid confusion") (in v3.7)
        peer_port=fields.number("peer_port", instance, "peer_portid", "peer_pid"),
        waiting=fields.number("waiting", instance, "queue_total"),
        maximum=fields.number("maximum", instance, "queue_maxlen"),
        dropped=fields.number("dropped", instance, "queue_dropped"),
        user_dropped=fields.number("user_dropped", instance, "queue_user_dropped"),
        copy_mode=fields.number("copy_mode", instance, "copy_mode"),
        copy_range=fields.number("copy_range", instance, "copy_range"),
        absent=fields.reasons(),
    )


def for_each_queue_entry(instance: Object) -> Iterator[Object]:
    """Yield the packets waiting in a queue as ``struct nf_queue_entry *``.

    :param instance: ``struct nfqnl_instance *``
    :raises Unavailable: a page is missing, the list is a cycle, or it is too long
    """
    pointer(instance, "struct nfqnl_instance")
    seen: set[int] = set()
    with naming("NFQUEUE queue_list"):
        queue = member(instance, "queue_list").address_of_()
        walk = list_for_each_entry("struct nf_queue_entry", queue, "list")
        for entry in bounded(walk, MAX_ENTRIES, "NFQUEUE queue_list"):
            if entry.value_() in seen:
                raise Unavailable("NFQUEUE queue_list", Reason.CORRUPTED, "it is a cycle")
            seen.add(entry.value_())
            yield entry
