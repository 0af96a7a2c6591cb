"""Bytes of an skb that are not linear, VLAN tags beside and among them, pending checksums."""

from __future__ import annotations

from itertools import pairwise

import pytest
from drgn import Object

from crashkit.decode import decode_packet
from crashkit.decode import skb_data as skb_data_
from crashkit.decode.checksum import pending_checksum
from crashkit.decode.skb_data import MAX_FRAG_LIST, data_from, network_data
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel
from tests.unit.netfilter_doubles import GOLDEN_PACKET, modern_kernel, skb_with

HEAD = 0xFFFF_893C_80FD_1400
SHARED = HEAD + 0x200
PAGES = {0xFFFF_EA00_0000_1000: 0xFFFF_8880_4000_0000, 0xFFFF_EA00_0000_1040: 0xFFFF_8880_4000_1000}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel whose page fragments are ``struct bio_vec``."""
    made = modern_kernel()
    made.struct("page", 64, ("flags", "unsigned long", 0))
    made.struct(
        "bio_vec",
        16,
        ("bv_page", "struct page *", 0),
        ("bv_len", "u32", 8),
        ("bv_offset", "u32", 12),
    )
    made.typedef("skb_frag_t", "struct bio_vec")
    shared(made)

    def page_to_virt(page: Object) -> Object:
        return Object(page.prog_, "void *", PAGES[page.value_()])

    monkeypatch.setattr(skb_data_, "page_to_virt", page_to_virt)
    return made


def shared(kernel: Kernel) -> None:
    kernel.struct(
        "skb_shared_info",
        320,
        ("nr_frags", "u8", 2),
        ("gso_size", "u16", 4),
        ("gso_segs", "u16", 6),
        ("frag_list", "struct sk_buff *", 8),
        ("frags", "skb_frag_t [17]", 48),
    )


def in_fragments(kernel: Kernel, sizes: tuple[int, ...], names: tuple[str, str, str]) -> Object:
    """The golden packet with 30 linear bytes, the rest in page fragments."""
    skb = skb_with(kernel, GOLDEN_PACKET[:30])
    kernel.put(SHARED, bytes(320))
    info = Object(kernel.prog, "struct skb_shared_info *", SHARED)
    at = 30
    for number, ((page, virtual), size) in enumerate(zip(PAGES.items(), sizes, strict=False)):
        kernel.put(virtual + 64, GOLDEN_PACKET[at : at + size])
        at += size
        page_name, length, offset = names
        values = {page_name: page, length: size, offset: 64}
        kernel.set(info, {f"frags[{number}].{k}": v for k, v in values.items()})
    kernel.set(info, {"nr_frags": len(sizes)})
    kernel.set(skb, {"len": len(GOLDEN_PACKET), "data_len": len(GOLDEN_PACKET) - 30})
    return skb


BIO_VEC = ("bv_page", "bv_len", "bv_offset")


def test_bytes_in_page_fragments(kernel: Kernel) -> None:
    skb = in_fragments(kernel, (40, 32), BIO_VEC)
    data = network_data(skb)
    assert data.available == len(GOLDEN_PACKET)
    assert data.read(0, len(GOLDEN_PACKET)) == GOLDEN_PACKET
    assert data.read(28, 6) == GOLDEN_PACKET[28:34]
    assert data.read(69, 2) == GOLDEN_PACKET[69:71]
    assert decode_packet(skb).missing_bytes == 0


NETMEM = (("netmem", "unsigned long", 0), ("len", "u32", 8), ("offset", "u32", 12))
PAGE = (("page", "struct frag_page", 0), ("page_offset", "u32", 8), ("size", "u32", 12))


@pytest.mark.parametrize(
    ("members", "names"),
    [(NETMEM, ("netmem", "len", "offset")), (PAGE, ("page.p", "size", "page_offset"))],
)
def test_fragments_of_other_kernels(
    kernel: Kernel, members: tuple[tuple[str, str, int], ...], names: tuple[str, str, str]
) -> None:
    kernel.struct("frag_page", 8, ("p", "struct page *", 0))
    kernel.struct("skb_frag", 16, *members)
    kernel.typedef("skb_frag_t", "struct skb_frag")
    shared(kernel)
    skb = in_fragments(kernel, (40, 32), names)
    assert network_data(skb).read(0, len(GOLDEN_PACKET)) == GOLDEN_PACKET


def test_a_devices_own_memory_is_in_no_dump(kernel: Kernel) -> None:
    kernel.struct(
        "skb_frag", 16, ("netmem", "unsigned long", 0), ("len", "u32", 8), ("offset", "u32", 12)
    )
    kernel.typedef("skb_frag_t", "struct skb_frag")
    shared(kernel)
    skb = in_fragments(kernel, (72,), ("netmem", "len", "offset"))
    kernel.set(Object(kernel.prog, "struct skb_shared_info *", SHARED), {"frags[0].netmem": 0x1001})
    with pytest.raises(Unavailable) as caught:
        network_data(skb).read(30, 4)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_an_impossible_fragment_count(kernel: Kernel) -> None:
    skb = in_fragments(kernel, (72,), BIO_VEC)
    kernel.set(Object(kernel.prog, "struct skb_shared_info *", SHARED), {"nr_frags": 18})
    with pytest.raises(Unavailable) as caught:
        network_data(skb).read(30, 4)
    assert caught.value.reason is Reason.CORRUPTED


def test_fragments_that_hold_less_than_they_should(kernel: Kernel) -> None:
    skb = in_fragments(kernel, (40,), BIO_VEC)
    assert network_data(skb).read(0, 70) == GOLDEN_PACKET[:70]
    with pytest.raises(Unavailable) as caught:
        network_data(skb).read(60, 20)
    assert caught.value.reason is Reason.CORRUPTED


def with_next(kernel: Kernel) -> None:
    members = [
        ("next", "struct sk_buff *", 0), ("dev", "struct net_device *", 16),
        ("len", "u32", 112), ("data_len", "u32", 116), ("protocol", "__be16", 180),
        ("network_header", "u16", 184), ("mac_header", "u16", 186), ("vlan_all", "u32", 144),
        ("vlan_proto", "__be16", 144), ("vlan_tci", "u16", 146), ("csum_start", "u16", 136),
        ("csum_offset", "u16", 138), ("ip_summed", "u8", 128, 5, 2),
        ("tail", "sk_buff_data_t", 188), ("end", "sk_buff_data_t", 192),
        ("transport_header", "u16", 182), ("users", "refcount_t", 220),
        ("head", "unsigned char *", 200), ("data", "unsigned char *", 208),
    ]  # fmt: skip
    kernel.struct("sk_buff", 232, *members)  # type: ignore[arg-type]


def listed(kernel: Kernel, *parts: bytes) -> tuple[Object, list[Object]]:
    """The golden packet with 30 linear bytes, the rest in a fragment list."""
    with_next(kernel)
    skb = in_fragments(kernel, (), BIO_VEC)
    items = []
    for number, part in enumerate(parts):
        buffer = 0xFFFF_893C_9000_0000 + 0x1000 * number
        kernel.put(buffer, bytes(0x400))
        kernel.put(buffer, part)
        items.append(
            kernel.allocate(
                "struct sk_buff", head=buffer, data=buffer, tail=len(part), end=0x200, len=len(part)
            )
        )
    for here, following in pairwise(items):
        kernel.set(here, {"next": following.value_()})
    info = Object(kernel.prog, "struct skb_shared_info *", SHARED)
    kernel.set(info, {"frag_list": items[0].value_()})
    return skb, items


def test_bytes_in_a_fragment_list(kernel: Kernel) -> None:
    skb, _items = listed(kernel, GOLDEN_PACKET[30:60], GOLDEN_PACKET[60:])
    assert network_data(skb).read(0, len(GOLDEN_PACKET)) == GOLDEN_PACKET


def test_a_fragment_list_that_is_a_cycle_ends(kernel: Kernel) -> None:
    skb, items = listed(kernel, b"", b"")
    kernel.set(items[1], {"next": items[0].value_()})
    with pytest.raises(Unavailable) as caught:
        network_data(skb).read(30, 4)
    assert caught.value.reason is Reason.CORRUPTED
    assert MAX_FRAG_LIST > 2


def test_a_header_behind_the_data(kernel: Kernel) -> None:
    skb = skb_with(kernel, GOLDEN_PACKET)
    with pytest.raises(Unavailable) as caught:
        data_from(skb, HEAD + 0x1F0)
    assert caught.value.reason is Reason.CORRUPTED


def tagged(kernel: Kernel, before: bytes, mac: int, protocol: int) -> Object:
    with_next(kernel)
    skb = skb_with(kernel, GOLDEN_PACKET)
    kernel.put(HEAD + mac, before)
    kernel.set(
        skb, {"mac_header": mac, "protocol": int.from_bytes(protocol.to_bytes(2, "big"), "little")}
    )
    return skb


def test_a_tag_beside_the_bytes(kernel: Kernel) -> None:
    skb = tagged(kernel, bytes(12) + b"\x08\0", 0xAA - 14, 0x0800)
    assert decode_packet(skb).vlans == ()
    kernel.set(skb, {"vlan_tci": 0x2064, "vlan_proto": 0x0081})
    (tag,) = decode_packet(skb).vlans or ()
    assert (tag.id, tag.priority, tag.protocol, tag.in_band) == (100, 1, 0x8100, False)


def test_a_tag_between_the_ethernet_and_the_network_header(kernel: Kernel) -> None:
    skb = tagged(kernel, bytes(12) + b"\x81\0\0\xc8\x08\0", 0xAA - 18, 0x8100)
    kernel.set(skb, {"vlan_tci": 100, "vlan_proto": 0x0081})
    seen = decode_packet(skb)
    assert [(tag.id, tag.in_band) for tag in seen.vlans or ()] == [(100, False), (200, True)]
    assert seen.source == "10.76.59.158"


def test_a_tag_at_the_network_header(kernel: Kernel) -> None:
    with_next(kernel)
    skb = skb_with(kernel, b"\0\xc8\x08\0" + GOLDEN_PACKET)
    kernel.set(skb, {"protocol": 0x0081})
    seen = decode_packet(skb)
    assert [tag.id for tag in seen.vlans or ()] == [200]
    assert seen.network_header == HEAD + 0xAA + 4
    assert seen.destination_port == 4789


def test_which_checksum_is_pending(kernel: Kernel) -> None:
    with_next(kernel)
    skb = skb_with(kernel, GOLDEN_PACKET)
    assert not pending_checksum(skb).covers(HEAD + 0xBE)
    kernel.set(skb, {"ip_summed": 3, "csum_start": 0xBE, "csum_offset": 6})
    pending = pending_checksum(skb)
    assert pending.covers(HEAD + 0xBE)
    assert pending.field_at == HEAD + 0xC4
    assert not pending.covers(HEAD + 0xE0)
    kernel.set(Object(kernel.prog, "struct skb_shared_info *", SHARED), {"gso_size": 1448})
    assert pending_checksum(skb).segments
