"""The packets of skbs, made ready for a capture file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.fields import naming
from crashkit.decode.link_headers import VlanTag, skb_vlan
from crashkit.decode.skb_data import SkbData, data_from, ether_type, mac_data, network_data
from crashkit.decode.skb_packet import decode_packet
from crashkit.errors import Unavailable
from crashkit.report.pcap import MAX_CAPTURED, CapturedPacket, pcapng

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.crash.skb_places import FoundSkb

_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772  # include/uapi/linux/if_arp.h


def skb_capture(
    crash: Crash, found: Iterable[FoundSkb], application: str
) -> tuple[bytes, int, tuple[str, ...]]:
    """Make the capture file of the packets found.

    :return: the file, how many packets are in it, and why the others are not
    """
    packets, without = [], []
    for skb in found:
        try:
            packets.append(_captured(crash, skb))
        except Unavailable as missing:
            without.append(f"{skb.address:016x}: {missing}")
    seconds = crash.target.crash_time or 0
    return pcapng(packets, float(seconds), application), len(packets), tuple(without)


def _captured(crash: Crash, found: FoundSkb) -> CapturedPacket:
    skb = Object(crash.prog, "struct sk_buff *", found.address)
    packet = decode_packet(skb)  # what has no IP header is no packet yet
    frame = _frame(skb)
    data = frame if frame is not None else network_data(skb)
    if frame is None and data.start != packet.network_header:
        data = data_from(skb, packet.network_header)  # tags in front, and no Ethernet header
    size = packet.network_header - data.start + (packet.ip.total_length or data.available)
    size = min(size, data.available)
    raw, cut = _readable(data, min(size, MAX_CAPTURED))
    length = size + packet.missing_bytes
    if frame is not None:
        raw, length = _tagged(skb, raw, length)
    words = [f"sk_buff {found.address:016x}", *found.found_by, *cut]
    return CapturedPacket(
        data=raw, length=length, ethernet=frame is not None, comment="; ".join(words)
    )


def _frame(skb: Object) -> SkbData | None:
    # The bytes from an Ethernet header on; None where there is none that can be one.
    try:
        with naming("skb->dev"):
            kind = int(skb.dev.type.value_()) if skb.dev else 0
        data = mac_data(skb)
        network = network_data(skb).start
    except Unavailable:
        return None
    size = network - data.start
    if kind not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK) or size < 14 or (size - 14) % 4:
        return None
    announced = int.from_bytes(data.read(12, 2), "big")
    return data if announced == ether_type(skb) else None


def _readable(data: SkbData, size: int) -> tuple[bytes, list[str]]:
    try:
        return data.read(0, size), []
    except Unavailable as missing:
        linear = min(size, data.linear)
        return data.read(0, linear), [f"cut after {linear} bytes: {missing}"]


def _tagged(skb: Object, raw: bytes, length: int) -> tuple[bytes, int]:
    # What the device would insert (net/core/dev.c: validate_xmit_vlan()).
    try:
        tag: VlanTag | None = skb_vlan(skb)
    except Unavailable:
        tag = None
    if tag is None:
        return raw, length
    control = tag.priority << 13 | tag.id
    bytes_ = tag.protocol.to_bytes(2, "big") + control.to_bytes(2, "big")
    return raw[:12] + bytes_ + raw[12:], length + 4
