"""skbs in sockets: received and not read, out of order, sent and not acknowledged, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from drgn import FaultError, Object, Program, cast, sizeof
from drgn.helpers.linux.list import hlist_for_each_entry
from drgn.helpers.linux.net import sk_nulls_for_each

from crashkit.decode.fields import big_endian, has_member, naming, net_pointer, pointer
from crashkit.decode.netns import namespaces
from crashkit.decode.skb_lists import (
    for_each_in_chain,
    for_each_in_head,
    for_each_in_tree,
    unrepeated,
)
from crashkit.decode.skb_queues import QueuedSkb, Reading, skb_addresses
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes

MAX_BUCKETS = 1 << 24
_AF_INET6, _AF_PACKET = 10, 17
_TCP, _UDP, _UDPLITE = 6, 17, 136
_NOT_FULL = (6, 12)  # TCP_TIME_WAIT, TCP_NEW_SYN_RECV: smaller structures without queues
_NAMES = {_TCP: "TCP", _UDP: "UDP", _UDPLITE: "UDP-Lite"}


def from_sockets(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs of the sockets that are in the tables of TCP, UDP and packet sockets."""
    seen: set[int] = set()
    for socket in _sockets(prog, reading):
        address = int(socket.value_())
        if address not in seen:
            seen.add(address)
            yield from socket_skbs(reading, socket)


def _sockets(prog: Program, reading: Reading) -> Iterator[Object]:
    for address in _tables(prog, "tcp_hashinfo", _own_tcp_table):
        table = Object(prog, "struct inet_hashinfo *", address)
        yield from reading.walk("socket", "TCP sockets", partial(_connected, table))
    for name in ("udp_table", "udplite_table"):
        own = _own_udp_table if name == "udp_table" else None
        for address in _tables(prog, name, own):
            table = Object(prog, "struct udp_table *", address)
            yield from reading.walk("socket", f"{name} sockets", partial(_bound, table))
    for net in namespaces(prog):
        if has_member(net, "packet"):
            yield from reading.walk("socket", "packet sockets", partial(_packet_sockets, net))


def _tables(prog: Program, name: str, own: Callable[[Object], int] | None) -> dict[int, None]:
    # The global table and, since v6.1 (TCP: d1e5e6408b30) and v6.2 (UDP: 9804985bf27f), a
    # namespace's own.
    try:
        tables = {prog[name].address_ or 0: None}
    except LookupError:
        tables = {}
    if own is not None:
        for net in namespaces(prog):
            tables[own(net)] = None
    tables.pop(0, None)
    return tables


def _own_tcp_table(net: Object) -> int:
    row = net.ipv4.tcp_death_row
    return int(row.hashinfo.value_()) if has_member(row, "hashinfo") else 0


def _own_udp_table(net: Object) -> int:
    return int(net.ipv4.udp_table.value_()) if has_member(net.ipv4, "udp_table") else 0


def _connected(table: Object) -> Iterator[Object]:
    pointer(table.ehash, "ehash")
    size = int(table.ehash_mask.value_()) + 1
    stride = sizeof(table.ehash.type_.type)
    for index in _used(table.prog_, int(table.ehash.value_()), size, stride, 0):
        walk = sk_nulls_for_each(table.ehash[index].chain.address_of_())
        for socket in unrepeated(walk, "ehash"):
            if int(socket.__sk_common.skc_state.value_()) not in _NOT_FULL:
                yield socket


def _used(prog: Program, start: int, size: int, stride: int, offset: int) -> Iterator[int]:
    # Buckets whose first word is neither NULL nor an end marker; read at once, since a big
    # table has half a million and most are empty.
    if not 0 < size <= MAX_BUCKETS:
        raise Unavailable("socket table", Reason.CORRUPTED, f"{size} buckets")
    raw = memoryview(read_bytes(prog, start, size * stride, "socket table"))
    for index in range(size):
        at = index * stride + offset
        first = raw[at : at + 8]
        if not first[0] & 1 and any(first):
            yield index


