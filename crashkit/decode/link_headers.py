"""Ethernet headers and VLAN tags, in the bytes and beside them in the skb."""

from __future__ import annotations

import struct
from collections.abc import Callable

from drgn import Object

from crashkit.decode.fields import big_endian, has_member, member, naming
from crashkit.value import facts

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6, ETH_P_TEB = 0x0800, 0x0806, 0x86DD, 0x6558
ETH_P_8021Q, ETH_P_8021AD, ETH_P_MPLS = 0x8100, 0x88A8, 0x8847
ETHER_TYPE_NAMES = {
    ETH_P_IP: "IPv4", ETH_P_ARP: "ARP", ETH_P_IPV6: "IPv6", ETH_P_TEB: "Ethernet",
    ETH_P_8021Q: "802.1Q", ETH_P_8021AD: "802.1ad", ETH_P_MPLS: "MPLS", 0x8863: "PPPoE discovery",
    0x8864: "PPPoE", 0x88CC: "LLDP", 0x88BE: "ERSPAN", 0x22EB: "ERSPAN III", 0x880B: "PPP",
}  # fmt: skip
"""Ethernet protocol to name (include/uapi/linux/if_ether.h)."""

MAX_TAGS = 4
_VLAN = (ETH_P_8021Q, ETH_P_8021AD)
_TAG_PRESENT = 0x1000  # VLAN_TAG_PRESENT, in skb->vlan_tci before vlan_present
Read = Callable[[int, int], bytes]


@facts
class VlanTag:
    """A VLAN tag."""

    id: int
    priority: int
    protocol: int
    """ETH_P_8021Q or ETH_P_8021AD."""
    in_band: bool
    """In the packet's bytes; false: in ``skb->vlan_tci``, for the device to insert."""


@facts
class EthernetHeader:
    """``struct ethhdr`` and the tags behind it."""

    source: str
    destination: str
    vlans: tuple[VlanTag, ...]
    protocol: int
    """ETH_P_... behind the tags."""
    header_length: int
    """Bytes, tags included."""


def parse_ethernet(read: Read) -> EthernetHeader:
    """Parse an Ethernet header.

    :param read: gives ``size`` bytes at ``offset`` from the header, or raises
    """
    destination, source, protocol = struct.unpack(">6s6sH", read(0, 14))
    vlans, protocol, size = parse_vlans(protocol, lambda at, n: read(14 + at, n))
    return EthernetHeader(
        source=source.hex(":"),
        destination=destination.hex(":"),
        vlans=vlans,
        protocol=protocol,
        header_length=14 + size,
    )


def parse_vlans(protocol: int, read: Read) -> tuple[tuple[VlanTag, ...], int, int]:
    """Parse the tags that an Ethernet protocol announces.

    :return: the tags, the protocol behind them, their bytes
    """
    tags: list[VlanTag] = []
    while protocol in _VLAN and len(tags) < MAX_TAGS:
        tci, following = struct.unpack(">HH", read(4 * len(tags), 4))
        tags.append(_tag(tci, protocol, in_band=True))
        protocol = following
    return tuple(tags), protocol, 4 * len(tags)


def skb_vlan(skb: Object) -> VlanTag | None:
    """Read the tag that an skb carries beside its bytes; None when it has none.

    Present if ``vlan_present`` is set, else since Linux kernel commit 354259fa73e2 ("net:
    remove skb->vlan_present") (in v6.2) if ``vlan_all`` is not 0, and before 0c4b2d370514
    ("net: remove VLAN_TAG_PRESENT") (in v5.0) if a bit of ``vlan_tci`` is set.

    :param skb: ``struct sk_buff *``
    """
    with naming("skb->vlan_tci"):
        tci = int(member(skb, "vlan_tci").value_())
        protocol = big_endian(member(skb, "vlan_proto"))
        if has_member(skb, "vlan_present"):
            present = bool(skb.vlan_present.value_())
        elif has_member(skb, "vlan_all"):
            present = bool(skb.vlan_all.value_())
        else:
            present, tci = bool(tci & _TAG_PRESENT), tci & ~_TAG_PRESENT
    return _tag(tci, protocol, in_band=False) if present else None


def _tag(tci: int, protocol: int, *, in_band: bool) -> VlanTag:
    return VlanTag(id=tci & 0xFFF, priority=tci >> 13, protocol=protocol, in_band=in_band)
