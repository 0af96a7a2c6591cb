"""Packets as a capture file: pcapng, which carries a comment with each packet.

Format: draft-ietf-opsawg-pcapng. Two interfaces: one for packets with a link-layer header,
one for those that begin with an IP header. A dump has no time at which a packet was seen,
so each is stamped with the time of the crash.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from crashkit.value import facts

LINKTYPE_ETHERNET, LINKTYPE_RAW = 1, 101  # https://www.tcpdump.org/linktypes.html
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_END, _COMMENT, _NAME = 0, 1, 2
_TIME_RESOLUTION, _NANOSECONDS = 9, 9
_APPLICATION = 4
MAX_CAPTURED = 262_144
"""Bytes of one packet that are written (tcpdump's own limit)."""


@facts
class CapturedPacket:
    """One packet for the file."""

    data: bytes
    """From its first header on, as much as is there."""
    length: int
    """Bytes that the packet has."""
    ethernet: bool
    """Begins with an Ethernet header; otherwise with an IP header."""
    comment: str


def pcapng(packets: Iterable[CapturedPacket], seconds: float, application: str) -> bytes:
    """Write packets as a pcapng file, in the order given.

    :param seconds: time stamp of all of them, since 1970
    :param application: the program, for the file's header
    """
    blocks = [
        _section(application),
        _interface(LINKTYPE_ETHERNET, "packets with an Ethernet header"),
        _interface(LINKTYPE_RAW, "packets from their IP header on"),
    ]
    stamp = int(seconds * 1_000_000_000)
    blocks += [_packet(packet, stamp) for packet in packets]
    return b"".join(blocks)


def _section(application: str) -> bytes:
    fixed = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
    return _block(_SECTION, fixed + _option(_APPLICATION, application.encode()) + _option(_END))


def _interface(link_type: int, name: str) -> bytes:
    fixed = struct.pack("<HHI", link_type, 0, MAX_CAPTURED)
    options = _option(_NAME, name.encode()) + _option(_TIME_RESOLUTION, bytes([_NANOSECONDS]))
    return _block(_INTERFACE, fixed + options + _option(_END))


def _packet(packet: CapturedPacket, stamp: int) -> bytes:
    data = packet.data[:MAX_CAPTURED]
    interface = 0 if packet.ethernet else 1
    fixed = struct.pack(
        "<IIIII",
        interface,
        stamp >> 32 & 0xFFFF_FFFF,
        stamp & 0xFFFF_FFFF,
        len(data),
        max(packet.length, len(data)),
    )
    comment = _option(_COMMENT, packet.comment.encode()[:65535])
    return _block(_PACKET, fixed + _padded(data) + comment + _option(_END))


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
