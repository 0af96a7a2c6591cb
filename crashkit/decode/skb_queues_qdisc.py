"""skbs in the queueing disciplines of network devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from drgn import Object, Program, cast, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.net import for_each_netdev, netdev_name
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry

from crashkit.decode.conntrack_stat import MAX_CPUS
from crashkit.decode.fields import has_member, naming, printable
from crashkit.decode.net_device import MAX_DEVICES
from crashkit.decode.netns import namespaces
from crashkit.decode.skb_lists import (
    MAX_RING,
    for_each_in_chain,
    for_each_in_head,
    for_each_in_ring,
    for_each_in_tree,
    unrepeated,
)
from crashkit.decode.skb_queues import QueuedSkb, Reading, skb_addresses
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded

MAX_QUEUES = 65536
_ALIGN = 64  # QDISC_ALIGNTO was 64, privdata is aligned to a cache line
_CPU_STATISTICS = 0x20  # TCQ_F_CPUSTATS (include/net/sch_generic.h)
_EMPTY = ("noqueue", "noop", "ingress", "clsact")
_LEAVES = ("pfifo", "bfifo", "pfifo_head_drop", "pfifo_fast", "netem", "fq_codel", "fq", "codel",
           "gred", "plug")  # fmt: skip
_PARENTS = ("mq", "mqprio", "tbf", "prio", "htb", "hfsc", "drr", "qfq", "ets", "multiq", "cbq",
            "red", "sfb", "taprio", "skbprio", "choke", "atm", "dsmark")  # fmt: skip
Lists = Iterator[tuple[str, Callable[[], Iterator[Object]]]]


def from_qdiscs(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs of the qdiscs of every device."""
    for net in namespaces(prog):
        for dev in bounded(for_each_netdev(net), MAX_DEVICES, "devices"):
            name = printable(netdev_name(dev))
            seen: set[int] = set()
            for qdisc in reading.walk("qdisc", f"qdiscs of {name}", partial(_qdiscs, dev)):
                address = int(qdisc.value_())
                if address and address not in seen:
                    seen.add(address)
                    yield from _skbs(reading, net, name, qdisc)


def _qdiscs(dev: Object) -> Iterator[Object]:
    count = int(dev.num_tx_queues.value_())
    if count > MAX_QUEUES:
        raise Unavailable("qdiscs", Reason.CORRUPTED, f"{count} queues")
    for index in range(count):
        yield dev._tx[index].qdisc.read_()
        yield dev._tx[index].qdisc_sleeping.read_()
    # By handle since Linux kernel commit 59cc1f61f09c ("net: sched: convert qdisc linked
    # list to hashtable") (in v4.7); children are in there, too.
    if has_member(dev, "qdisc_hash"):
        for head in dev.qdisc_hash:
            walk = hlist_for_each_entry("struct Qdisc", head.address_of_(), "hash")
            yield from unrepeated(walk, "qdisc_hash")


def _skbs(reading: Reading, net: Object, device: str, qdisc: Object) -> Iterator[QueuedSkb]:
    with naming("Qdisc"):
        kind = printable(qdisc.ops.id.string_())
        handle = int(qdisc.handle.value_())
    if kind in _EMPTY:
        return
    name = f"qdisc {kind} {handle >> 16:x}: of {device}"
    found = 0
    for queue, items in reading.walk("qdisc", name, partial(_lists, qdisc, kind)):
        for skb in skb_addresses(reading.walk("qdisc", f"{queue} of {name}", items)):
            found += 1
            yield QueuedSkb(
                address=skb,
                place="qdisc",
                queue=queue,
                owner_type="struct Qdisc",
                owner=int(qdisc.value_()),
                owner_name=name,
                net=int(net.value_()),
            )
    _compare(reading, name, kind, qdisc, found)


def _compare(reading: Reading, name: str, kind: str, qdisc: Object, found: int) -> None:
    # The qdisc's own count tells whether all its queues were read; a parent's includes its
    # children's.
    if kind in _PARENTS:
        return
    try:
        with naming(name):
            length = queue_length(qdisc)
    except Unavailable as missing:
        reading.note("qdisc", name, missing.reason, missing.detail)
        return
    if length != found:
        reason = Reason.AMBIGUOUS if kind in _LEAVES else Reason.UNSUPPORTED
        reading.note("qdisc", name, reason, f"its count says {length} packets, {found} were found")


