"""An IP packet from its bytes: headers, checksum, and the packet inside a tunnel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crashkit.decode.checksum import Pending
from crashkit.decode.fields import Absent, Fields
from crashkit.decode.ip_headers import (
    PROTOCOL_NAMES,
    Checksum,
    IpHeader,
    ipv4_header_length,
    parse_ipv4,
    parse_ipv6,
)
from crashkit.decode.link_headers import (
    ETH_P_IP,
    ETH_P_IPV6,
    ETH_P_TEB,
    ETHER_TYPE_NAMES,
    EthernetHeader,
    VlanTag,
    parse_ethernet,
    parse_vlans,
)
from crashkit.decode.transport_headers import (
    HEADER_BYTES,
    TCP,
    UDP,
    IcmpHeader,
    TransportHeader,
    parse_transport,
    verify_transport,
)
from crashkit.decode.tunnels import TunnelHeader, parse_tunnel
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

MAX_DEPTH = 5
"""Packets inside one another that are decoded."""


class Bytes(Protocol):
    """Bytes of a packet from a known place on."""

    @property
    def start(self) -> int:
        """Address of the first byte."""

    @property
    def available(self) -> int:
        """Bytes there are."""

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes, or raise Unavailable."""


@dataclass(frozen=True)
class From:
    """Bytes from an offset on in others."""

    whole: Bytes
    offset: int

    @property
    def start(self) -> int:
        """Address of the first byte; of no meaning beyond the linear data."""
        return self.whole.start + self.offset

    @property
    def available(self) -> int:
        """Bytes there are."""
        return max(self.whole.available - self.offset, 0)

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes at an offset.

        :raises Unavailable: they are not there
        """
        return self.whole.read(self.offset + offset, size)


@facts
class IpPacket:
    """A packet in its bytes. A None field has its reason in ``absent``."""

    ip: IpHeader
    transport: TransportHeader | None
    """None on fragments after the first, too."""
    transport_checksum: Checksum | None
    missing_bytes: int
    """Bytes that the IP length promises and the buffer does not have; 0 is none."""
    tunnel: TunnelHeader | None
    """What says that another packet is inside; None: nothing known here does."""
    inner: InnerPacket | None
    """The packet in the tunnel."""
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


@facts
class InnerPacket:
    """What a tunnel carries. A None field has its reason in ``absent``."""

    ethernet: EthernetHeader | None
    """None, too, in tunnels without one."""
    vlans: tuple[VlanTag, ...]
    """Tags in front of the packet, those of the Ethernet header among them."""
    packet: IpPacket | None
    absent: Absent


def parse_ip_packet(data: Bytes, ether_type: int, pending: Pending, depth: int = 0) -> IpPacket:
    """Parse an IP packet, and what is in it.

    :param data: from the IP header on
    :param ether_type: ETH_P_...; 0: the version in the first byte decides
    :param pending: the checksum that is still to be filled in
    :raises Unavailable: it is no IP packet, or its header cannot be had
    """
    ip = parse_ip(data, ether_type)
    fields = Fields(f"packet at {data.start:#x}")
    transport = fields.take("transport", lambda: _transport_header(ip, data))
    checksum = fields.take("transport_checksum", lambda: _checksum(ip, data, pending))
    tunnel = fields.take("tunnel", lambda: _tunnel(ip, transport, data))
    inner: InnerPacket | None = None
    if tunnel is not None:
        at = ip.header_length + tunnel.header_length
        inner = fields.take(
            "inner", lambda: _inner(From(data, at), tunnel.protocol, pending, depth + 1)
        )
    return IpPacket(
        ip=ip,
        transport=transport,
        transport_checksum=checksum,
        missing_bytes=max(ip.total_length - data.available, 0),
        tunnel=tunnel,
        inner=inner,
        absent=fields.absent,
    )


def parse_ip(data: Bytes, ether_type: int) -> IpHeader:
    """Parse an IPv4 or IPv6 header.

    :raises Unavailable: it is neither, or its bytes cannot be had
    """
    first = data.read(0, 1)[0]
    # skb->protocol is 0 in packets that a driver or module built and nobody classified
    if ether_type == ETH_P_IP or (ether_type == 0 and first >> 4 == 4):
        return parse_ipv4(data.read(0, ipv4_header_length(first)))
    if ether_type == ETH_P_IPV6 or (ether_type == 0 and first >> 4 == 6):
        return parse_ipv6(data.read)
    name = ETHER_TYPE_NAMES.get(ether_type, "an unknown protocol")
    raise Unavailable("packet", Reason.NOT_APPLICABLE, f"protocol {ether_type:#06x} is {name}")


def _transport_header(ip: IpHeader, data: Bytes) -> TransportHeader:
    if ip.fragment_offset:
        raise Unavailable("transport header", Reason.NOT_APPLICABLE, "not the first fragment")
    size = HEADER_BYTES.get(ip.protocol, 0)
    if ip.total_length and ip.total_length < ip.header_length + size:
        raise Unavailable("transport header", Reason.CORRUPTED, f"length {ip.total_length}")
    segment = data.read(ip.header_length, size) if size else b""
    if ip.protocol == TCP:
        segment += _tcp_options(ip, segment, data)
    return parse_transport(ip.protocol, segment)


def _tcp_options(ip: IpHeader, header: bytes, data: Bytes) -> bytes:
    size = (header[12] >> 4) * 4 - len(header)
    try:
        return data.read(ip.header_length + len(header), size) if size > 0 else b""
    except Unavailable:
        return b""  # the header without its options is still the header


def _checksum(ip: IpHeader, data: Bytes, pending: Pending) -> Checksum:
    if ip.is_fragment:
        raise Unavailable("transport checksum", Reason.NOT_APPLICABLE, "a fragment")
    if ip.protocol in HEADER_BYTES and pending.covers(data.start + ip.header_length):
        return Checksum.PARTIAL
    pending.require_final()
    size = ip.total_length - ip.header_length
    if size < HEADER_BYTES.get(ip.protocol, 0):
        raise Unavailable("transport checksum", Reason.CORRUPTED, f"length {ip.total_length}")
    start = data.start + ip.header_length
    if pending.inside(start, start + size):
        return verify_transport(ip, _once_filled(data, ip.header_length, pending), size)
    return verify_transport(ip, data.read(ip.header_length, size))


def _once_filled(data: Bytes, offset: int, pending: Pending) -> bytes:
    # Bytes with the sum that the segment will have when the inner checksum is filled in: what
    # that covers then sums to the complement of what its field holds now
    # (Documentation/networking/checksum-offloads.rst: Local Checksum Offload).
    at, field_at = pending.at, pending.field_at
    if at is None or field_at is None or (at - data.start - offset) % 2:
        raise Unavailable("transport checksum", Reason.UNSUPPORTED, "an inner one is pending")
    before = data.read(offset, at - data.start - offset)
    field = int.from_bytes(data.read(field_at - data.start, 2), "big")
    return before + (field ^ 0xFFFF).to_bytes(2, "big")


def _tunnel(ip: IpHeader, transport: TransportHeader | None, data: Bytes) -> TunnelHeader | None:
    if ip.fragment_offset:
        return None
    ports = None
    if ip.protocol == UDP:
        if transport is None or isinstance(transport, IcmpHeader):
            return None
        ports = (transport.source_port, transport.destination_port)
    return parse_tunnel(ip.protocol, ip.version, ports, From(data, ip.header_length).read)


def _inner(data: Bytes, protocol: int | None, pending: Pending, depth: int) -> InnerPacket:
    if protocol is None:
        raise Unavailable("inner packet", Reason.UNSUPPORTED, "sealed, or not known here")
    if depth >= MAX_DEPTH:
        raise Unavailable("inner packet", Reason.BUDGET, f"more than {MAX_DEPTH} in one another")
    fields = Fields(f"inner packet at {data.start:#x}")
    ethernet = parse_ethernet(data.read) if protocol == ETH_P_TEB else None
    if ethernet is not None:
        vlans, protocol, size = ethernet.vlans, ethernet.protocol, ethernet.header_length
    else:
        vlans, protocol, size = parse_vlans(protocol, data.read)
    packet = fields.take(
        "packet", lambda: parse_ip_packet(From(data, size), protocol, pending, depth)
    )
    return InnerPacket(ethernet=ethernet, vlans=vlans, packet=packet, absent=fields.absent)
