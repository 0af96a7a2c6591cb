"""The packet in an skb: its headers down to the innermost, wherever its bytes lie."""

from __future__ import annotations

from dataclasses import fields

from drgn import Object

from crashkit.decode.checksum import Pending, pending_checksum
from crashkit.decode.fields import Fields, has_member
from crashkit.decode.ip_packet import From, IpPacket, parse_ip_packet
from crashkit.decode.link_headers import (
    ETH_P_8021AD,
    ETH_P_8021Q,
    VlanTag,
    parse_ethernet,
    parse_vlans,
    skb_vlan,
)
from crashkit.decode.skb_data import SkbData, ether_type, mac_data, network_data
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

__all__ = ["Packet", "decode_packet"]


@facts
class Packet(IpPacket):
    """What an skb carries. A None field has its reason in ``absent``."""

    skb: int
    """Address of the ``struct sk_buff``."""
    network_header: int
    """Address of the IP header."""
    vlans: tuple[VlanTag, ...] | None
    """Tags, outermost first; the one beside the bytes, in ``skb->vlan_tci``, is the first."""


def decode_packet(skb: Object) -> Packet:
    """Decode the IP packet at the skb's network header.

    The transport header is found from the IP header's own length, not from
    ``skb->transport_header``, which is stale on many paths.

    :param skb: ``struct sk_buff *``
    :raises Unavailable: it carries no IP packet, or its IP header cannot be had
    """
    linear = network_data(skb)
    tags, protocol, size = _tags(skb, linear)
    data = From(linear, size) if size else linear
    taken = Fields(f"packet of skb {skb.value_():#x}")
    pending = taken.take("transport_checksum", lambda: pending_checksum(skb))
    # Without it, no checksum but the IP header's is judged.
    seen = parse_ip_packet(data, protocol, pending or Pending(unknown=True))
    vlans = taken.take("vlans", lambda: _vlans(skb, tags))
    values = {field.name: getattr(seen, field.name) for field in fields(seen)}
    values["absent"] = {**seen.absent, **taken.absent}
    if pending is None:
        values["transport_checksum"] = None
    return Packet(skb=int(skb.value_()), network_header=data.start, vlans=vlans, **values)


def _tags(skb: Object, linear: SkbData) -> tuple[tuple[VlanTag, ...], int, int]:
    # Between the Ethernet and the network header on the way out (__vlan_insert_tag() moves
    # only the former), at the network header before skb_vlan_untag() on the way in.
    try:
        protocol = ether_type(skb)
    except Unavailable as missing:
        if missing.reason is not Reason.NOT_IN_DUMP:
            raise
        protocol = 0  # as of a packet that nobody classified: by the header itself
    if protocol not in (ETH_P_8021Q, ETH_P_8021AD):
        return (), protocol, 0
    try:
        frame = mac_data(skb)
        ethernet = parse_ethernet(frame.read)
    except Unavailable:
        return parse_vlans(protocol, linear.read)
    if frame.start + ethernet.header_length == linear.start:
        return ethernet.vlans, ethernet.protocol, 0
    return parse_vlans(protocol, linear.read)


def _vlans(skb: Object, in_band: tuple[VlanTag, ...]) -> tuple[VlanTag, ...]:
    if not has_member(skb, "vlan_tci"):
        return in_band
    beside = skb_vlan(skb)
    return in_band if beside is None else (beside, *in_band)