def _bound(table: Object) -> Iterator[Object]:
    slots, size = table.hash, int(table.mask.value_()) + 1
    pointer(slots, "udp_table.hash")
    stride = sizeof(slots.type_.type)
    for index in _used(table.prog_, int(slots.value_()), size, stride, 0):
        head = slots[index].head.address_of_()
        yield from unrepeated(
            hlist_for_each_entry("struct sock", head, "__sk_common.skc_node"), "udp_table"
        )


def _packet_sockets(net: Object) -> Iterator[Object]:
    head = net.packet.sklist.address_of_()
    return unrepeated(hlist_for_each_entry("struct sock", head, "__sk_common.skc_node"), "sklist")


def socket_skbs(reading: Reading, socket: Object) -> Iterator[QueuedSkb]:
    """Yield the skbs of a socket's queues.

    :param socket: ``struct sock *``, a full one
    """
    name = socket_name(socket)
    with naming("sock"):
        net = net_pointer(socket.__sk_common.skc_net)
        queues = dict(_queues(socket))
    for queue, items in queues.items():
        for skb in skb_addresses(reading.walk("socket", f"{queue} of {name}", items)):
            yield QueuedSkb(
                address=skb,
                place="socket",
                queue=queue,
                owner_type="struct sock",
                owner=int(socket.value_()),
                owner_name=name,
                net=net,
            )


def _queues(socket: Object) -> Iterator[tuple[str, Callable[[], Iterator[Object]]]]:
    for name in ("sk_receive_queue", "sk_error_queue", "sk_write_queue"):
        yield name, partial(for_each_in_head, socket.member_(name), name)
    yield "sk_backlog", partial(for_each_in_chain, socket.sk_backlog.head, "sk_backlog")
    protocol = int(socket.sk_protocol.value_())
    if int(socket.__sk_common.skc_family.value_()) == _AF_PACKET:
        return
    if protocol == _TCP:
        tcp = cast("struct tcp_sock *", socket)
        yield "out_of_order_queue", partial(_out_of_order, tcp)
        if has_member(socket, "tcp_rtx_queue"):
            yield "tcp_rtx_queue", partial(for_each_in_tree, socket.tcp_rtx_queue, "rtx queue")
    elif protocol in (_UDP, _UDPLITE):
        udp = cast("struct udp_sock *", socket)
        if has_member(udp, "reader_queue"):
            yield "reader_queue", partial(for_each_in_head, udp.reader_queue, "reader_queue")


def _out_of_order(tcp: Object) -> Iterator[Object]:
    # A tree since Linux kernel commit 9f5afeae5152 ("tcp: use an RB tree for ooo receive
    # queue") (in v4.9).
    queue = tcp.out_of_order_queue
    if has_member(queue, "rb_node"):
        return for_each_in_tree(queue, "out_of_order_queue")
    return for_each_in_head(queue, "out_of_order_queue")


def socket_name(socket: Object) -> str:
    """Name a socket as ss does: protocol, local and remote address. ``struct sock *``."""
    try:
        common = socket.__sk_common
        family = int(common.skc_family.value_())
        protocol = int(socket.sk_protocol.value_())
        if family == _AF_PACKET:
            return "packet socket"
        here, there = _addresses(common, family)
        name = _NAMES.get(protocol, f"protocol {protocol}")
        local = f"{here}:{int(common.skc_num.value_())}"
        port = big_endian(common.skc_dport)
        return f"{name} socket {local}" + (f" > {there}:{port}" if port else "")
    except FaultError:
        return "socket"


def _addresses(common: Object, family: int) -> tuple[str, str]:
    if family == _AF_INET6:
        here, there = common.skc_v6_rcv_saddr, common.skc_v6_daddr
        return tuple(f"[{IPv6Address(a.to_bytes_())}]" for a in (here, there))  # type: ignore[return-value]
    here, there = common.skc_rcv_saddr, common.skc_daddr
    return str(IPv4Address(here.to_bytes_())), str(IPv4Address(there.to_bytes_()))
