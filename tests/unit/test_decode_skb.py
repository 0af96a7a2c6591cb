"""sk_buff, its packet and its validation, on both layouts, whole and damaged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object

from crashkit.decode import decode_packet, decode_skb, nf_ct, packet, validate_skb
from crashkit.decode.ip_headers import Checksum
from crashkit.decode.transport_headers import UdpHeader
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace
from tests.unit.netfilter_doubles import (
    GOLDEN_HEADER,
    GOLDEN_PACKET,
    el7_kernel,
    ens192,
    modern_kernel,
    skb_with,
)

SKB = 0xFFFF_893C_9491_A500
HEAD = 0xFFFF_893C_80FD_1400
WINNER = 0xFFFF_893C_7FC9_6B40
DEVICE = 0xFFFF_893C_358B_8000

MakeKernel = Callable[[], Kernel]
both = pytest.mark.parametrize("make", [modern_kernel, el7_kernel])


def golden(kernel: Kernel, packet_bytes: bytes = GOLDEN_PACKET) -> Object:
    device = ens192(kernel, DEVICE)
    add_namespace(kernel, device)
    skb = skb_with(kernel, packet_bytes, device, SKB)
    if kernel.type("struct sk_buff").has_member("_nfct"):
        kernel.set(skb, {"_nfct": WINNER | 2})
    else:
        kernel.set(skb, {"nfct": WINNER, "nfctinfo": 2})
    return skb


@both
def test_the_articles_skb(make: MakeKernel) -> None:
    facts = decode_skb(golden(make()))
    assert facts.address == SKB
    assert (facts.device, facts.device_name) == (DEVICE, "ens192")
    assert (facts.head, facts.network_header, facts.transport_header) == (HEAD, 0xAA, 0xBE)
    assert (facts.data, facts.tail, facts.end) == (HEAD + 0xAA, HEAD + 0x110, HEAD + 0x200)
    assert (facts.length, facts.data_length, facts.users) == (102, 0, 1)
    assert (facts.protocol, facts.pkt_type, facts.ip_summed) == (0x0800, 0, 0)
    assert (facts.conntrack, facts.ctinfo, facts.ctinfo_name) == (WINNER, 2, "IP_CT_NEW")
    assert (facts.nr_frags, facts.frag_list) == (0, 0)
    assert facts.mac_header is None
    assert set(facts.absent) == {"mac_header"}
    assert facts.absent["mac_header"].reason is Reason.NOT_APPLICABLE


@both
def test_the_articles_packet(make: MakeKernel) -> None:
    seen = decode_packet(golden(make()))
    assert seen.network_header == HEAD + 0xAA
    assert (seen.source, seen.destination) == ("10.76.59.158", "10.76.59.115")
    assert (seen.source_port, seen.destination_port) == (41000, 4789)
    assert seen.protocol_name == "udp"
    assert isinstance(seen.transport, UdpHeader)
    assert seen.transport_checksum is Checksum.ZERO
    assert not seen.absent


def test_packet_is_also_the_librarys_short_name() -> None:
    assert packet is decode_packet


@both
def test_the_articles_skb_is_plausible(make: MakeKernel) -> None:
    tests = validate_skb(golden(make()))
    assert tests.plausible
    assert (tests.device_named, tests.device_registered, tests.ip_checksum) == (True, True, True)
    assert not tests.absent


@both
def test_wild_pointers(make: MakeKernel) -> None:
    for address in (0x10, 0x6B6B_6B6B_6B6B_6B6B):
        wild = Object(make().prog, "struct sk_buff *", address)
        for decode in (decode_skb, decode_packet):
            with pytest.raises(Unavailable) as caught:
                decode(wild)
            assert caught.value.reason is Reason.CORRUPTED
        assert not validate_skb(wild).plausible


@both
def test_a_missing_skb_is_not_in_the_dump(make: MakeKernel) -> None:
    kernel = make()
    skb = golden(kernel)
    kernel.drop(SKB)
    for decode in (decode_skb, decode_packet, nf_ct):
        with pytest.raises(Unavailable) as caught:
            decode(skb)
        assert caught.value.reason is Reason.NOT_IN_DUMP
    tests = validate_skb(skb)
    assert not tests.plausible
    assert tests.buffer_ordered is None
    assert tests.absent["buffer_ordered"].reason is Reason.NOT_IN_DUMP


def test_half_an_skb_keeps_the_other_half() -> None:
    kernel = modern_kernel()
    golden(kernel)
    boundary = 0xFFFF_893C_9492_0000  # members from byte 200 on are on the next page
    skb = skb_with(kernel, GOLDEN_PACKET, address=boundary - 200)
    kernel.drop(boundary)
    facts = decode_skb(skb)
    assert facts.length == 102
    assert facts.head is None
    assert facts.absent["head"].reason is Reason.NOT_IN_DUMP
    assert facts.tail is None


def test_missing_data_page() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.drop(HEAD)
    with pytest.raises(Unavailable) as caught:
        decode_packet(skb)
    assert caught.value.reason is Reason.NOT_IN_DUMP
    tests = validate_skb(skb)
    assert (tests.ip_header, tests.ip_checksum) == (None, None)
    assert tests.plausible  # the registered device still speaks for it


def test_missing_and_wild_device() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.drop(DEVICE)
    facts = decode_skb(skb)
    assert facts.device == DEVICE
    assert facts.absent["device_name"].reason is Reason.NOT_IN_DUMP
    tests = validate_skb(skb)
    assert (tests.device_named, tests.device_registered) == (None, True)  # the list names it
    kernel.set(skb, {"dev": 0x4141_4141_4141_4141})
    assert decode_skb(skb).absent["device_name"].reason is Reason.CORRUPTED
    assert validate_skb(skb).device_named is False


def test_an_skb_without_a_device() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"dev": 0})
    tests = validate_skb(skb)
    assert tests.absent["device_named"].reason is Reason.NOT_APPLICABLE
    assert tests.plausible


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ({"tail": 0x300}, "buffer_ordered"),
        ({"data": HEAD - 8}, "buffer_ordered"),
        ({"len": 5000}, "lengths_agree"),
        ({"data_len": 1}, "lengths_agree"),
    ],
)
def test_each_buffer_test_can_fail(change: dict[str, int | bytes], test: str) -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, change)
    tests = validate_skb(skb)
    assert getattr(tests, test) is False
    assert not tests.plausible


@pytest.mark.parametrize(
    ("at", "byte", "test"),
    [(0, 0x44, "ip_header"), (11, 0xBF, "ip_checksum"), (2, 0x40, "ip_length")],
)
def test_each_ip_test_can_fail(at: int, byte: int, test: str) -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.put(HEAD + 0xAA + at, bytes([byte]))
    tests = validate_skb(skb)
    assert getattr(tests, test) is False
    assert not tests.plausible


def test_device_names() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.put(DEVICE, b"\x1bens192")
    assert decode_skb(skb).device_name == "\\x1bens192"
    assert validate_skb(skb).device_named is False


def test_an_unregistered_device() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"dev": ens192(kernel).value_()})
    tests = validate_skb(skb)
    assert (tests.device_named, tests.device_registered) == (True, False)


def test_header_checksum_not_filled_in_is_no_failure() -> None:
    kernel = modern_kernel()
    skb = golden(kernel, GOLDEN_PACKET[:10] + b"\0\0" + GOLDEN_PACKET[12:])
    tests = validate_skb(skb)
    assert tests.ip_checksum is None
    assert tests.absent["ip_checksum"].reason is Reason.NOT_APPLICABLE


def test_a_length_of_zero_is_no_failure() -> None:
    kernel = modern_kernel()
    tests = validate_skb(golden(kernel, GOLDEN_PACKET[:2] + b"\0\0" + GOLDEN_PACKET[4:]))
    assert tests.absent["ip_length"].reason is Reason.NOT_APPLICABLE


def test_transport_beyond_the_linear_data() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"tail": 0xAA + 24, "len": 102, "data_len": 78})
    seen = decode_packet(skb)
    assert seen.transport is None
    assert seen.absent["transport"].reason is Reason.CORRUPTED  # no fragments hold 78 bytes
    assert seen.source_port is None
    assert seen.missing_bytes == 0
    kernel.set(skb, {"data_len": 0})
    assert decode_packet(skb).absent["transport"].reason is Reason.CORRUPTED


def test_partial_checksum_and_fragments() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"ip_summed": 3})
    assert decode_packet(skb).transport_checksum is Checksum.PARTIAL
    kernel.put(HEAD + 0xAA + 6, b"\0\x10")
    seen = decode_packet(skb)
    assert seen.transport is None
    assert seen.absent["transport"].reason is Reason.NOT_APPLICABLE
    assert seen.absent["transport_checksum"].reason is Reason.NOT_APPLICABLE


def test_protocol_unset_falls_back_to_the_version_and_arp_does_not() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"protocol": 0})
    assert decode_packet(skb).ip.version == 4
    kernel.set(skb, {"protocol": 0x0608})
    with pytest.raises(Unavailable) as caught:
        decode_packet(skb)
    assert caught.value.reason is Reason.NOT_APPLICABLE


def test_ipv6_packet() -> None:
    kernel = modern_kernel()
    header = bytes.fromhex("6000000000103a40") + bytes(15) + b"\1" + bytes(15) + b"\2"
    skb = golden(kernel, header + bytes.fromhex("80 00 0000 1234 0001") + bytes(8))
    seen = decode_packet(skb)
    assert (seen.source, seen.destination, seen.protocol_name) == ("::1", "::2", "icmpv6")
    assert seen.transport_checksum is Checksum.WRONG
    assert seen.source_port is None


def test_network_header_beyond_the_buffer() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"network_header": 0xFFF0})
    assert decode_skb(skb).absent["network_header"].reason is Reason.CORRUPTED
    kernel.set(skb, {"network_header": 0x1F0})
    with pytest.raises(Unavailable) as caught:
        decode_packet(skb)
    assert caught.value.reason is Reason.CORRUPTED


def test_wild_head() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"head": 0x100})
    with pytest.raises(Unavailable) as caught:
        decode_packet(skb)
    assert caught.value.reason is Reason.CORRUPTED
    assert validate_skb(skb).buffer_ordered is False


@both
def test_nf_ct(make: MakeKernel) -> None:
    kernel = make()
    skb = golden(kernel)
    ct, ctinfo = nf_ct(skb)
    assert ct is not None
    assert (ct.value_(), ctinfo) == (WINNER, 2)
    assert ct.type_.type_name() == "struct nf_conn *"


def test_untracked_and_unknown_ctinfo() -> None:
    kernel = modern_kernel()
    skb = golden(kernel)
    kernel.set(skb, {"_nfct": 7})
    assert nf_ct(skb) == (None, 7)
    assert decode_skb(skb).ctinfo_name == "IP_CT_UNTRACKED"
    kernel.set(skb, {"_nfct": WINNER | 5})
    assert decode_skb(skb).ctinfo_name == "ctinfo 5"


def test_a_kernel_without_conntrack() -> None:
    kernel = modern_kernel()
    kernel.struct("sk_buff", 232, ("len", "u32", 112))
    skb = kernel.allocate("struct sk_buff", len=3)
    facts = decode_skb(skb)
    assert facts.length == 3
    assert (facts.conntrack, facts.ctinfo, facts.ctinfo_name) == (None, None, None)
    assert facts.absent["ctinfo"].reason is Reason.NOT_APPLICABLE


def test_header_bytes_are_the_articles() -> None:
    # network order of the numbers crash printed: tot_len 0x6600, id 0x2097, check 0xbe57
    assert GOLDEN_HEADER[2:6] == (0x6600).to_bytes(2, "little") + (0x2097).to_bytes(2, "little")
    source = 0x9E3B4C0A
    assert GOLDEN_HEADER[12:16] == source.to_bytes(4, "little")
    assert GOLDEN_HEADER[10:12] == (0xBE57).to_bytes(2, "little")
