"""What changed between two dumps, as text: what stands out first, then part by part."""

from __future__ import annotations

import math
import posixpath

from crashkit.report.columns import WIDTH, labelled, wrap
from crashkit.report.diff_words import also, rate, row_words, signed
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json
from crashkit.report.text_banner import uptime

_SHOWN = 8
"""Rows of a part without -v."""
_FAINT = 200
"""Growth in bytes that is so much smaller than the largest is named with -v only."""
_NOISE = 3
"""Counts that grew by fewer square roots of themselves are named with -v only."""
_NAME = 34
_SHOWN_ALWAYS = ("title", "taint", "release")
_PANIC = ("title", "kind", "comm", "stack_key")


def render_diff(document: Json, verbose: int = 0) -> str:
    """Render the document as text.

    :param verbose: 1 shows every row and every fact
    """
    document = safe_tree(document)
    rates = bool(document["order"]["elapsed_s"])
    blocks = [
        _head(document),
        _grew(document, verbose),
        _facts(document, verbose),
        _modules(document),
        *(_section(section, verbose, rates) for section in document["sections"]),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _head(document: Json) -> list[str]:
    lines = [_side("BEFORE", document["before"]), _side("AFTER", document["after"])]
    order = document["order"]
    if order["same_boot"]:
        elapsed = order["elapsed_s"]
        apart = "" if elapsed is None else f"{elapsed:,.1f} s apart, "
        lines.append(f"       {apart}one boot: {order['same_boot_why']}")
    for side in ("before", "after"):
        for warning in document[side]["warnings"]:
            lines += wrap(f"{side}: {warning}", WIDTH, " " * 7)
    for warning in document["warnings"]:
        lines += wrap(warning, WIDTH, " " * 7, "NOTE   ")
    return lines


def _side(label: str, side: Json) -> str:
    target = side["target"]
    date = (target["crash_time"] or "date unknown").replace("T", " ").replace("Z", " UTC")
    name = posixpath.join(
        posixpath.basename(posixpath.dirname(target["path"])), posixpath.basename(target["path"])
    )
    return f"{label:<7}{name} ({side['named']}): {date}, up {uptime(target['uptime_s'])}"


def _grew(document: Json, verbose: int) -> list[str]:
    if not document["sections"]:
        return []
    grew = document["grew"]
    shown = [one["words"] for one in grew if verbose or _stands_out(one, document)]
    if len(shown) < len(grew):
        shown.append(f"{len(grew) - len(shown)} more that do not stand out (-v)")
    return labelled("GREW", shown) if shown else ["GREW   nothing that is known of both"]


def _stands_out(one: Json, document: Json) -> bool:
    # Beside a leak of gigabytes the noise of all the rest is not worth a line.
    if one["by"] == "count":
        return bool(one["change"] >= _NOISE * math.sqrt((one["before"] or 0) + 1))
    most = max(other["change"] for other in document["grew"] if other["by"] == "bytes")
    return bool(one["change"] * _FAINT >= most)


def _facts(document: Json, verbose: int) -> list[str]:
    lines = []
    for fact in document["facts"]:
        same, known = fact["same"], (fact["before"], fact["after"])
        if same and (verbose or fact["key"] in _SHOWN_ALWAYS):
            words = f"{fact['before']} (both)"
        elif same is False and (verbose or fact["key"] not in ("crash_time", "uptime", "booted")):
            words = f"{fact['before']} -> {fact['after']}"
        elif same is None and (verbose or (any(known) and fact["key"] in _PANIC)):
            words = " -> ".join(value or f"? ({_reason(fact)})" for value in known)
        else:
            continue
        lines += wrap(words, WIDTH, " " * 15, f"{fact['name']:>13}: ")
    return lines


def _reason(fact: Json) -> str:
    return str(next(iter(fact["absent"].values())))


def _modules(document: Json) -> list[str]:
    modules = document["modules"]
    if modules is None:
        return [f"MODULES  not known of one of them ({document['absent']['modules']})"]
    lines = [f"MODULES  {modules['both']} in both"]
    for label, key in (("new", "only_after"), ("gone", "only_before")):
        if modules[key]:
            lines += wrap(", ".join(modules[key]), WIDTH, " " * 15, f"         {label:<5} ")
    return lines


def _section(section: Json, verbose: int, rates: bool) -> list[str]:
    unread, rows, title = section["unread"], section["rows"], section["title"]
    hidden = len(unread) == 2 and _same_reason(unread)
    if not verbose and (hidden or not (rows or unread or section["incomplete"])):
        return []
    differing = [row for row in rows if row["differs"]]
    comparable = section["nature"] != "since-boot" or any(map(_is_known, rows))
    shown = rows if verbose else _largest(differing) if comparable else []
    lines = _unread(section)
    width = min(max((len(row["name"]) for row in shown), default=0), _NAME)
    for row in shown:
        words = row_words(row, "", tuple(unread))
        if section["nature"] == "setting":
            lines += wrap(f"{row['name']}: {words}", WIDTH, " " * 9, " " * 7)
        else:
            words = f"{row['name']:<{width}}  {words}{_beside(row, verbose)}"
            lines += _row(row, words, rates=rates)
    words = _summary(section, differing, shown, comparable)
    noun = f" ({section['noun']})" if section["noun"] not in title.lower() else ""
    return [f"{title}{noun}  {words}".rstrip(), *lines]


def _largest(rows: list[Json]) -> list[Json]:
    # In the order they have.
    keys = {row["key"] for row in sorted(rows, key=_size_of_change, reverse=True)[:_SHOWN]}
    return [row for row in rows if row["key"] in keys]


def _is_known(row: Json) -> bool:
    return any(number["change"] is not None for number in row["numbers"].values())


def _same_reason(unread: Json) -> bool:
    return bool(
        unread["before"] == unread["after"] and unread["before"]["reason"] == "not-applicable"
    )


def _summary(section: Json, differing: list[Json], shown: list[Json], comparable: bool) -> str:
    words = []
    if section["nature"] == "since-boot":
        words.append("since boot")
    if not comparable:
        words.append(f"not known to be of one boot, so not compared: {len(section['rows'])}")
        return ", ".join([*words, *(() if shown else ["shown with -v"])])
    if section["rows"]:
        unknown = sum(1 for row in differing if row["numbers"] and not _is_known(row))
        words.append(f"{len(differing) - unknown} of {len(section['rows'])} differ")
        words += [f"{unknown} not known of both"] if unknown else []
    rest = len(differing) - sum(1 for row in shown if row["differs"])
    if rest:
        words.append(f"{rest} of them not shown (-v)")
    return ", ".join(words)


def _unread(section: Json) -> list[str]:
    lines = []
    for side, why in section["unread"].items():
        lines += wrap(f"{side}: not read: {_why(why)}", WIDTH, " " * 9, " " * 7)
    for side, why in section["incomplete"].items():
        least = "; its numbers are lower bounds" if side in section["at_least"] else ""
        lines += wrap(f"{side}: not read to the end{least}: {_why(why)}", WIDTH, " " * 9, " " * 7)
    return lines


def _why(why: Json) -> str:
    return f"{why['detail']} ({why['reason']})"


def _leading(row: Json) -> tuple[str, Json]:
    # The number that stands at the beginning of the line.
    quantity = next(key for key in ("bytes", "count", "room") if key in row["numbers"])
    return quantity, row["numbers"][quantity]


def _size_of_change(row: Json) -> float:
    # What is known of one only counts in full.
    if not row["numbers"]:
        return 0.0
    number = _leading(row)[1]
    if number["change"] is not None:
        return float(abs(number["change"]))
    return float(abs(number["before"] or number["after"] or 0))


def _beside(row: Json, verbose: int) -> str:
    words = also(row["aliases"], 1000 if verbose else 2)
    if row["only"] is not None:
        words += " (new)" if row["only"] == "after" else " (gone)"
    return words + (f" ({row['note']})" if row["note"] else "")


def _row(row: Json, words: str, *, rates: bool) -> list[str]:
    if not row["numbers"]:
        return []
    quantity, number = _leading(row)
    start = f"{signed(number['change'], quantity):>12}  "
    if rates:
        start += f"{rate(number, quantity):>13}  "
    return wrap(words, WIDTH, " " * (len(start) + 2), start)
