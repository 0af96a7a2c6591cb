"""``struct sk_buff``: where its data lies, whose it is, and its conntrack."""

from __future__ import annotations

from drgn import FaultError, Object, TypeKind, sizeof
from drgn.helpers.linux.net import netdev_name, skb_shinfo

from crashkit.decode.fields import (
    Absent,
    Fields,
    big_endian,
    counter,
    has_member,
    member,
    pointer,
    printable,
    resolve,
)
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

CTINFO_NAMES = {
    0: "IP_CT_ESTABLISHED",
    1: "IP_CT_RELATED",
    2: "IP_CT_NEW",
    3: "IP_CT_ESTABLISHED_REPLY",
    4: "IP_CT_RELATED_REPLY",
    7: "IP_CT_UNTRACKED",
}
"""``enum ip_conntrack_info`` (include/uapi/linux/netfilter/nf_conntrack_common.h)."""

NFCT_INFOMASK = 7
"""Bits of ``skb->_nfct`` that hold the ctinfo (include/linux/skbuff.h)."""

LONGEST_BUFFER = 0x10000
"""Header offsets have 16 bits."""

CHECKSUM_PARTIAL = 3
"""``skb->ip_summed``: the device is to complete the checksum (include/linux/skbuff.h)."""


@facts
class SkBuff:
    """Facts of a ``struct sk_buff``. A None field has its reason in ``absent``."""

    address: int
    device: int | None
    """``skb->dev``, ``struct net_device *``; 0 is NULL."""
    device_name: str | None
    """Name of that device, escaped."""
    socket: int | None
    """``skb->sk``, ``struct sock *``."""
    length: int | None
    """``skb->len``, bytes from ``data`` on, fragments included."""
    data_length: int | None
    """``skb->data_len``, bytes in fragments."""
    head: int | None
    data: int | None
    tail: int | None
    """Address of the end of the linear data."""
    end: int | None
    """Address of ``struct skb_shared_info``."""
    mac_header: int | None
    """Offset from ``head``, bytes; None when it was never set."""
    network_header: int | None
    """Offset from ``head``, bytes."""
    transport_header: int | None
    """Offset from ``head``, bytes; None when it was never set."""
    protocol: int | None
    """ETH_P_... in host order."""
    pkt_type: int | None
    """PACKET_HOST 0, BROADCAST 1, MULTICAST 2, OTHERHOST 3, OUTGOING 4."""
    ip_summed: int | None
    """CHECKSUM_NONE 0, UNNECESSARY 1, COMPLETE 2, PARTIAL 3."""
    users: int | None
    """Reference count, signed."""
    nr_frags: int | None
    gso_size: int | None
    """Bytes of payload of each segment the packet is to be cut into; 0: it is not."""
    gso_segments: int | None
    """``gso_segs``."""
    frag_list: int | None
    """First ``struct sk_buff *`` of the fragment list; 0 is none."""
    conntrack: int | None
    """``struct nf_conntrack *`` without the ctinfo bits; 0 is none."""
    ctinfo: int | None
    ctinfo_name: str | None
    absent: Absent


