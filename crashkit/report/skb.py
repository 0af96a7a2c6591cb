"""Socket buffers and their packets: the document ``crashkit.skb/1``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from drgn import Object

from crashkit.decode.conntrack import decode_nf_conn
from crashkit.decode.skb import SkBuff, decode_skb
from crashkit.decode.skb_packet import decode_packet
from crashkit.decode.skb_validation import SkbValidation, validate_skb
from crashkit.errors import Reason, Unavailable
from crashkit.report.document import build_limits, envelope
from crashkit.report.json_text import report_schema
from crashkit.report.parts import Json, Part, address, facts, had
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.crash.skb_places import FoundSkb
    from crashkit.decode.skb_queues import QueuedSkb, UnreadQueue

SKB = "crashkit.skb/1"
_TREES = ("rb_fragments", "t_root", "tcp_rtx_queue", "out_of_order_queue")
_SCRATCH = ("sk_receive_queue", "reader_queue")


def build_skb(crash: Crash, found: Sequence[FoundSkb], unread: Sequence[UnreadQueue]) -> Json:
    """Build the document.

    :param found: the skbs to show
    :param unread: queues that were not read, or not to their end
    """
    part = Part()
    part.put("target", build_target(crash))
    part.put("skbs", [build_one(crash, skb) for skb in found])
    part.put("unread", [_unread(queue) for queue in unread])
    part.put("limits", build_limits(crash.limits))
    return {**envelope(SKB), **part.done()}


def skb_lines(
    crash: Crash, found: Sequence[FoundSkb], unread: Sequence[UnreadQueue]
) -> Iterator[str]:
    """Yield the document as JSON Lines: one for each skb, then one for each unread queue."""
    for skb in found:
        yield json.dumps({"schema": SKB, "kind": "skb", **build_one(crash, skb)})
    for queue in unread:
        yield json.dumps({"schema": SKB, "kind": "unread", **_unread(queue)})


def build_one(crash: Crash, found: FoundSkb) -> Json:
    """Build the entry of one skb; what cannot be read of it is null, with the reason."""
    skb = Object(crash.prog, "struct sk_buff *", found.address)
    part = Part()
    part.put("address", address(found.address))
    part.put("queues", [_place(place) for place in found.queues])
    part.put("stacks", [facts(place) for place in found.stacks])
    part.put("found_by", list(found.found_by))
    decoded, why = had(lambda: _decoded(skb, found))
    part.put("skb", None if decoded is None else facts(decoded), why)
    packet, why = had(lambda: decode_packet(skb))
    part.put("packet", None if packet is None else facts(packet), why)
    validation, why = had(lambda: _validated(skb, found))
    part.put("validation", None if validation is None else facts(validation), why)
    part.put("plausible", None if validation is None else validation.plausible, why)
    conntrack = decoded.conntrack if decoded is not None else None
    if conntrack:
        entry = Object(crash.prog, "struct nf_conn *", conntrack)
        ct, why = had(lambda: decode_nf_conn(entry))
        part.put("conntrack", None if ct is None else facts(ct), why)
    else:
        part.put("conntrack", None)
    return part.done()


def _without_device(found: FoundSkb) -> Unavailable | None:
    # skb->dev shares its bytes with rbnode and dev_scratch (include/linux/skbuff.h): in a tree,
    # and in a UDP socket's queue, they are not a device.
    for place in found.queues:
        if place.queue in _TREES or (place.queue in _SCRATCH and "UDP" in place.owner_name):
            return Unavailable("skb->dev", Reason.NOT_APPLICABLE, f"overwritten in {place.queue}")
    return None


def _decoded(skb: Object, found: FoundSkb) -> SkBuff:
    decoded, why = decode_skb(skb), _without_device(found)
    if why is None:
        return decoded
    absent = {**decoded.absent, "device": why, "device_name": why}
    return replace(decoded, device=None, device_name=None, absent=absent)


def _validated(skb: Object, found: FoundSkb) -> SkbValidation:
    validation, why = validate_skb(skb), _without_device(found)
    if why is None:
        return validation
    absent = {**validation.absent, "device_named": why, "device_registered": why}
    return replace(validation, device_named=None, device_registered=None, absent=absent)


def _place(place: QueuedSkb) -> Json:
    entry: Json = facts(place)
    return {**entry, "owner": address(place.owner)}


def _unread(queue: UnreadQueue) -> Json:
    return {
        "place": queue.place,
        "queue": queue.queue,
        "reason": queue.reason.value,
        "detail": queue.detail,
    }


def skb_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``crashkit.skb/1``; its parts are those of the report."""
    text = resources.files("crashkit.report").joinpath("skb_schema.json").read_text("utf-8")
    return {**json.loads(text), "$defs": report_schema()["$defs"]}
