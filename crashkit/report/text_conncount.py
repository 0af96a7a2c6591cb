"""connlimit as text: what it holds, how this kernel collects, every rule with its lists."""

from __future__ import annotations

import math

from crashkit.report.columns import WIDTH, bare, wrap
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json

_LISTS = 20
"""Lists of a rule that are shown without -v."""
_INDENT = " " * 11


def render_conncount(document: Json, verbose: int = 0) -> str:
    """Render the document.

    :param verbose: from 1 on with every list, and when the entries were added
    """
    document = safe_tree(document)
    if not document["loaded"]:
        lines = ["nf_conncount is not loaded: this kernel counts no connections."]
    else:
        lines = [*_head(document)]
        for counted in document["counted"]:
            lines += ["", *_counted(counted, document["clock"]["hz"], verbose)]
    for entry in document["limits"]:
        lines.append(f"({entry['what']})")
    return "\n".join(lines) + "\n"


def _row(label: str, text: str) -> list[str]:
    return wrap(text, WIDTH, _INDENT, f"{label:<11}")


def _known(value: object) -> str:
    return "?" if value is None else str(value)


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _percent(share: float | None) -> str:
    # Rounded down: not quite all is never 100 %.
    return "?" if share is None else f"{math.floor(1000 * share) / 10:.1f} %"


def _kib(size: int | None) -> str:
    return "?" if size is None else f"{size >> 10} KiB"


def _head(document: Json) -> list[str]:
    totals, clock = document["totals"], document["clock"]
    share = (
        totals["stale"] / totals["entries"]
        if totals["entries"] and totals["stale"] is not None
        else None
    )
    lines = _row(
        "CONNLIMIT",
        f"{_some(totals['rules'], 'rule')}, {_some(totals['lists'], 'list')},"
        f" {_known(totals['entries'])} entries;"
        f" {_known(totals['stale'])} of them ({_percent(share)}) have no connection",
    )
    lines += _row("COLLECTS", _collection(document["collection"]))
    lines += _row(
        "CLOCK",
        f"HZ {_known(clock['hz'])} (from {_known(clock['hz_source'])}), jiffies {clock['jiffies']}",
    )
    return lines + _memory(document["memory"], totals)


def _collection(collection: Json) -> str:
    fixed = {True: "yes", False: "no", None: "not decided"}[collection["has_fix"]]
    how = f": {collection['how']}" if collection["how"] else ""
    return f"{collection['when']}; fix {collection['fix']} in this kernel: {fixed}{how}"


def _memory(memory: Json, totals: Json) -> list[str]:
    text = (
        f"{_kib(totals['bytes'])} in entries: {_percent(totals['share_of_slab'])} of the slabs'"
        f" {_kib(memory['slab'])}, {_percent(totals['share_of_memory'])} of"
        f" {_kib(memory['total'])}; {_kib(memory['free'])} free"
    )
    lines = _row("MEMORY", text)
    for cache in memory["caches"]:
        names = ", ".join([_known(cache["name"]), *(cache["aliases"] or [])])
        lines += _row(
            "",
            f"{cache['variable']} {bare(cache['cache'])}: {_known(cache['object_size'])} bytes,"
            f" {_known(cache['slabs'])} slabs, {_kib(cache['slab_bytes'])}, named {names}",
        )
    if totals["growth_bytes_per_s"]:
        rate = totals["growth_bytes_per_s"]
        lines += _row("", f"~ grows by {_kib(rate)} a second while entries come as they did")
    return lines


def _counted(counted: Json, hz: int | None, verbose: int) -> list[str]:
    lines = []
    for rule in counted["rules"]:
        lines += _row("RULE", rule["text"])
        place = f"{rule['family']} {rule['table']} {rule['chain']} #{rule['number']}"
        lines += _row(
            "",
            f"{place} ({rule['kind']}), limit {rule['limit']}, {_known(rule['packets'])} packets"
            f" came to its end; namespace {bare(counted['net'])}, at {bare(counted['address'])}",
        )
    if not counted["rules"]:
        at = f"{bare(counted['address'])}, namespace {bare(counted['net'])}"
        lines += _row("RULE", f"not found, only its object at {at}")
    if counted["lists"] is None:
        return [*lines, f"{_INDENT}(its lists cannot be read: {counted['absent']['lists']})"]
    shown = counted["lists"] if verbose else counted["lists"][:_LISTS]
    if shown:
        lines.append(
            _columns("LIST", "KEY", "ENTRIES", "COUNT", "STALE", "AGE", ">9/TICKS", "MOST")
        )
    for held in shown:
        lines += _list(held, hz, verbose)
    hidden = len(counted["lists"]) - len(shown)
    return [*lines, f"  and {hidden} shorter lists (-v shows them)"] if hidden else lines


def _columns(*cells: str) -> str:
    widths = (16, 24, 8, 8, 8, 13, 9, 4)
    left = (f"{cell:<{width}}" for cell, width in zip(cells[:2], widths[:2], strict=True))
    right = (f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True))
    return "  " + " ".join((*left, *right))


def _list(held: Json, hz: int | None, verbose: int) -> list[str]:
    ticks = held["ticks"]
    key = held["key_text"] or " ".join(word.removeprefix("0x") for word in held["key"]) or "-"
    age = f"{_short(ticks['oldest'], hz)}-{_short(ticks['newest'], hz)} s" if ticks else "?"
    crowded = f"{ticks['crowded']}/{ticks['ticks']}" if ticks else "?"
    lines = [
        _columns(
            bare(held["address"]), key, _known(held["length"]), _known(held["count"]),
            _known(held["stale"]), age, crowded, _known(ticks and ticks["most"]),
        )
    ]  # fmt: skip
    lines += [
        f"      {name}: {held['absent'][name]}"
        for name in ("length", "stale", "count")
        if held[name] is None
    ]
    if verbose and ticks:
        lines += _histogram(ticks)
        lines.append(f"      last collection {_age(held['last_gc_age'], hz)} before the dump")
    return lines


def _histogram(ticks: Json) -> list[str]:
    return [
        f"      {row['from']:>6} to {row['to']:<6} entries a tick: {row['ticks']:>6} ticks,"
        f" {row['entries']:>8} entries"
        for row in ticks["histogram"]
    ]


def _short(ticks: int, hz: int | None) -> str:
    return "?" if hz is None else f"{ticks / hz:.1f}"


def _age(ticks: int | None, hz: int | None) -> str:
    if ticks is None:
        return "?"
    return f"{ticks} ticks" if hz is None else f"{ticks / hz:.2f} s"
