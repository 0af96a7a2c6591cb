"""``struct nf_conntrack_tuple``: one direction of a tracked connection."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from drgn import Object

from crashkit.decode.fields import big_endian, naming
from crashkit.decode.ip_headers import NFPROTO_IPV4, NFPROTO_IPV6, PROTOCOL_NAMES
from crashkit.decode.skb_packet import Packet
from crashkit.decode.transport_headers import (
    DCCP,
    GRE,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    UDPLITE,
    IcmpHeader,
)
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

WITH_PORTS = (TCP, UDP, UDPLITE, SCTP, DCCP)
"""IP protocols whose tuples hold two ports."""

_ICMP_PAIRS = {ICMP: ((8, 0), (13, 14), (15, 16), (17, 18)), ICMPV6: ((128, 129), (139, 140))}
# net/netfilter/nf_conntrack_proto_icmp.c and _icmpv6.c: invmap


@facts
class ConntrackTuple:
    """One tuple; ports and ids in host order. Which of them apply, the protocol says."""

    l3num: int
    """2 IPv4, 10 IPv6."""
    source: str
    destination: str
    protocol: int
    """IP protocol number."""
    direction: int
    """``dst.dir``: 0 original, 1 reply."""
    source_port: int | None = None
    destination_port: int | None = None
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    source_key: int | None = None
    """GRE key towards the source."""
    destination_key: int | None = None
    """GRE key towards the destination."""

    @property
    def protocol_name(self) -> str:
        """Name of the IP protocol, its number when it has none here."""
        return PROTOCOL_NAMES.get(self.protocol, str(self.protocol))

    @property
    def text(self) -> str:
        """The tuple as ``conntrack -L`` words it."""
        parts = [self.protocol_name, f"src={self.source}", f"dst={self.destination}"]
        named = {
            "sport": self.source_port,
            "dport": self.destination_port,
            "type": self.icmp_type,
            "code": self.icmp_code,
            "id": self.icmp_id,
        }
        parts += [f"{name}={value}" for name, value in named.items() if value is not None]
        keys = {"srckey": self.source_key, "dstkey": self.destination_key}
        parts += [f"{name}={value:#x}" for name, value in keys.items() if value is not None]
        return " ".join(parts)


def decode_tuple(tuple_: Object) -> ConntrackTuple:
    """Decode a tuple.

    :param tuple_: ``struct nf_conntrack_tuple``
    :raises Unavailable: its page is missing, or it is neither IPv4 nor IPv6
    """
    with naming("struct nf_conntrack_tuple"):
        l3num = int(tuple_.src.l3num.value_())
        protocol = int(tuple_.dst.protonum.value_())
        return ConntrackTuple(
            l3num=l3num,
            source=_address(tuple_.src.u3, l3num),
            destination=_address(tuple_.dst.u3, l3num),
            protocol=protocol,
            direction=int(tuple_.dst.dir.value_()),
            **_protocol_part(tuple_, protocol),
        )


def destination_port(tuple_: Object, protocol: int, address: str) -> int:
    """Read a tuple's destination port, where its other half is not in the dump.

    :param tuple_: ``struct nf_conntrack_tuple``
    :param protocol: IP protocol number of the packet that should be the flow's
    :param address: the packet's destination, as text
    :raises Unavailable: it is another flow's, has no ports, or its page is missing
    """
    with naming("struct nf_conntrack_tuple"):
        family = NFPROTO_IPV6 if ":" in address else NFPROTO_IPV4
        same = _address(tuple_.dst.u3, family) == address
        if not same or int(tuple_.dst.protonum.value_()) != protocol:
            raise Unavailable("destination port", Reason.NOT_APPLICABLE, "another flow's tuple")
        if protocol not in WITH_PORTS:
            raise Unavailable("destination port", Reason.NOT_APPLICABLE, "no ports")
        return big_endian(tuple_.dst.u.all)


def _address(u3: Object, l3num: int) -> str:
    raw = u3.all.to_bytes_()
    if l3num == NFPROTO_IPV4:
        return str(IPv4Address(raw[:4]))
    if l3num == NFPROTO_IPV6:
        return str(IPv6Address(raw))
    raise Unavailable("conntrack tuple", Reason.CORRUPTED, f"l3num is {l3num}")


def _protocol_part(tuple_: Object, protocol: int) -> dict[str, int]:
    source, destination = tuple_.src.u, tuple_.dst.u
    if protocol in WITH_PORTS:
        return {
            "source_port": big_endian(source.all),
            "destination_port": big_endian(destination.all),
        }
    if protocol in (ICMP, ICMPV6):
        return {
            "icmp_id": big_endian(source.icmp.id),
            "icmp_type": int(destination.icmp.type.value_()),
            "icmp_code": int(destination.icmp.code.value_()),
        }
    if protocol == GRE:
        return {
            "source_key": big_endian(source.gre.key),
            "destination_key": big_endian(destination.gre.key),
        }
    return {}


def invert_tuple(tuple_: ConntrackTuple) -> ConntrackTuple:
    """Give the tuple of the answer to ``tuple_`` when no address is translated.

    :raises Unavailable: an ICMP type that has no answer
    """
    return ConntrackTuple(
        l3num=tuple_.l3num,
        source=tuple_.destination,
        destination=tuple_.source,
        protocol=tuple_.protocol,
        direction=1 - tuple_.direction,
        source_port=tuple_.destination_port,
        destination_port=tuple_.source_port,
        icmp_id=tuple_.icmp_id,
        icmp_type=_answer(tuple_.protocol, tuple_.icmp_type),
        icmp_code=tuple_.icmp_code,
        source_key=tuple_.destination_key,
        destination_key=tuple_.source_key,
    )


def _answer(protocol: int, icmp_type: int | None) -> int | None:
    if icmp_type is None:
        return None
    for asking, answering in _ICMP_PAIRS.get(protocol, ()):
        if icmp_type in (asking, answering):
            return answering if icmp_type == asking else asking
    raise Unavailable("inverse tuple", Reason.NOT_APPLICABLE, f"ICMP type {icmp_type}")


def tuple_matches_packet(tuple_: ConntrackTuple, packet: Packet) -> bool | None:
    """Whether a packet's headers are those of a tuple, as they stand (no translation).

    :return: None when what can be compared agrees and ports or ids cannot be compared
        (fragments, bytes that are not linear, protocols such as GRE)
    """
    network = (packet.ip.l3num, packet.source, packet.destination, packet.ip.protocol)
    if network != (tuple_.l3num, tuple_.source, tuple_.destination, tuple_.protocol):
        return False
    transport = packet.transport
    if isinstance(transport, IcmpHeader):
        seen = (transport.id, transport.type, transport.code)
        return seen == (tuple_.icmp_id, tuple_.icmp_type, tuple_.icmp_code)
    if transport is None or tuple_.protocol not in WITH_PORTS:
        return None
    seen_ports = (transport.source_port, transport.destination_port)
    return seen_ports == (tuple_.source_port, tuple_.destination_port)
