"""UDP, TCP, ICMP and other transport headers from bytes in wire format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import ip_address

from crashkit.decode.ip_headers import Checksum, IpHeader, ones_complement_sum
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

ICMP, TCP, UDP, DCCP, GRE, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 47, 58, 132, 136

_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")  # RFC 9293, RFC 3168
_ICMP_WITH_ID = {ICMP: (0, 8, 13, 14, 15, 16, 17, 18), ICMPV6: (128, 129)}
# net/netfilter/nf_conntrack_proto_icmp.c, _icmpv6.c: types that are tracked by id


@facts
class UdpHeader:
    """``struct udphdr``; numbers in host order."""

    source_port: int
    destination_port: int
    length: int
    """Bytes, this header included."""
    check: int


@facts
class TcpHeader:
    """``struct tcphdr``; numbers in host order."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    header_length: int
    """Bytes, options included."""
    flags: tuple[str, ...]
    window: int
    check: int
    options: tuple[str, ...] = ()
    """Those that matter to a connection, as tcpdump names them; ``cut`` where the bytes end."""


@facts
class IcmpHeader:
    """``struct icmphdr`` or ``struct icmp6hdr``."""

    type: int
    code: int
    check: int
    id: int | None
    """Echo, timestamp, ... identifier; None for types without one."""
    sequence: int | None


@facts
class PortsHeader:
    """The first four bytes of SCTP, DCCP and UDP-Lite."""

    source_port: int
    destination_port: int


TransportHeader = UdpHeader | TcpHeader | IcmpHeader | PortsHeader

HEADER_BYTES = {UDP: 8, TCP: 20, ICMP: 8, ICMPV6: 8, SCTP: 4, DCCP: 4, UDPLITE: 4}
"""Bytes that :func:`parse_transport` needs, by IP protocol."""


def parse_transport(protocol: int, data: bytes) -> TransportHeader:
    """Parse the header of an IP protocol.

    :param data: at least ``HEADER_BYTES[protocol]`` bytes; of TCP, the options as well
    :raises Unavailable: reason ``unsupported`` for another protocol
    """
    if protocol == UDP:
        source, destination, length, check = struct.unpack(">HHHH", data[:8])
        return UdpHeader(
            source_port=source, destination_port=destination, length=length, check=check
        )
    if protocol == TCP:
        return _parse_tcp(data)
    if protocol in (ICMP, ICMPV6):
        return _parse_icmp(protocol, data)
    if protocol in HEADER_BYTES:
        source, destination = struct.unpack(">HH", data[:4])
        return PortsHeader(source_port=source, destination_port=destination)
    raise Unavailable("transport header", Reason.UNSUPPORTED, f"IP protocol {protocol}")


def _parse_tcp(data: bytes) -> TcpHeader:
    source, destination, sequence, acknowledgement, offset, flags, window, check = struct.unpack(
        ">HHIIBBHH", data[:18]
    )
    return TcpHeader(
        source_port=source,
        destination_port=destination,
        sequence=sequence,
        acknowledgement=acknowledgement,
        header_length=(offset >> 4) * 4,
        flags=tuple(name for bit, name in enumerate(_TCP_FLAGS) if flags >> bit & 1),
        window=window,
        check=check,
        options=tuple(_tcp_options(data[20 : (offset >> 4) * 4], (offset >> 4) * 4 - 20)),
    )


_END, _NOP = 0, 1
_OPTIONS = {  # RFC 9293, 7323, 2018, 8684: kind to name, format of the value, its length
    2: ("mss {}", ">H", 2),
    3: ("wscale {}", ">B", 1),
    4: ("sackOK", "", 0),
    8: ("TS val {} ecr {}", ">II", 8),
}
_OPTION_NAMES = {5: "sack", 19: "md5", 29: "tcp-ao", 30: "mptcp", 34: "fast-open"}


def _tcp_options(data: bytes, wanted: int) -> Iterator[str]:
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _NOP:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        if size < 2 or at + size > len(data):
            yield "cut"
            return
        yield _tcp_option(data[at], data[at + 2 : at + size])
        at += size
    if len(data) < wanted:
        yield "cut"


def _tcp_option(kind: int, value: bytes) -> str:
    text, layout, size = _OPTIONS.get(kind, ("", "", -1))
    if len(value) == size:
        return text.format(*struct.unpack(layout, value))
    return _OPTION_NAMES.get(kind, f"option {kind}")


def _parse_icmp(protocol: int, data: bytes) -> IcmpHeader:
    type_, code, check, ident, sequence = struct.unpack(">BBHHH", data[:8])
    tracked = type_ in _ICMP_WITH_ID[protocol]
    return IcmpHeader(
        type=type_,
        code=code,
        check=check,
        id=ident if tracked else None,
        sequence=sequence if tracked else None,
    )


_CHECK_AT = {UDP: 6, TCP: 16, ICMP: 2, ICMPV6: 2}


def verify_transport(ip: IpHeader, segment: bytes, length: int | None = None) -> Checksum:
    """Verify the checksum of a whole UDP, TCP or ICMP segment.

    A field that holds the sum of the pseudo-header alone was never completed, as of packets
    that did not leave the machine; that is PARTIAL whatever became of ``ip_summed``.

    :param segment: all bytes after the IP headers, as many as the IP header says
    :param length: bytes of the segment where ``segment`` only has its sum
    :raises Unavailable: reason ``unsupported`` for a protocol not verified here
    """
    if ip.protocol not in _CHECK_AT:
        raise Unavailable("transport checksum", Reason.UNSUPPORTED, f"IP protocol {ip.protocol}")
    at = _CHECK_AT[ip.protocol]
    field = segment[at : at + 2]
    if ip.protocol == UDP and field == b"\0\0":
        return Checksum.ZERO
    if ip.protocol == ICMP:
        return Checksum.VALID if ones_complement_sum(segment) == 0xFFFF else Checksum.WRONG
    pseudo = _pseudo_header(ip, len(segment) if length is None else length)
    if ones_complement_sum(pseudo + segment) == 0xFFFF:
        return Checksum.VALID
    begun = int.from_bytes(field, "big") == ones_complement_sum(pseudo)
    return Checksum.PARTIAL if begun else Checksum.WRONG


def _pseudo_header(ip: IpHeader, length: int) -> bytes:
    # RFC 768 and RFC 9293; RFC 8200 8.1 orders it differently with the same sum
    addresses = ip_address(ip.source).packed + ip_address(ip.destination).packed
    return addresses + struct.pack(">II", ip.protocol, length)
