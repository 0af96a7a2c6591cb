"""Objects found on the way to the explanation, decoded for the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.hook import found_hook
from crashkit.crash.parts import FoundObject
from crashkit.crash.skbs import SkbCandidate
from crashkit.decode import (
    Packet,
    decode_net_device,
    decode_nf_conn,
    decode_packet,
    decode_skb,
    nf_ct,
)
from crashkit.decode.conntrack_tuple import destination_port
from crashkit.errors import Unavailable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from crashkit.crash.core import Crash


def found_objects(crash: Crash) -> tuple[FoundObject, ...]:
    """Decode the skbs of the crashed stack, their packets, devices and conntracks, and the hook.

    What cannot be read is left out; a check that needs it says why.
    """
    found: dict[tuple[str, int], FoundObject] = {}
    for candidate in crash.skbs:
        for item in _of_skb(crash, candidate):
            found.setdefault((item.kind, item.address), item)
    hook = found_hook(crash)
    if hook is not None:
        found[hook.kind, hook.address] = hook
    return tuple(found.values())


def _of_skb(crash: Crash, candidate: SkbCandidate) -> Iterator[FoundObject]:
    skb = Object(crash.prog, "struct sk_buff *", candidate.address)
    try:
        found_by = "; ".join((candidate.found_by, *candidate.also))
        yield _found("sk_buff", candidate.address, found_by, decode_skb(skb))
        packet = decode_packet(skb)
        found = _found("packet", packet.network_header, "skb->head + skb->network_header", packet)
        yield replace(found, facts={**found.facts, **_flow(skb, packet)})
    except Unavailable:
        return
    with suppress(Unavailable):  # a packet without a device is still a packet
        yield _found("net_device", int(skb.dev), "skb->dev", decode_net_device(skb.dev))
    try:
        ct, _ctinfo = nf_ct(skb)
        if ct is not None:
            yield _found("nf_conn", int(ct), "skb->_nfct", decode_nf_conn(ct))
    except Unavailable:
        return


def _flow(skb: Object, packet: Packet) -> dict[str, int]:
    # The port of a packet whose transport header is not in the dump, by its conntrack: the
    # flow's, and so the packet's only if that is the original direction. An inference.
    if packet.transport is not None:
        return {}
    try:
        ct, _ctinfo = nf_ct(skb)
        if ct is None:
            return {}
        original = ct.tuplehash[0].tuple
        port = destination_port(original, packet.ip.protocol, packet.destination)
    except Unavailable:
        return {}
    return {"conntrack_destination_port": port}


def _found(kind: str, address: int, found_by: str, facts: DataclassInstance) -> FoundObject:
    plain = {field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)}
    return FoundObject(kind=kind, address=address, found_by=found_by, facts=plain)
