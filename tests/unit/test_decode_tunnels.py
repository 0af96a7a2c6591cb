"""Packets in packets, from bytes: every tunnel, checksums in them, damage, bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crashkit.decode.checksum import Pending
from crashkit.decode.ip_headers import Checksum, ones_complement_sum
from crashkit.decode.ip_packet import MAX_DEPTH, IpPacket, parse_ip_packet
from crashkit.decode.link_headers import ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, ETH_P_TEB
from crashkit.decode.transport_headers import TcpHeader
from crashkit.errors import Reason, Unavailable

START = 0xFFFF_8880_0000_1000
MACS = bytes.fromhex("020000000002 020000000001")


@dataclass(frozen=True)
class Raw:
    """Bytes of a packet."""

    data: bytes
    start: int = START

    @property
    def available(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        if offset + size > len(self.data):
            raise Unavailable("bytes", Reason.CORRUPTED, "beyond the end")
        return self.data[offset : offset + size]


def ipv4(protocol: int, payload: bytes, source: str = "192.0.2.1", flags: int = 0) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address("192.0.2.2").packed
    fields = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(payload), 1, flags, 64, protocol)
    check = 0xFFFF - ones_complement_sum(fields + ends)
    return fields + check.to_bytes(2, "big") + ends + payload


def pseudo(source: str, length: int, protocol: int = 17) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address("192.0.2.2").packed
    return ends + struct.pack(">HH", protocol, length)


def udp(port: int, payload: bytes, source: str = "192.0.2.1", source_port: int = 4242) -> bytes:
    head = struct.pack(">HHH", source_port, port, 8 + len(payload))
    covered = pseudo(source, 8 + len(payload)) + head + b"\0\0" + payload
    check = 0xFFFF - ones_complement_sum(covered)
    return head + check.to_bytes(2, "big") + payload


INNER = ipv4(17, udp(53, b"question", "10.0.0.1"), "10.0.0.1")


def parse(data: bytes, pending: Pending | None = None) -> IpPacket:
    return parse_ip_packet(Raw(data), ETH_P_IP, pending or Pending())


def inside(packet: IpPacket) -> IpPacket:
    assert packet.inner is not None, packet.absent
    assert packet.inner.packet is not None, packet.inner.absent
    return packet.inner.packet


def vxlan(frame: bytes, flags: int = 8) -> bytes:
    return bytes([flags]) + bytes(3) + b"\0\0\x2a\0" + frame


ETHERNET = MACS + ETH_P_IP.to_bytes(2, "big") + INNER


@pytest.mark.parametrize(
    ("data", "kind", "number"),
    [
        (ipv4(17, udp(4789, vxlan(ETHERNET))), "vxlan", 42),
        (ipv4(17, udp(8472, vxlan(ETHERNET))), "vxlan", 42),
        (ipv4(17, udp(6081, b"\0\0\x65\x58\0\0\x09\0" + ETHERNET)), "geneve", 9),
        (ipv4(17, udp(6081, b"\x02\0\x08\0\0\0\x09\0" + bytes(8) + INNER)), "geneve", 9),
        (ipv4(47, b"\0\0\x08\0" + INNER), "gre", None),
        (ipv4(47, b"\x20\0\x08\0\0\0\0\x07" + INNER), "gre", 7),
        (ipv4(47, b"\xb0\0\x08\0" + bytes(4) + b"\0\0\0\x07\0\0\0\x01" + INNER), "gre", 7),
        (ipv4(47, b"\x20\0\x65\x58\0\0\0\x07" + ETHERNET), "gre", 7),
        (ipv4(47, b"\x10\0\x88\xbe\0\0\0\x01" + b"\x10\0\0\x05\0\0\0\0" + ETHERNET), "erspan", 5),
        (ipv4(47, b"\0\0\x88\xbe" + ETHERNET), "erspan", None),
        (ipv4(4, INNER), "ipip", None),
    ],
)
def test_the_packet_in_a_tunnel(data: bytes, kind: str, number: int | None) -> None:
    seen = parse(data)
    assert seen.tunnel is not None
    assert (seen.tunnel.kind, seen.tunnel.id) == (kind, number)
    inner = inside(seen)
    assert (inner.source, inner.destination_port) == ("10.0.0.1", 53)
    assert inner.transport_checksum is Checksum.VALID
    assert seen.missing_bytes == inner.missing_bytes == 0


def test_ipv6_in_ipv4() -> None:
    header = bytes.fromhex("6000000000081140") + bytes(15) + b"\1" + bytes(15) + b"\2"
    seen = parse(ipv4(41, header + struct.pack(">HHHH", 1, 53, 8, 1)))
    assert seen.tunnel is not None
    assert seen.tunnel.kind == "6in4"
    inner = inside(seen)
    assert (inner.source, inner.destination_port) == ("::1", 53)


def test_tags_in_a_tunnel() -> None:
    frame = MACS + b"\x81\0\x20\x64\x81\0\0\xc8\x08\0" + INNER
    seen = parse(ipv4(17, udp(4789, vxlan(frame))))
    assert seen.inner is not None
    assert [(tag.id, tag.priority, tag.in_band) for tag in seen.inner.vlans] == [
        (100, 1, True),
        (200, 0, True),
    ]
    assert seen.inner.ethernet is not None
    assert seen.inner.ethernet.source == "02:00:00:00:00:01"
    assert inside(seen).destination_port == 53


@pytest.mark.parametrize(("protocol", "kind"), [(50, "esp"), (51, "ah")])
def test_sealed_packets_are_named_and_left_alone(protocol: int, kind: str) -> None:
    start = b"" if protocol == 50 else bytes(4)
    seen = parse(ipv4(protocol, start + struct.pack(">II", 0xABCD, 3) + bytes(40)))
    assert seen.tunnel is not None
    assert (seen.tunnel.kind, seen.tunnel.id, seen.tunnel.sequence) == (kind, 0xABCD, 3)
    assert seen.inner is None
    assert seen.absent["inner"].reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    "payload",
    [
        udp(4789, vxlan(ETHERNET, flags=0)),  # the VNI is not valid: no VXLAN
        udp(4789, b"abc"),  # too short for one
        udp(4790, vxlan(ETHERNET)),
        udp(6081, b"\x40\0\x65\x58\0\0\x09\0" + ETHERNET),  # a version that is not known
        udp(53, vxlan(ETHERNET)),
    ],
)
def test_not_a_tunnel(payload: bytes) -> None:
    seen = parse(ipv4(17, payload))
    assert seen.tunnel is None
    assert not seen.absent


def test_a_later_fragment_holds_no_tunnel_header() -> None:
    seen = parse(ipv4(47, b"\x20\0\x08\0\0\0\0\x07" + INNER, flags=185))
    assert seen.tunnel is None


def test_what_a_tunnel_carries_may_not_be_ip() -> None:
    frame = MACS + b"\x08\x06" + bytes(28)
    seen = parse(ipv4(17, udp(4789, vxlan(frame))))
    assert seen.inner is not None
    assert seen.inner.packet is None
    assert "ARP" in seen.inner.absent["packet"].detail


def test_a_cut_inner_packet_is_said_to_be_cut() -> None:
    whole = ipv4(4, INNER)
    seen = parse(whole[:-6])
    assert seen.missing_bytes == 6
    inner = inside(seen)
    assert inner.missing_bytes == 6
    assert inner.transport_checksum is None
    seen = parse(whole[:30])
    assert seen.inner is not None
    assert seen.inner.packet is None
    assert seen.inner.absent["packet"].reason is Reason.CORRUPTED


def test_nesting_is_bounded() -> None:
    data = INNER
    for _ in range(MAX_DEPTH + 3):
        data = ipv4(4, data)
    packet, depth = parse(data), 0
    while packet.inner is not None and packet.inner.packet is not None:
        packet, depth = packet.inner.packet, depth + 1
    assert depth == MAX_DEPTH - 1
    assert packet.absent["inner"].reason is Reason.BUDGET


def local_checksum_offload() -> tuple[bytes, Pending]:
    """VXLAN as the kernel queues it: inner checksum begun, outer one computed over that."""
    length = len(b"question") + 8
    begun = ones_complement_sum(pseudo("10.0.0.1", length))
    segment = struct.pack(">HHHH", 4242, 53, length, begun) + b"question"
    frame = MACS + ETH_P_IP.to_bytes(2, "big") + ipv4(17, segment, "10.0.0.1")
    filled = 0xFFFF - ones_complement_sum(
        pseudo("10.0.0.1", length) + segment[:6] + b"\0\0" + segment[8:]
    )
    final = frame.replace(segment, segment[:6] + filled.to_bytes(2, "big") + segment[8:])
    outer = udp(4789, vxlan(final))[:8] + vxlan(frame)
    at = START + 20 + 8 + 8 + 14 + 20
    return ipv4(17, outer), Pending(at=at, field_at=at + 6)


def test_an_outer_checksum_over_a_pending_inner_one() -> None:
    data, pending = local_checksum_offload()
    seen = parse(data, pending)
    assert seen.transport_checksum is Checksum.VALID
    assert inside(seen).transport_checksum is Checksum.PARTIAL
    damaged = data[:31] + bytes([data[31] ^ 1]) + data[32:]
    assert parse(damaged, pending).transport_checksum is Checksum.WRONG


def test_a_checksum_that_was_only_begun_is_not_wrong() -> None:
    begun = ones_complement_sum(pseudo("192.0.2.1", 12))
    segment = struct.pack(">HHHH", 1, 2, 12, begun) + b"data"
    assert parse(ipv4(17, segment)).transport_checksum is Checksum.PARTIAL
    segment = struct.pack(">HHHH", 1, 2, 12, begun ^ 0x100) + b"data"
    assert parse(ipv4(17, segment)).transport_checksum is Checksum.WRONG


def test_a_packet_to_be_cut_up_has_no_final_checksum() -> None:
    seen = parse(ipv4(17, udp(53, b"x")), Pending(segments=True))
    assert seen.absent["transport_checksum"].reason is Reason.NOT_APPLICABLE
    assert "GSO" in seen.absent["transport_checksum"].detail


def tcp(options: bytes, length: int | None = None) -> bytes:
    words = (20 + len(options)) // 4 if length is None else length // 4
    return struct.pack(">HHIIBBHHH", 1, 2, 3, 4, words << 4, 0x12, 5, 0, 0) + options


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        (tcp(b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\0\0"), ("mss 1460", "wscale 7", "sackOK")),
        (tcp(b"\x01\x01\x08\x0a\0\0\0\x09\0\0\0\x08"), ("TS val 9 ecr 8",)),
        (tcp(b"\x05\x0a" + bytes(8) + b"\0\0"), ("sack",)),
        (tcp(b"\x02\x40\x05\xb4"), ("cut",)),
        (tcp(b"\x02\x04\x05\xb4", length=40), ("cut",)),
        (tcp(b""), ()),
    ],
)
def test_tcp_options(segment: bytes, expected: tuple[str, ...]) -> None:
    seen = parse(ipv4(6, segment))
    assert isinstance(seen.transport, TcpHeader)
    assert seen.transport.options == expected
    assert seen.transport.flags == ("SYN", "ACK")


@given(st.binary(max_size=300), st.sampled_from([4, 6, 17, 41, 47, 50, 51, 132]))
def test_any_bytes_end_in_a_packet_or_a_reason(payload: bytes, protocol: int) -> None:
    parse(ipv4(protocol, payload))
    for ether_type in (ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q, ETH_P_TEB, 0):
        try:
            parse_ip_packet(Raw(payload), ether_type, Pending())
        except Unavailable:
            continue


@given(st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_of_a_tunnel(position: int, value: int) -> None:
    data = bytearray(ipv4(17, udp(4789, vxlan(ETHERNET))))
    if position < len(data):
        data[position] = value
    try:
        parse(bytes(data))
    except Unavailable:
        return
