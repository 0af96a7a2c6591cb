"""Entries of the connection table as ``conntrack -L`` prints them.

What such a line has no words for stands behind it: marks in capitals for whatever is
unusual, and the namespace where it is not the first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from crashkit.errors import Unavailable
from crashkit.report.columns import WIDTH, wrap
from crashkit.report.escape import safe
from crashkit.report.parts import Json

if TYPE_CHECKING:
    from crashkit.decode.conntrack_expectations import Expectation
    from crashkit.decode.conntrack_table_entry import TableEntry

_UNSHOWN = ("hash",)
_OFFLOADS = {"HW_OFFLOAD": "HW_OFFLOAD", "OFFLOAD": "OFFLOAD"}


def render_entry(entry: TableEntry, verbose: int = 0) -> str:
    """Render one entry as a line, without its newline."""
    words = [f"{_protocol_name(entry):<8}", str(entry.row.protocol), _timeout(entry)]
    if entry.state is not None:
        words.append(entry.state)
    extensions, missing = _extensions(entry)
    accounts = extensions.get("acct")
    words += _way(entry, "original", accounts)
    if not entry.replied:
        words.append("[UNREPLIED]")
    words += _way(entry, "reply", accounts)
    words += [*_status(entry), *_marks(entry), *_more(entry, extensions)]
    words += _outside(entry, missing, verbose)
    return safe(" ".join(words))


def _protocol_name(entry: TableEntry) -> str:
    try:
        name = entry.original.protocol_name
    except Unavailable:
        return "unknown"
    return "unknown" if name.isdecimal() else name


def _timeout(entry: TableEntry) -> str:
    seconds = entry.remaining if entry.confirmed else entry.lifetime
    return "?" if seconds is None else str(max(0, int(seconds)))


def _extensions(entry: TableEntry) -> tuple[Mapping[str, object], bool]:
    try:
        return entry.extensions, False
    except Unavailable:
        return {}, True


def _way(entry: TableEntry, way: str, accounts: object) -> list[str]:
    # src=… dst=… sport=… dport=…, and what was counted in this direction.
    try:
        tuple_ = entry.original if way == "original" else entry.reply
    except Unavailable:
        return [f"{way}=?"]
    words = tuple_.text.split(" ")[1:]
    counted = accounts.get(way) if isinstance(accounts, Mapping) else None
    if isinstance(counted, Mapping):
        words += [f"packets={counted['packets']}", f"bytes={counted['bytes']}"]
    return words


def _status(entry: TableEntry) -> list[str]:
    names = entry.status_names
    for name, shown in _OFFLOADS.items():
        if name in names:
            return [f"[{shown}]"]
    return ["[ASSURED]"] if entry.assured else []


def _marks(entry: TableEntry) -> Iterator[str]:
    if entry.row.mark is not None:
        yield f"mark={entry.row.mark}"
    if entry.row.secmark:
        yield f"secmark={entry.row.secmark}"


def _more(entry: TableEntry, extensions: Mapping[str, object]) -> Iterator[str]:
    if extensions.get("helper"):
        yield f"helper={extensions['helper']}"
    if entry.zone:
        yield f"zone={entry.zone}"
    yield f"use={entry.row.use}"
    labels = extensions.get("labels")
    if isinstance(labels, list) and labels:
        yield f"labels={','.join(map(str, labels))}"


def _outside(entry: TableEntry, missing: bool, verbose: int) -> Iterator[str]:
    for name in (*entry.lists, *entry.departures):
        if name not in _UNSHOWN:
            yield f"[{name.upper()}]"
    if missing:
        yield "[EXTENSIONS-NOT-READ]"
    if entry.row.net != entry.table.init_net:
        yield f"netns={'?' if entry.netns is None else entry.netns}"
    if verbose:
        yield f"nf_conn={entry.address:#x}"


def render_expectation(expectation: Expectation, verbose: int = 0) -> str:
    """Render one expectation as ``conntrack -L expect`` does, without its newline."""
    remaining = expectation.remaining
    words = ["?" if remaining is None else str(max(0, int(remaining)))]
    if expectation.tuple is not None:
        words += [f"proto={expectation.tuple.protocol}", *expectation.tuple.text.split(" ")[1:]]
    if expectation.helper:
        words.append(f"helper={expectation.helper}")
    words.append("[EXPECTED]")
    if verbose:
        words.append(f"nf_conntrack_expect={expectation.address:#x}")
    return safe(" ".join(words))


def render_summary(summary: Json) -> list[str]:
    """Render what stands at the end: how many there were, and what is missing or unusual."""
    counts = ", ".join(f"{count} {name}" for name, count in summary["shown"].items())
    total, found = sum(summary["shown"].values()), sum(summary["found"].values())
    of = f" of {found}" if found != total else ""
    lines = [f"{total}{of} entries shown" + (f": {counts}" if counts else "")]
    if len(summary["namespaces"]) > 1:
        counts = ", ".join(
            f"{n['entries']} in {'?' if n['netns'] is None else n['netns']}"
            for n in summary["namespaces"]
        )
        lines.append(f"namespaces: {counts}")
    for net in summary["namespaces"]:
        if net["account"]:
            name = net["net"] if net["netns"] is None else net["netns"]
            lines.append(f"namespace {name}: {net['account']}")
    if summary["departures"]:
        items = (f"{count} {name}" for name, count in summary["departures"].items())
        lines.append(f"unusual: {', '.join(items)}")
    for table in summary["tables"]:
        for kind, count in table["damage"].items():
            lines.append(f"damaged table at {table['address']}: {kind} ({count})")
    if summary["resizing"]:
        lines.append("the table was being resized: entries may hang in chains of the other size")
    lines += [f"{limit['what']}: {limit['reason']}" for limit in summary["limits"]]
    return [safe(line) for line in lines]


def render_explanation(document: Json) -> str:
    """Render what one entry's state means."""
    entry = document["entry"]
    lines = [f"NF_CONN  {entry['address']}  {document['identity']}", f"         {document['line']}"]
    linked = ", ".join(f"{way} {place}" for way, place in document["linked"].items())
    lines.append(f"LINKED   {linked}")
    lines += [*(f"HELD BY  {holder}" for holder in document["holders"]), ""]
    for sentence in document["sentences"]:
        lines += wrap(sentence, WIDTH)
    return "\n".join(safe(line) for line in lines) + "\n"
