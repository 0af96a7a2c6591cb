"""nf_conn on both layouts: tuples, status, clock, zone; whole and damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from drgn import Object, offsetof, sizeof
from hypothesis import given
from hypothesis import strategies as st

from crashkit.decode import decode_nf_conn, decode_packet, invert_tuple, tuple_matches_packet
from crashkit.decode.conntrack_tuple import ConntrackTuple
from crashkit.decode.jiffies import remaining_ticks, ticks_per_second
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel
from tests.unit.netfilter_doubles import (
    GOLDEN_PACKET,
    el7_kernel,
    modern_kernel,
    skb_with,
    udp_conntrack,
)

MakeKernel = Callable[[], Kernel]
both = pytest.mark.parametrize("make", [modern_kernel, el7_kernel])
STALE = 0xFFFF_893C_A41E_5140
INIT_NET = 0xFFFF_FFFF_A031_5E40


def test_el7_layout_is_the_articles() -> None:
    nf_conn = el7_kernel().type("struct nf_conn")
    assert sizeof(nf_conn) == 0x138
    members = ("tuplehash", "status", "ct_net")
    assert [offsetof(nf_conn, m) for m in members] == [0x10, 0x80, 0xF0]


@both
def test_the_articles_tuples(make: MakeKernel) -> None:
    facts = decode_nf_conn(udp_conntrack(make()))
    assert facts.original is not None
    assert facts.original.text == "udp src=10.76.59.158 dst=10.76.59.115 sport=41000 dport=4789"
    assert facts.reply is not None
    assert facts.reply.text == "udp src=10.76.59.115 dst=10.76.59.158 sport=4789 dport=41000"
    assert (facts.original.direction, facts.reply.direction) == (0, 1)
    assert invert_tuple(facts.original) == facts.reply
    assert facts.use == 2


def test_status_names() -> None:
    kernel = modern_kernel()
    facts = decode_nf_conn(udp_conntrack(kernel, status=1 << 3 | 1 << 9 | 1 << 12 | 1 << 20))
    assert facts.status_names == ("CONFIRMED", "DYING", "NAT_CLASH", "bit 20")
    assert (facts.confirmed, facts.dying, facts.template) == (True, True, False)


@pytest.mark.parametrize(
    ("make", "forget", "name"),
    [
        (modern_kernel, False, "NAT_CLASH"),
        (el7_kernel, False, "UNTRACKED"),
        (modern_kernel, True, "UNTRACKED|NAT_CLASH"),
    ],
)
def test_bit_12_is_named_by_the_kernels_own_enum(make: MakeKernel, forget: bool, name: str) -> None:
    kernel = make()
    if forget:
        kernel.forget("ip_conntrack_status")
    assert decode_nf_conn(udp_conntrack(kernel, status=1 << 12)).status_names == (name,)


def test_remaining_time_wraps_at_32_bits() -> None:
    kernel = modern_kernel()
    kernel.variable("jiffies", "unsigned long", 0x1_FFFF_FF00)
    kernel.variable("tick_nsec", "unsigned long", 4_000_000)
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"timeout": 0x10})
    facts = decode_nf_conn(ct)
    assert (facts.timeout, facts.remaining) == (0x10, 0x110 / 250)
    kernel.set(ct, {"timeout": 0xFFFF_FF00 - 500})
    assert decode_nf_conn(ct).remaining == -2.0


def test_remaining_time_from_a_timer() -> None:
    kernel = el7_kernel()
    kernel.variable("jiffies", "unsigned long", 0x1_0000_0000)
    kernel.variable("tick_nsec", "unsigned long", 999_848)
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"timeout.expires": 0x1_0000_0000 + 30_000})
    assert decode_nf_conn(ct).remaining == 30.0


def test_no_remaining_time_unless_confirmed_or_without_a_clock() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel, status=0)
    facts = decode_nf_conn(ct)
    assert facts.remaining is None
    assert facts.absent["remaining"].reason is Reason.NOT_APPLICABLE
    kernel.set(ct, {"status": 8, "timeout": 7})
    facts = decode_nf_conn(ct)
    assert facts.timeout == 7
    assert facts.absent["remaining"].reason is Reason.NO_DEBUGINFO


@pytest.mark.parametrize(
    ("nanoseconds", "hz"), [(1_000_152, 1000), (3_333_333, 300), (10_000_000, 100), (976_563, 1024)]
)
def test_hz_from_tick_nsec(nanoseconds: int, hz: int) -> None:
    kernel = modern_kernel()
    kernel.variable("tick_nsec", "unsigned long", nanoseconds)
    assert ticks_per_second(kernel.prog) == hz


@pytest.mark.parametrize("name", ["tk_core", "timekeeper_data"])
def test_hz_from_the_time_keeper(name: str) -> None:
    kernel = modern_kernel()
    kernel.struct("tk_read_base", 4, ("shift", "unsigned int", 0))
    kernel.struct(
        "timekeeper",
        16,
        ("tkr_mono", "struct tk_read_base", 0),
        ("xtime_interval", "unsigned long", 8),
    )
    kernel.struct("tk_data", 16, ("timekeeper", "struct timekeeper", 0))
    ctype = "struct tk_data" if name == "tk_core" else "struct tk_data [2]"
    core = kernel.variable(name, ctype)
    kernel.put(core.value_(), struct.pack("<IxxxxQ", 24, 3_999_999 << 24))
    assert ticks_per_second(kernel.prog) == 250


@pytest.mark.parametrize("nanoseconds", [0, 1, 7_000_000])
def test_a_tick_that_is_none(nanoseconds: int) -> None:
    kernel = modern_kernel()
    kernel.variable("tick_nsec", "unsigned long", nanoseconds)
    with pytest.raises(Unavailable):
        ticks_per_second(kernel.prog)


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1))
def test_remaining_ticks_undo_the_addition(now: int, difference: int) -> None:
    assert remaining_ticks((now + difference) % 2**32, now, 32) == difference


@both
def test_namespace_and_mark(make: MakeKernel) -> None:
    kernel = make()
    ct = udp_conntrack(kernel, STALE)
    is_wrapped = kernel.knows("possible_net")
    kernel.set(ct, {"ct_net.net" if is_wrapped else "ct_net": INIT_NET, "mark": 7, "master": 0})
    facts = decode_nf_conn(ct)
    assert (facts.address, facts.net, facts.mark, facts.master) == (STALE, INIT_NET, 7, 0)


def test_a_zero_namespace_is_a_fact() -> None:
    facts = decode_nf_conn(udp_conntrack(el7_kernel()))
    assert facts.net == 0
    assert "net" not in facts.absent


def test_cpu_exists_on_older_kernels_only() -> None:
    kernel = el7_kernel()
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"cpu": 3})
    assert decode_nf_conn(ct).cpu == 3
    facts = decode_nf_conn(udp_conntrack(modern_kernel()))
    assert facts.cpu is None
    assert facts.absent["cpu"].reason is Reason.NOT_APPLICABLE


def test_zone_inline() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"zone.id": 42})
    assert decode_nf_conn(ct).zone == 42


def test_zone_in_an_extension() -> None:
    kernel = el7_kernel()
    ct = udp_conntrack(kernel)
    assert decode_nf_conn(ct).zone == 0  # no extensions at all
    extensions = kernel.allocate("struct nf_ct_ext")
    kernel.set(ct, {"ext": extensions.value_()})
    assert decode_nf_conn(ct).zone == 0  # extensions, none for the zone
    kernel.set(extensions, {"offset[4]": 40})
    kernel.put(extensions.value_() + 40, b"\x09\x00")
    assert decode_nf_conn(ct).zone == 9
    kernel.set(ct, {"ext": 0x6B6B6B6B6B6B6B6B})
    assert decode_nf_conn(ct).absent["zone"].reason is Reason.CORRUPTED


def test_tcp_state() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel)
    assert decode_nf_conn(ct).absent["tcp_state"].reason is Reason.NOT_APPLICABLE
    kernel.set(ct, {"tuplehash[0].tuple.dst.protonum": 6, "proto.tcp.state": 7})
    assert decode_nf_conn(ct).tcp_state == "TIME_WAIT"


def test_icmp_and_gre_tuples() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel)
    kernel.set(
        ct,
        {
            "tuplehash[0].tuple.dst.protonum": 1,
            "tuplehash[0].tuple.src.u.icmp.id": b"\x12\x34",
            "tuplehash[0].tuple.dst.u.icmp.type": 8,
            "tuplehash[0].tuple.dst.u.icmp.code": 0,
            "tuplehash[1].tuple.dst.protonum": 47,
        },
    )
    facts = decode_nf_conn(ct)
    assert facts.original is not None
    assert facts.original.text == "icmp src=10.76.59.158 dst=10.76.59.115 type=8 code=0 id=4660"
    assert invert_tuple(facts.original).icmp_type == 0
    assert facts.reply is not None
    assert facts.reply.text.endswith("srckey=0x12b5 dstkey=0xa028")


def test_ipv6_tuple() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel)
    address = bytes.fromhex("20010db8") + bytes(11) + b"\1"
    kernel.set(ct, {"tuplehash[0].tuple.src.l3num": 10, "tuplehash[0].tuple.src.u3.all": address})
    original = decode_nf_conn(ct).original
    assert original is not None
    assert original.source == "2001:db8::1"


def test_icmp_without_an_answer_has_no_inverse() -> None:
    odd = ConntrackTuple(
        l3num=2, source="a", destination="b", protocol=1, direction=0, icmp_type=3, icmp_code=1
    )
    with pytest.raises(Unavailable):
        invert_tuple(odd)


def test_a_garbled_tuple_leaves_the_rest() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"tuplehash[0].tuple.src.l3num": 0x6B6B})
    facts = decode_nf_conn(ct)
    assert facts.original is None
    assert facts.absent["original"].reason is Reason.CORRUPTED
    assert facts.reply is not None


@both
def test_wild_and_missing(make: MakeKernel) -> None:
    kernel = make()
    with pytest.raises(Unavailable) as caught:
        decode_nf_conn(Object(kernel.prog, "struct nf_conn *", 0x84))
    assert caught.value.reason is Reason.CORRUPTED
    ct = udp_conntrack(kernel)
    kernel.drop(ct.value_())
    with pytest.raises(Unavailable) as caught:
        decode_nf_conn(ct)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_half_an_entry_keeps_the_other_half() -> None:
    kernel = modern_kernel()
    ct = udp_conntrack(kernel, 0xFFFF_8880_0020_0000 - 128)  # status is on the next page
    kernel.drop(0xFFFF_8880_0020_0000)
    facts = decode_nf_conn(ct)
    assert facts.original is not None
    assert (facts.status, facts.confirmed, facts.net) == (None, None, None)
    assert facts.absent["status"].reason is Reason.NOT_IN_DUMP


def test_tuple_matches_packet() -> None:
    kernel = modern_kernel()
    skb = skb_with(kernel, GOLDEN_PACKET)
    facts = decode_nf_conn(udp_conntrack(kernel))
    assert facts.original is not None
    assert facts.reply is not None
    seen = decode_packet(skb)
    assert tuple_matches_packet(facts.original, seen) is True
    assert tuple_matches_packet(facts.reply, seen) is False
    other = udp_conntrack(kernel)
    kernel.set(other, {"tuplehash[0].tuple.src.u.all": 1})
    original = decode_nf_conn(other).original
    assert original is not None
    assert tuple_matches_packet(original, seen) is False


def test_a_tuple_is_not_matched_by_ports_that_are_not_there() -> None:
    kernel = modern_kernel()
    skb = skb_with(kernel, GOLDEN_PACKET)
    original = decode_nf_conn(udp_conntrack(kernel)).original
    assert original is not None
    kernel.set(skb, {"tail": 0xAA + 20, "data_len": 82})
    assert tuple_matches_packet(original, decode_packet(skb)) is None


def test_icmp_packet_matches_by_id_and_type() -> None:
    kernel = modern_kernel()
    echo = bytes.fromhex("0800000012340001") + bytes(56)
    header = GOLDEN_PACKET[:9] + b"\1" + GOLDEN_PACKET[10:20]
    seen = decode_packet(skb_with(kernel, header + echo))
    common = {"l3num": 2, "protocol": 1, "direction": 0}
    for ident, kind, answer in ((0x1234, 8, True), (0x1235, 8, False), (0x1234, 0, False)):
        tuple_ = ConntrackTuple(
            source="10.76.59.158",
            destination="10.76.59.115",
            icmp_id=ident,
            icmp_type=kind,
            icmp_code=0,
            **common,
        )
        assert tuple_matches_packet(tuple_, seen) is answer
