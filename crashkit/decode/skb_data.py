"""The bytes of an skb wherever they lie: linear, in page fragments, in its fragment list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Object, Program
from drgn.helpers.linux.mm import page_to_virt
from drgn.helpers.linux.net import skb_shinfo

from crashkit.decode.fields import big_endian, has_member, member, naming, pointer, resolve
from crashkit.decode.skb import data_address, header_offset
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.value import facts

MAX_FRAG_LIST = 4096
LONGEST_PACKET = 0x10000
_MAX_DEPTH = 4
_NET_IOV = 1  # include/net/netmem.h: memory of a device, which no dump holds


@dataclass(frozen=True)
class Piece:
    """A run of an skb's bytes."""

    address: int
    size: int


@facts
class SkbData:
    """The bytes of an skb from one of its headers on."""

    skb: Object
    """``struct sk_buff *``."""
    start: int
    """Address of the first byte."""
    linear: int
    """Bytes from there to ``skb->tail``."""
    data_length: int
    """``skb->data_len``: bytes beyond."""

    @property
    def available(self) -> int:
        """Bytes that the skb says it has from ``start`` on."""
        return self.linear + self.data_length

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes at an offset from ``start``.

        :raises Unavailable: they are not part of the packet, or their page is missing
        """
        prog = self.skb.prog_
        if offset + size <= self.linear:
            return read_bytes(prog, self.start + offset, size, "packet bytes")
        what = f"{size} bytes at offset {offset} of the packet"
        if offset + size > self.available:
            reason = Reason.CORRUPTED if not self.data_length else Reason.NOT_APPLICABLE
            raise Unavailable(what, reason, "beyond skb->tail and the fragments")
        out = b""
        if offset < self.linear:
            out = read_bytes(prog, self.start + offset, self.linear - offset, "packet bytes")
        return out + _gather(self.skb, max(offset - self.linear, 0), size - len(out), what)


def data_from(skb: Object, start: int) -> SkbData:
    """Give an skb's bytes from an address in its linear data on.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: ``start`` is not in the linear data
    """
    pointer(skb, "struct sk_buff")
    with naming("skb->head"):
        head = pointer(skb.head, "skb->head")
    try:
        with naming("skb->tail"):
            end, data_length = data_address(skb, "tail"), int(skb.data_len.value_())
    except Unavailable as missing:
        if missing.reason is not Reason.NOT_IN_DUMP:
            raise
        # A dump that has only some of the skb: what the headers say is then the only limit.
        end, data_length = head + LONGEST_PACKET, 0
    if not head <= start <= end:
        raise Unavailable("packet", Reason.CORRUPTED, "header beyond skb->tail")
    return SkbData(skb=skb, start=start, linear=end - start, data_length=data_length)


def network_data(skb: Object) -> SkbData:
    """Give an skb's bytes from its network header on. ``skb``: ``struct sk_buff *``."""
    pointer(skb, "struct sk_buff")
    with naming("skb->head"):
        head = pointer(skb.head, "skb->head")
        return data_from(skb, head + header_offset(skb, "network_header"))


def mac_data(skb: Object) -> SkbData:
    """Give an skb's bytes from its link-layer header on.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: ``not-applicable`` where it has none
    """
    pointer(skb, "struct sk_buff")
    with naming("skb->head"):
        head = pointer(skb.head, "skb->head")
        at, network = header_offset(skb, "mac_header"), header_offset(skb, "network_header")
        if at >= network:
            raise Unavailable("link-layer header", Reason.NOT_APPLICABLE, "the skb has none")
        return data_from(skb, head + at)


def ether_type(skb: Object) -> int:
    """Read ``skb->protocol`` (ETH_P_..., host order). ``skb``: ``struct sk_buff *``."""
    with naming("skb->protocol"):
        return big_endian(member(skb, "protocol"))


def _gather(skb: Object, offset: int, size: int, what: str) -> bytes:
    out = bytearray()
    for piece in for_each_piece(skb):
        if offset >= piece.size:
            offset -= piece.size
            continue
        take = min(piece.size - offset, size - len(out))
        out += read_bytes(skb.prog_, piece.address + offset, take, "packet bytes")
        offset = 0
        if len(out) == size:
            return bytes(out)
    raise Unavailable(what, Reason.CORRUPTED, "the fragments hold less than skb->data_len")


def for_each_piece(skb: Object, depth: int = 0) -> Iterator[Piece]:
    """Yield where an skb's non-linear bytes lie: page fragments, then its fragment list.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: a count is impossible, a list is a cycle, or a page is missing
    """
    if depth > _MAX_DEPTH:
        raise Unavailable("frag_list", Reason.CORRUPTED, f"nested more than {_MAX_DEPTH} deep")
    with naming("skb_shared_info"):
        shared = skb_shinfo(skb)
        yield from _page_fragments(shared)
        if not has_member(shared, "frag_list"):
            return
        for item in for_each_in_frag_list(skb):
            start = int(item.data.value_())
            yield Piece(start, data_address(item, "tail") - start)
            yield from for_each_piece(item, depth + 1)


def for_each_in_frag_list(skb: Object) -> Iterator[Object]:
    """Yield the skbs of ``skb_shinfo(skb)->frag_list``, ``struct sk_buff *``.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: it is a cycle, too long, or a page is missing
    """
    seen: set[int] = set()
    with naming("frag_list"):
        item = skb_shinfo(skb).frag_list.read_()
        while item:
            address = pointer(item, "frag_list")
            if address in seen or len(seen) >= MAX_FRAG_LIST:
                raise Unavailable("frag_list", Reason.CORRUPTED, "a cycle, or too long")
            seen.add(address)
            yield item
            item = item.next.read_()


def _page_fragments(shared: Object) -> Iterator[Piece]:
    count = int(shared.nr_frags.value_())
    if not count:
        return
    slots = resolve(shared.frags.type_).length or 0
    if count > slots:
        raise Unavailable("frags[]", Reason.CORRUPTED, f"nr_frags is {count} of {slots}")
    for index in range(count):
        yield _fragment(shared.prog_, shared.frags[index])


def _fragment(prog: Program, frag: Object) -> Piece:
    # skb_frag_t: a bio_vec from Linux kernel commit 8842d285bafa ("net: Convert skb_frag_t
    # to bio_vec") (in v5.4); a struct of its own before, and again with a netmem since
    # 21d2e6737c97 ("net: add netmem to skb_frag_t") (in v6.9).
    if has_member(frag, "netmem"):
        value = int(frag.netmem.value_())
        if value & _NET_IOV:
            raise Unavailable("page fragment", Reason.NOT_IN_DUMP, "it is a device's memory")
        page = Object(prog, "struct page *", value)
    elif has_member(frag, "bv_page"):
        page = frag.bv_page.read_()
    else:
        page = frag.page.p.read_()
    pointer(page, "page of a fragment")
    offset = int(member(frag, "bv_offset", "offset", "page_offset").value_())
    size = int(member(frag, "bv_len", "len", "size").value_())
    return Piece(int(page_to_virt(page).value_()) + offset, size)