def decode_skb(skb: Object) -> SkBuff:
    """Decode a socket buffer.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(skb, "struct sk_buff")
    fields = Fields(f"struct sk_buff {address:#x}")
    nfct = fields.take("conntrack", lambda: nfct_pointer(skb))
    if nfct is None:
        fields.absent["ctinfo"] = fields.absent["ctinfo_name"] = fields.absent["conntrack"]
    elif nfct[1] is None:
        lost = Unavailable("skb->nfctinfo", Reason.NOT_IN_DUMP)
        fields.absent["ctinfo"] = fields.absent["ctinfo_name"] = lost
    ctinfo = nfct[1] if nfct else None
    return SkBuff(
        address=address,
        device=fields.number("device", skb, "dev"),
        device_name=fields.take("device_name", lambda: skb_device_name(skb)),
        socket=fields.number("socket", skb, "sk"),
        length=fields.number("length", skb, "len"),
        data_length=fields.number("data_length", skb, "data_len"),
        head=fields.number("head", skb, "head"),
        data=fields.number("data", skb, "data"),
        tail=fields.take("tail", lambda: data_address(skb, "tail")),
        end=fields.take("end", lambda: data_address(skb, "end")),
        mac_header=fields.take("mac_header", lambda: header_offset(skb, "mac_header")),
        network_header=fields.take("network_header", lambda: header_offset(skb, "network_header")),
        transport_header=fields.take(
            "transport_header", lambda: header_offset(skb, "transport_header")
        ),
        protocol=fields.take("protocol", lambda: big_endian(member(skb, "protocol"))),
        pkt_type=fields.number("pkt_type", skb, "pkt_type"),
        ip_summed=fields.number("ip_summed", skb, "ip_summed"),
        users=fields.take("users", lambda: counter(member(skb, "users"))),
        nr_frags=fields.take("nr_frags", lambda: int(skb_shinfo(skb).nr_frags.value_())),
        gso_size=fields.take("gso_size", lambda: _shared(skb, "gso_size")),
        gso_segments=fields.take("gso_segments", lambda: _shared(skb, "gso_segs")),
        frag_list=fields.take("frag_list", lambda: int(skb_shinfo(skb).frag_list.value_())),
        conntrack=None if nfct is None else nfct[0],
        ctinfo=ctinfo,
        ctinfo_name=None if ctinfo is None else CTINFO_NAMES.get(ctinfo, f"ctinfo {ctinfo}"),
        absent=fields.reasons(),
    )


def _shared(skb: Object, name: str) -> int:
    return int(member(skb_shinfo(skb), name).value_())


def skb_device_name(skb: Object) -> str:
    """Give the name of an skb's device, escaped.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: the skb has no device, or the pointer is wild
    """
    if not skb.dev:
        raise Unavailable("device name", Reason.NOT_APPLICABLE, "skb->dev is NULL")
    pointer(skb.dev, "skb->dev")
    return printable(netdev_name(skb.dev))


def data_address(skb: Object, name: str) -> int:
    """Give ``tail`` or ``end`` as an address.

    They are ``sk_buff_data_t``: on 64-bit kernels an offset from ``head``, else a pointer.

    :param skb: ``struct sk_buff *``
    """
    value = member(skb, name)
    if resolve(value.type_).kind is TypeKind.POINTER:
        return int(value.value_())
    return int(skb.head.value_()) + int(value.value_())


def header_offset(skb: Object, name: str) -> int:
    """Give a header's offset from ``head`` in bytes.

    All bits set means "never set" (include/linux/skbuff.h: skb_mac_header_was_set());
    the member's width differs between kernels (``sk_buff_data_t`` or ``__u16``), so its
    type is asked.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: it was never set, or lies beyond the buffer
    """
    value = member(skb, name)
    offset = int(value.value_())
    if resolve(value.type_).kind is TypeKind.POINTER:
        offset -= int(skb.head.value_())
    elif offset == (1 << 8 * sizeof(value)) - 1:
        raise Unavailable(name, Reason.NOT_APPLICABLE, "never set")
    try:
        room = data_address(skb, "end") - int(skb.head.value_())
    except FaultError:
        room = LONGEST_BUFFER  # the dump has not got skb->end
    if not 0 <= offset <= room:
        raise Unavailable(name, Reason.CORRUPTED, f"offset {offset:#x} is beyond skb->end")
    return offset


def nfct_pointer(skb: Object) -> tuple[int, int | None]:
    """Split an skb's conntrack reference into pointer and ctinfo.

    Since Linux kernel commit a9e419dc7be6 ("netfilter: merge ctinfo into nfct pointer
    storage area") (in v4.11) both are in ``_nfct``; before, in ``nfct`` and ``nfctinfo``.

    :param skb: ``struct sk_buff *``
    :return: address of ``struct nf_conntrack`` (0 is none) and ``enum ip_conntrack_info``,
        None where only the first is in the dump
    :raises Unavailable: the kernel has no conntrack, or the page is missing
    """
    if has_member(skb, "_nfct"):
        value = int(skb.member_("_nfct").value_())
        return value & ~NFCT_INFOMASK, value & NFCT_INFOMASK
    if has_member(skb, "nfct"):
        address = int(skb.nfct.value_())
        try:
            return address, int(skb.nfctinfo.value_())
        except FaultError:
            return address, None  # another word of the skb, and the dump has not got it
    raise Unavailable("skb->_nfct", Reason.NOT_APPLICABLE, "kernel without conntrack")
