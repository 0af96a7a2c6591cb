"""The packet in an skb: IP and transport header, read from its linear data."""

from __future__ import annotations

from dataclasses import dataclass

from drgn import Object, Program

from crashkit.decode.fields import Absent, Fields, big_endian, member, naming, pointer
from crashkit.decode.ip_headers import (
    PROTOCOL_NAMES,
    Checksum,
    IpHeader,
    ipv4_header_length,
    parse_ipv4,
    parse_ipv6,
)
from crashkit.decode.skb import CHECKSUM_PARTIAL, data_address, header_offset
from crashkit.decode.transport_headers import (
    HEADER_BYTES,
    IcmpHeader,
    TransportHeader,
    parse_transport,
    verify_transport,
)
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes

ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD


@dataclass(frozen=True, kw_only=True)
class Packet:
    """What an skb carries. A None field has its reason in ``absent``."""

    skb: int
    """Address of the ``struct sk_buff``."""
    network_header: int
    """Address of the IP header."""
    ip: IpHeader
    transport: TransportHeader | None
    """None on fragments after the first, too."""
    transport_checksum: Checksum | None
    absent: Absent

    @property
    def source(self) -> str:
        """Source address as text."""
        return self.ip.source

    @property
    def destination(self) -> str:
        """Destination address as text."""
        return self.ip.destination

    @property
    def protocol_name(self) -> str:
        """Name of the IP protocol, its number when it has none here."""
        return PROTOCOL_NAMES.get(self.ip.protocol, str(self.ip.protocol))

    @property
    def source_port(self) -> int | None:
        """Source port in host order; None where the protocol or the dump has none."""
        if self.transport is None or isinstance(self.transport, IcmpHeader):
            return None
        return self.transport.source_port

    @property
    def destination_port(self) -> int | None:
        """Destination port in host order; None where the protocol or the dump has none."""
        if self.transport is None or isinstance(self.transport, IcmpHeader):
            return None
        return self.transport.destination_port


@dataclass(frozen=True, kw_only=True)
class _LinearData:
    # The bytes from the network header to skb->tail.
    prog: Program
    start: int
    end: int
    data_length: int

    def read(self, offset: int, size: int) -> bytes:
        if self.start + offset + size <= self.end:
            return read_bytes(self.prog, self.start + offset, size, "packet bytes")
        what = f"{size} bytes at offset {offset} of the packet"
        if self.data_length:
            detail = f"not linear: {self.data_length} bytes are in page fragments"
            raise Unavailable(what, Reason.UNSUPPORTED, detail)
        raise Unavailable(what, Reason.CORRUPTED, "beyond skb->tail")


def _linear_data(skb: Object) -> _LinearData:
    pointer(skb, "struct sk_buff")
    with naming("skb->head"):
        head = pointer(skb.head, "skb->head")
        start = head + header_offset(skb, "network_header")
        end = data_address(skb, "tail")
        data_length = int(skb.data_len.value_())
    if start > end:
        raise Unavailable("packet", Reason.CORRUPTED, "network header beyond skb->tail")
    return _LinearData(prog=skb.prog_, start=start, end=end, data_length=data_length)


def decode_packet(skb: Object) -> Packet:
    """Decode the IP packet at the skb's network header.

    The transport header is found from the IP header's own length, not from
    ``skb->transport_header``, which is stale on many paths.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: it carries no IP packet, or its IP header cannot be had
    """
    linear = _linear_data(skb)
    ip = _ip_header(skb, linear)
    fields = Fields(f"packet of skb {skb.value_():#x}")
    transport = fields.take("transport", lambda: _transport_header(ip, linear))
    checksum = fields.take("transport_checksum", lambda: _transport_checksum(skb, ip, linear))
    return Packet(
        skb=int(skb.value_()),
        network_header=linear.start,
        ip=ip,
        transport=transport,
        transport_checksum=checksum,
        absent=fields.absent,
    )


def _ip_header(skb: Object, linear: _LinearData) -> IpHeader:
    with naming("skb->protocol"):
        protocol = big_endian(member(skb, "protocol"))
    first = linear.read(0, 1)[0]
    # skb->protocol is 0 in packets that a driver or module built and nobody classified
    if protocol == ETH_P_IP or (protocol == 0 and first >> 4 == 4):
        return parse_ipv4(linear.read(0, ipv4_header_length(first)))
    if protocol == ETH_P_IPV6 or (protocol == 0 and first >> 4 == 6):
        return parse_ipv6(linear.read)
    raise Unavailable("packet", Reason.NOT_APPLICABLE, f"skb->protocol is {protocol:#06x}")


def _transport_header(ip: IpHeader, linear: _LinearData) -> TransportHeader:
    if ip.fragment_offset:
        raise Unavailable("transport header", Reason.NOT_APPLICABLE, "not the first fragment")
    size = HEADER_BYTES.get(ip.protocol, 0)
    if ip.total_length and ip.total_length < ip.header_length + size:
        raise Unavailable("transport header", Reason.CORRUPTED, f"length {ip.total_length}")
    return parse_transport(ip.protocol, linear.read(ip.header_length, size) if size else b"")


def _transport_checksum(skb: Object, ip: IpHeader, linear: _LinearData) -> Checksum:
    if ip.is_fragment:
        raise Unavailable("transport checksum", Reason.NOT_APPLICABLE, "a fragment")
    if int(member(skb, "ip_summed").value_()) == CHECKSUM_PARTIAL:
        return Checksum.PARTIAL
    size = ip.total_length - ip.header_length
    if size < HEADER_BYTES.get(ip.protocol, 0):
        raise Unavailable("transport checksum", Reason.CORRUPTED, f"length {ip.total_length}")
    return verify_transport(ip, linear.read(ip.header_length, size))
