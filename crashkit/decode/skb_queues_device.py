"""skbs on their way in: per-CPU input queues, GRO; and those that wait for a neighbour."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.net import (
    for_each_netdev,
    neigh_table_for_each_neighbor,
    netdev_name,
)
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.conntrack_stat import MAX_CPUS
from crashkit.decode.fields import has_member, net_pointer, printable
from crashkit.decode.net_device import MAX_DEVICES
from crashkit.decode.netns import namespaces
from crashkit.decode.skb_lists import for_each_in_chain, for_each_in_head, for_each_in_list
from crashkit.decode.skb_queues import QueuedSkb, Reading, skb_addresses
from crashkit.memory import bounded, read_bytes

MAX_NEIGHBOURS = 1_000_000
MAX_NAPI = 65536
_HEADS = ("input_pkt_queue", "process_queue", "xfrm_backlog")
_CHAINS = ("completion_queue", "defer_list")


def from_softnet(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs of each CPU's ``softnet_data``."""
    for cpu in bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"):
        data = per_cpu(prog["softnet_data"], cpu)
        for name in (*_HEADS, *_CHAINS):
            if not has_member(data, name):
                continue
            what = f"softnet {name} of CPU {cpu}"
            each = for_each_in_head if name in _HEADS else for_each_in_chain
            items = partial(each, data.member_(name), what)
            for skb in skb_addresses(reading.walk("softnet", what, items)):
                yield _softnet_skb(skb, name, data, cpu)


def _softnet_skb(skb: int, name: str, data: Object, cpu: int) -> QueuedSkb:
    return QueuedSkb(
        address=skb,
        place="softnet",
        queue=name,
        owner_type="struct softnet_data",
        owner=data.address_ or 0,
        owner_name=f"CPU {cpu}",
        net=None,
    )


def from_gro(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs that GRO holds back to merge more into them."""
    for cpu in bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"):
        backlog = per_cpu(prog["softnet_data"], cpu).backlog
        yield from _napi(reading, backlog.address_of_(), f"the backlog of CPU {cpu}", None)
    for net in namespaces(prog):
        for dev in bounded(for_each_netdev(net), MAX_DEVICES, "devices"):
            walk = list_for_each_entry(
                "struct napi_struct", dev.napi_list.address_of_(), "dev_list"
            )
            for napi in bounded(walk, MAX_NAPI, "napi_list"):
                name = f"device {printable(netdev_name(dev))}"
                yield from _napi(reading, napi, name, int(net.value_()))


def _napi(reading: Reading, napi: Object, name: str, net: int | None) -> Iterator[QueuedSkb]:
    # In a struct gro_node of its own, napi->gro, since v6.15.
    gro = napi.gro if has_member(napi, "gro") else napi
    lists = {}
    if has_member(gro, "rx_list"):
        lists["rx_list"] = gro.rx_list
    buckets = gro.member_("hash" if has_member(gro, "hash") else "gro_hash")
    for index, bucket in enumerate(buckets):
        lists[f"gro_hash[{index}]"] = bucket.list
    for queue, head in lists.items():
        if not head.next:
            continue  # never initialised: no list at all
        items = partial(for_each_in_list, head, queue)
        for skb in skb_addresses(reading.walk("gro", f"{queue} of {name}", items)):
            yield QueuedSkb(
                address=skb,
                place="gro",
                queue=queue,
                owner_type="struct napi_struct",
                owner=int(napi.value_()),
                owner_name=name,
                net=net,
            )


def from_neighbours(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs that wait until a neighbour's hardware address is known."""
    for table in ("arp_tbl", "nd_tbl"):
        entries = partial(_neighbours, prog, table)
        for neighbour in reading.walk("neighbour", table, entries):
            if neighbour.arp_queue.qlen:
                yield from _waiting(reading, neighbour)


def _neighbours(prog: Program, table: str) -> Iterator[Object]:
    walk = neigh_table_for_each_neighbor(prog[table].nht.read_())
    return bounded(walk, MAX_NEIGHBOURS, table)


def _waiting(reading: Reading, neighbour: Object) -> Iterator[QueuedSkb]:
    what = f"arp_queue of neighbour {neighbour.value_():#x}"
    items = partial(for_each_in_head, neighbour.arp_queue, what)
    length = int(neighbour.tbl.key_len.value_())
    key = read_bytes(neighbour.prog_, neighbour.primary_key.address_ or 0, min(length, 16))
    address = str(ip_address(key)) if length in (4, 16) else key.hex()
    name = f"neighbour {address} on {printable(netdev_name(neighbour.dev))}"
    for skb in skb_addresses(reading.walk("neighbour", what, items)):
        yield QueuedSkb(
            address=skb,
            place="neighbour",
            queue="arp_queue",
            owner_type="struct neighbour",
            owner=int(neighbour.value_()),
            owner_name=name,
            net=net_pointer(neighbour.dev.nd_net),
        )
