"""One entry of the connection table as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Reason, Unavailable
from crashkit.report.parts import Json, Part, address, had

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table_entry import TableEntry
    from crashkit.decode.conntrack_tuple import ConntrackTuple

FAMILIES = {2: "ipv4", 10: "ipv6"}
LINKED = ((), ("original",), ("reply",), ("original", "reply"))
"""Directions found on a hash chain, by ``Record.linked``."""


def build_entry(entry: TableEntry) -> Json:
    """Build the object of one entry."""
    row, table = entry.row, entry.table
    original, why = had(lambda: entry.original)
    reply, why_reply = had(lambda: entry.reply)
    extensions, why_extensions = had(lambda: entry.extensions)
    clock = table.clock.reason if isinstance(table.clock, Unavailable) else Reason.NOT_APPLICABLE
    part = Part()
    part.put("kind", "entry")
    part.put("address", address(entry.address))
    part.put("lists", list(entry.lists))
    part.put("linked", list(LINKED[entry.record.linked]))
    part.put_address("net", row.net)
    part.put("netns", entry.netns, Reason.CORRUPTED if row.net else Reason.NOT_APPLICABLE)
    part.put("zone", entry.zone)
    part.put("family", FAMILIES.get(row.l3num), Reason.CORRUPTED)
    part.put("protocol", row.protocol)
    part.put("protocol_name", original and original.protocol_name, why)
    part.put("state", entry.state)
    part.put("original", original and build_tuple(original), why)
    part.put("reply", reply and build_tuple(reply), why_reply)
    part.put("nat", entry.translated, Reason.AMBIGUOUS)
    part.put("status", row.status)
    part.put("status_names", list(entry.status_names))
    part.put("use", row.use)
    part.put("timeout", row.timeout)
    part.put("remaining_s", _rounded(entry.remaining), clock)
    part.put("lifetime_s", _rounded(entry.lifetime), clock)
    part.put("mark", row.mark)
    part.put("secmark", row.secmark)
    part.put("master", address(row.master))
    part.put("cpu", row.cpu)
    part.put("extensions", None if extensions is None else dict(extensions), why_extensions)
    part.put("departures", list(entry.departures))
    return part.done()


def build_tuple(tuple_: ConntrackTuple) -> Json:
    """Build the object of one direction, with the keys that ``conntrack -L`` prints."""
    named = {
        "sport": tuple_.source_port,
        "dport": tuple_.destination_port,
        "type": tuple_.icmp_type,
        "code": tuple_.icmp_code,
        "id": tuple_.icmp_id,
        "srckey": tuple_.source_key,
        "dstkey": tuple_.destination_key,
    }
    part = {key: value for key, value in named.items() if value is not None}
    return {"src": tuple_.source, "dst": tuple_.destination, **part}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
