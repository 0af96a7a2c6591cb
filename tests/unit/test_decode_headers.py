"""IP and transport headers from bytes: the article's packet, checksums, damage."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crashkit.decode.ip_headers import (
    Checksum,
    ipv4_header_length,
    ones_complement_sum,
    parse_ipv4,
    parse_ipv6,
)
from crashkit.decode.transport_headers import (
    ICMP,
    SCTP,
    TCP,
    UDP,
    IcmpHeader,
    PortsHeader,
    TcpHeader,
    UdpHeader,
    parse_transport,
    verify_transport,
)
from crashkit.errors import Reason, Unavailable
from tests.unit.netfilter_doubles import GOLDEN_HEADER


def reader(data: bytes) -> Callable[[int, int], bytes]:
    def read(offset: int, size: int) -> bytes:
        if offset + size > len(data):
            raise Unavailable("packet", Reason.UNSUPPORTED, "not linear")
        return data[offset : offset + size]

    return read


def ipv4(protocol: int, payload: bytes, flags: int = 0) -> bytes:
    source, destination = IPv4Address("192.0.2.1").packed, IPv4Address("192.0.2.2").packed
    fields = (0x45, 0, 20 + len(payload), 1, flags, 64, protocol)
    without = struct.pack(">BBHHHBBH4s4s", *fields, 0, source, destination)
    check = 0xFFFF - ones_complement_sum(without)
    return struct.pack(">BBHHHBBH4s4s", *fields, check, source, destination) + payload


def test_the_articles_header() -> None:
    header = parse_ipv4(GOLDEN_HEADER)
    assert (header.source, header.destination) == ("10.76.59.158", "10.76.59.115")
    assert (header.total_length, header.identification, header.ttl) == (102, 0x9720, 64)
    assert (header.protocol, header.check) == (17, 0x57BE)
    assert header.checksum is Checksum.VALID
    assert not header.is_fragment


@given(st.integers(0, 19), st.integers(1, 255))
def test_one_wrong_byte_breaks_the_checksum(position: int, change: int) -> None:
    damaged = bytearray(GOLDEN_HEADER)
    damaged[position] ^= change
    if damaged[0] >> 4 != 4 or damaged[0] & 0xF != 5:
        return
    assert parse_ipv4(bytes(damaged)).checksum is not Checksum.VALID


@given(st.binary(max_size=70))
def test_a_sum_with_its_complement_is_all_ones(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    check = 0xFFFF - ones_complement_sum(padded)
    assert ones_complement_sum(padded + check.to_bytes(2, "big")) == 0xFFFF


def test_a_header_checksum_of_zero_is_not_filled_in() -> None:
    header = GOLDEN_HEADER[:10] + b"\0\0" + GOLDEN_HEADER[12:]
    assert parse_ipv4(header).checksum is Checksum.ZERO


@pytest.mark.parametrize("first", [0x00, 0x44, 0x65, 0x6B])
def test_not_an_ipv4_header(first: int) -> None:
    with pytest.raises(Unavailable) as caught:
        ipv4_header_length(first)
    assert caught.value.reason is Reason.CORRUPTED


def test_fragment_fields() -> None:
    header = parse_ipv4(ipv4(UDP, b"", flags=0x2000 | 185))
    assert header.more_fragments
    assert header.fragment_offset == 1480
    assert header.is_fragment
    assert parse_ipv4(ipv4(UDP, b"", flags=0x4000)).dont_fragment


def ipv6(protocol: int, payload: bytes) -> bytes:
    return (
        struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + bytes(15) + b"\1" * 17 + payload
    )


def test_ipv6_with_a_fragment_header() -> None:
    extension = struct.pack(">BBHI", UDP, 0, 0x0009, 0xABCD)
    header = parse_ipv6(reader(ipv6(44, extension + bytes(8))))
    assert (header.protocol, header.header_length, header.total_length) == (UDP, 48, 56)
    assert (header.fragment_offset, header.more_fragments, header.identification) == (
        8,
        True,
        0xABCD,
    )
    assert header.source == "::1"


def test_ipv6_extension_headers_are_bounded() -> None:
    with pytest.raises(Unavailable) as caught:
        parse_ipv6(reader(ipv6(0, bytes(800))))
    assert caught.value.reason is Reason.BUDGET


@given(st.binary(min_size=40, max_size=400))
def test_ipv6_never_fails_in_another_way(data: bytes) -> None:
    try:
        header = parse_ipv6(reader(b"\x60" + data[1:]))
    except Unavailable:
        return
    assert header.header_length >= 40


def test_transport_headers() -> None:
    segment = struct.pack(">HHIIBBHHH", 5000, 80, 7, 9, 0x60, 0x12, 512, 0xAAAA, 0)
    tcp = parse_transport(TCP, segment)
    assert isinstance(tcp, TcpHeader)
    assert tcp.flags == ("SYN", "ACK")
    assert (tcp.header_length, tcp.sequence, tcp.acknowledgement) == (24, 7, 9)
    assert parse_transport(UDP, bytes.fromhex("a02812b5005200ff")) == UdpHeader(
        source_port=41000, destination_port=4789, length=82, check=255
    )
    echo = parse_transport(ICMP, bytes.fromhex("0800aaaa12340001"))
    assert echo == IcmpHeader(type=8, code=0, check=0xAAAA, id=0x1234, sequence=1)
    unreachable = parse_transport(ICMP, bytes.fromhex("0301aaaa00000000"))
    assert isinstance(unreachable, IcmpHeader)
    assert unreachable.id is None
    assert parse_transport(SCTP, bytes.fromhex("00010002")) == PortsHeader(
        source_port=1, destination_port=2
    )
    with pytest.raises(Unavailable) as caught:
        parse_transport(50, b"")
    assert caught.value.reason is Reason.UNSUPPORTED


@given(st.binary(max_size=64), st.sampled_from([UDP, TCP, ICMP]))
def test_a_computed_transport_checksum_verifies(payload: bytes, protocol: int) -> None:
    position = {UDP: 6, TCP: 16, ICMP: 2}[protocol]
    segment = bytearray(b"\x11" * 20 + payload)
    segment[position : position + 2] = b"\0\0"
    ip = parse_ipv4(ipv4(protocol, bytes(segment))[:20])
    pseudo = (
        b""
        if protocol == ICMP
        else bytes.fromhex("c0000201c0000202") + struct.pack(">HH", protocol, len(segment))
    )
    check = 0xFFFF - ones_complement_sum(pseudo + bytes(segment))
    segment[position : position + 2] = (check or 0xFFFF).to_bytes(2, "big")
    assert verify_transport(ip, bytes(segment)) is Checksum.VALID
    segment[position] ^= 0x40
    assert verify_transport(ip, bytes(segment)) is Checksum.WRONG


def test_udp_checksum_zero_and_a_protocol_without_one() -> None:
    ip = parse_ipv4(ipv4(UDP, bytes(8))[:20])
    assert verify_transport(ip, bytes(8)) is Checksum.ZERO
    with pytest.raises(Unavailable):
        verify_transport(parse_ipv4(ipv4(47, bytes(8))[:20]), bytes(8))
