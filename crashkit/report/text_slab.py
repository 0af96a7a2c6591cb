"""A damaged slab object, as text."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render the object, the bytes that differ, and who had it."""
    report = section["report"]
    names = "".join(f", {name}" for name in report["aliases"][:3])
    cache = f"{report['cache_name']}{names} ({report['object_size']} bytes)"
    where = f"object {bare(report['object'])} of {cache}"
    lines = [section["what"], f"{where}, {_state(section)}, by {_origin(section)}"]
    if section["double_free"]:
        lines.append("it is on a free list while it is freed: freed twice")
    for area in report["areas"]:
        lines += _differences(area, report)
    if section["printed_bytes"] and section["corroborated"] is not True:
        words = f"the log says {section['printed_bytes']}; in memory they are right now"
        lines.append(f"CONFLICT: {words}")
    lines += _tracks(report, verbose)
    if verbose or not report["tracks"]:
        lines += _neighbours(report)
    if not report["debug"]:
        lines.append("who freed it first: not recorded (slub_debug=U keeps that)")
    return labelled("SLAB", lines)


def _origin(section: Json) -> str:
    words = {"register": "a register, the only one with a free object's start ~"}
    return words.get(section["origin"], f"the {section['origin']}")


def _state(section: Json) -> str:
    allocated = section["report"]["allocated"]
    if allocated and section["what"].startswith("Poison"):
        # alloc_debug_processing() checks it when it has left the free list.
        return "on its way from the free list to whoever asked"
    return {True: "allocated", False: "free", None: "allocated or free: not told"}[allocated]


def _differences(area: Json, report: Json) -> Iterator[str]:
    for one in area["differences"]:
        offset = one["offset"]
        size = report["object_size"]
        if offset < 0:
            place = f"{-offset} bytes before the object"
        elif offset >= size:
            place = f"{offset - size} bytes after its end" if offset > size else "at its end"
        else:
            place = f"offset {offset}"
        found = one["found"] if len(one["found"]) <= 32 else one["found"][:32] + "..."
        text = f" {one['text'][:32]!r}" if one["text"] else ""
        count = f"{one['length']} byte{'s' * (one['length'] > 1)}"
        yield f"{area['name']}, {place}: {count} {found}{text} instead of {one['expected']:#04x}"


def _tracks(report: Json, verbose: int) -> Iterator[str]:
    for track in report["tracks"]:
        age = f", {track['age_s']} s before the dump" if track["age_s"] is not None else ""
        # Of an object in use that is its user before.
        before = " (before it was allocated)" * (track["what"] == "freed" and _in_use(report))
        by = f"{track['what']}{before} by {track['caller'] or bare(track['address'])}"
        stack = track["stack"] if verbose else track["stack"][:5]
        below = f": {' < '.join(stack)}" if stack else ""
        yield f"{by}, pid {track['pid']}, CPU {track['cpu']}{age}{below}"


def _in_use(report: Json) -> bool:
    ages = {track["what"]: track["age_s"] for track in report["tracks"]}
    freed, allocated = ages.get("freed"), ages.get("allocated")
    if report["allocated"] is not True or freed is None or allocated is None:
        return False
    return bool(freed > allocated)


def _neighbours(report: Json) -> Iterator[str]:
    words = {True: "allocated", False: "free", None: "allocated or free"}
    told = [
        f"{one['where']} it {bare(one['address'])} ({words[one['allocated']]})"
        for one in report["neighbours"]
    ]
    untold = any(one["allocated"] is None for one in report["neighbours"])
    why = "; the free list ends early or is damaged" if untold else ""
    if told:
        yield "objects of the cache: " + ", ".join(told) + why
