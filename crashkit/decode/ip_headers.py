"""IPv4 and IPv6 headers from bytes in wire format (RFC 791, RFC 8200)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10

PROTOCOL_NAMES = {
    0: "hopopt", 1: "icmp", 2: "igmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6",
    47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite",
}  # fmt: skip
"""IP protocol number to the name conntrack prints (include/uapi/linux/in.h)."""


class Checksum(enum.Enum):
    """What a checksum field says of the bytes it covers."""

    VALID = "valid"
    WRONG = "wrong"
    ZERO = "zero"
    """The field is 0: not filled in, or for UDP over IPv4 not used."""
    PARTIAL = "partial"
    """The device was to complete it (CHECKSUM_PARTIAL); only the pseudo-header is in it."""


@facts
class Ipv4Header:
    """``struct iphdr``; numbers in host order."""

    header_length: int
    """Bytes, options included."""
    tos: int
    total_length: int
    """Bytes, this header included."""
    identification: int
    dont_fragment: bool
    more_fragments: bool
    fragment_offset: int
    """Bytes."""
    ttl: int
    protocol: int
    """IP protocol of the payload."""
    check: int
    """The field as a 16-bit number in network order."""
    checksum: Checksum
    """Whether the header sums to 0xffff."""
    source: str
    destination: str
    version: int = 4
    l3num: int = NFPROTO_IPV4

    @property
    def is_fragment(self) -> bool:
        """Whether the packet is one part of a larger one."""
        return self.more_fragments or self.fragment_offset > 0


@facts
class Ipv6Header:
    """``struct ipv6hdr``, and what its extension headers say; numbers in host order."""

    header_length: int
    """Bytes, extension headers included."""
    total_length: int
    """Bytes, this header included; 40 for a jumbogram."""
    hop_limit: int
    protocol: int
    """Next header after the extension headers."""
    more_fragments: bool
    fragment_offset: int
    """Bytes."""
    identification: int | None
    """Of the fragment header; None without one."""
    source: str
    destination: str
    version: int = 6
    l3num: int = NFPROTO_IPV6

    @property
    def is_fragment(self) -> bool:
        """Whether the packet is one part of a larger one."""
        return self.more_fragments or self.fragment_offset > 0


IpHeader = Ipv4Header | Ipv6Header


def ones_complement_sum(data: bytes) -> int:
    """Sum 16-bit big-endian words with end-around carry (RFC 1071); odd data is padded."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ipv4_header_length(first: int) -> int:
    """Bytes of an IPv4 header, from its first byte.

    :raises Unavailable: reason ``corrupted`` when that byte starts no IPv4 header
    """
    if first >> 4 != 4 or first & 0xF < 5:
        raise Unavailable(
            "IPv4 header", Reason.CORRUPTED, f"version {first >> 4}, ihl {first & 0xF}"
        )
    return (first & 0xF) * 4


def parse_ipv4(data: bytes) -> Ipv4Header:
    """Parse an IPv4 header with its options.

    :param data: exactly the header's bytes (:func:`ipv4_header_length`)
    """
    first, tos, total, ident, fragment, ttl, protocol, check, source, destination = struct.unpack(
        ">BBHHHBBH4s4s", data[:20]
    )
    if ones_complement_sum(data) == 0xFFFF:
        checksum = Checksum.VALID
    else:
        checksum = Checksum.WRONG if check else Checksum.ZERO
    return Ipv4Header(
        header_length=ipv4_header_length(first),
        tos=tos,
        total_length=total,
        identification=ident,
        dont_fragment=bool(fragment & 0x4000),
        more_fragments=bool(fragment & 0x2000),
        fragment_offset=(fragment & 0x1FFF) * 8,
        ttl=ttl,
        protocol=protocol,
        check=check,
        checksum=checksum,
        source=str(IPv4Address(source)),
        destination=str(IPv4Address(destination)),
    )


_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION)
_MAX_EXTENSIONS = 8


def _extension_length(kind: int, second: int) -> int:
    if kind == _FRAGMENT:
        return 8
    return (second + 2) * 4 if kind == _AH else (second + 1) * 8


def parse_ipv6(read: Callable[[int, int], bytes]) -> Ipv6Header:
    """Parse an IPv6 header and the extension headers that follow it.

    :param read: gives ``size`` bytes at ``offset`` from the header, or raises
    :raises Unavailable: ``corrupted`` (no version 6), ``budget`` (too many extension
        headers), or what ``read`` raises
    """
    fixed = read(0, 40)
    if fixed[0] >> 4 != 6:
        raise Unavailable("IPv6 header", Reason.CORRUPTED, f"version {fixed[0] >> 4}")
    payload, protocol, hop_limit = struct.unpack(">HBB", fixed[4:8])
    position, fragment, ident = 40, 0, None
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS or fragment & 0xFFF8:
            break
        header = read(position, 8)
        if protocol == _FRAGMENT:
            fragment, ident = struct.unpack(">HI", header[2:8])
        position += _extension_length(protocol, header[1])
        protocol = header[0]
    if protocol in _EXTENSIONS and not fragment & 0xFFF8:
        what = f"more than {_MAX_EXTENSIONS}"
        raise Unavailable("IPv6 extension headers", Reason.BUDGET, what)
    return Ipv6Header(
        header_length=position,
        total_length=payload + 40,
        hop_limit=hop_limit,
        protocol=protocol,
        more_fragments=bool(fragment & 1),
        fragment_offset=fragment & 0xFFF8,
        identification=ident,
        source=str(IPv6Address(fixed[8:24])),
        destination=str(IPv6Address(fixed[24:40])),
    )