def queue_length(qdisc: Object) -> int:
    """Read how many packets a qdisc says it holds. ``qdisc``: ``struct Qdisc *``."""
    total = int(qdisc.q.qlen.value_())
    if int(qdisc.flags.value_()) & _CPU_STATISTICS and has_member(qdisc, "cpu_qstats"):
        for cpu in bounded(for_each_possible_cpu(qdisc.prog_), MAX_CPUS, "possible CPUs"):
            total += int(cast("int", per_cpu_ptr(qdisc.cpu_qstats.read_(), cpu).qlen).value_())
    return total


def _lists(qdisc: Object, kind: str) -> Lists:
    for name in ("q", "gso_skb", "skb_bad_txq"):
        if has_member(qdisc, name):
            yield name, partial(_own_list, qdisc.member_(name), name)
    reader = _PRIVATE.get(kind)
    if reader is not None:
        yield from reader(_private(qdisc))


def _own_list(head: Object, name: str) -> Iterator[Object]:
    # struct qdisc_skb_head ends with NULL, struct sk_buff_head is a circle; gso_skb was one
    # pointer until Linux kernel commit a53851e2c321 ("net: sched: explicit locking in gso_cpu
    # fallback") (in v4.16).
    if has_member(head, "head"):
        return for_each_in_chain(head.head.read_(), name)
    if has_member(head, "qlen"):
        return for_each_in_head(head, name)
    return for_each_in_chain(head.read_(), name)


def _private(qdisc: Object) -> Object:
    # qdisc_priv(): a member in newer kernels, before that right behind the structure.
    if has_member(qdisc, "privdata"):
        return qdisc.privdata.address_of_()
    end = int(qdisc.value_()) + sizeof(qdisc.type_.type)
    return Object(qdisc.prog_, "void *", (end + _ALIGN - 1) & -_ALIGN)


def _pfifo_fast(private: Object) -> Lists:
    for band, ring in enumerate(cast("struct pfifo_fast_priv *", private).q):
        yield f"band {band}", partial(for_each_in_ring, ring.ring, f"band {band}")


def _fq_codel(private: Object) -> Lists:
    data = cast("struct fq_codel_sched_data *", private)
    count = int(data.flows_cnt.value_())
    if count > MAX_RING:
        raise Unavailable("fq_codel", Reason.CORRUPTED, f"{count} flows")
    for flow in range(count):
        first = data.flows[flow].head.read_()
        if first:
            yield f"flow {flow}", partial(for_each_in_chain, first, f"flow {flow}")


def _netem(private: Object) -> Lists:
    data = cast("struct netem_sched_data *", private)
    yield "t_root", partial(for_each_in_tree, data.t_root, "t_root")
    if has_member(data, "t_head"):
        yield "t_head", partial(for_each_in_chain, data.t_head.read_(), "t_head")


def _htb(private: Object) -> Lists:
    data = cast("struct htb_sched *", private)
    yield "direct_queue", partial(for_each_in_chain, data.direct_queue.head, "direct_queue")


def _fq(private: Object) -> Lists:
    data = cast("struct fq_sched_data *", private)
    yield from _fq_flow("internal", data.internal)
    roots = 1 << int(data.fq_trees_log.value_())
    if roots > MAX_RING:
        raise Unavailable("fq", Reason.CORRUPTED, f"{roots} trees")
    for index in range(roots):
        root = data.fq_root[index].address_of_()
        walk = rbtree_inorder_for_each_entry("struct fq_flow", root, "fq_node")
        for flow in unrepeated(walk, "fq flows"):
            yield from _fq_flow(f"flow {flow.value_():#x}", flow)


def _fq_flow(name: str, flow: Object) -> Lists:
    yield name, partial(for_each_in_chain, flow.head.read_(), name)
    if has_member(flow, "t_root"):
        yield f"{name} by time", partial(for_each_in_tree, flow.t_root, name)


_PRIVATE: dict[str, Callable[[Object], Lists]] = {
    "pfifo_fast": _pfifo_fast,
    "fq_codel": _fq_codel,
    "netem": _netem,
    "htb": _htb,
    "fq": _fq,
}
