"""A stack that was exhausted or overwritten, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json

_LITTLE = 2048
# Bytes left below which it matters who took the rest.


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render where the stack pointer was, what filled the stack and what its guards say."""
    low, high = bare(section["low"]), bare(section["high"])
    lines = [f"stack pointer {bare(section['sp'])} in {section['place']} (stack {low} to {high})"]
    left = section["left"]
    if left is not None:
        words = f"{-left} bytes past its end" if left < 0 else f"{left} bytes left"
        lines[0] += f": {words}, {section['used']} used"
    if section["cycle"]:
        lines.append(_cycle(section["cycle"]))
    if section["largest"] and (verbose or section["cycle"] or (left or 0) < _LITTLE):
        shown = section["largest"] if verbose else section["largest"][:3]
        lines.append("most stack: " + "; ".join(map(_size, shown)))
    whole = "" if section["complete"] else ", the walk did not reach the first"
    lines.append(f"{section['depth']} frames on it{whole}; {_end(section)}")
    if section["canary"]:
        lines += _canary(section["canary"])
    return labelled("DEPTH", lines)


def _cycle(cycle: Json) -> str:
    names = " < ".join(cycle["functions"])
    size = cycle["bytes_per_round"]
    each = f", {size} bytes a round" if size else ""
    verb = "called itself" if len(cycle["functions"]) == 1 else "called each other"
    guess = " ~ (by the words on the stack)" if cycle["origin"] == "words" else ""
    return f"{names} {verb} {cycle['rounds']} times{each}{guess}"


def _size(one: Json) -> str:
    module = f" [{one['module']}]" if one["module"] else ""
    times = f" in {one['calls']} frames of up to {one['bytes']}" if one["calls"] > 1 else ""
    return f"{one['function']}{module} {one['total']} bytes{times}"


def _end(section: Json) -> str:
    if section["end_intact"] is None:
        return "the word at its end is not in the dump"
    if section["end_intact"]:
        return "the word at its end is intact"
    return f"the word at its end is OVERWRITTEN: {section['end_magic']}"


def _canary(canary: Json) -> list[str]:
    expected, found = bare(canary["expected"]), bare(canary["found"])
    where = f"{canary['function']}'s frame"
    if canary["found"] is None:
        return [f"{where} was found damaged; its canary should be {expected}"]
    lines = [f"{where}: canary at {bare(canary['slot'])} is {found}, should be {expected}"]
    text = _printable(canary["around"])
    if text:
        lines.append(f"what was written over it: {text!r}")
    return lines


def _printable(data: str | None) -> str:
    # The end of the bytes before the canary and it itself, where that is text.
    kept: list[str] = []
    for byte in reversed(bytes.fromhex(data or "")):
        if not 32 <= byte < 127:
            break
        kept.append(chr(byte))
    return "".join(reversed(kept)) if len(kept) >= 8 else ""
