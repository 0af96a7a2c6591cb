"""The title of a report: its kind, and the function it is about."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crashkit.oops.blame import find_blamed
from crashkit.oops.fields import Body
from crashkit.oops.kind import Kind
from crashkit.oops.kinds_checks import LIBRARY_CHECKS, LibraryCheck
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine
from crashkit.oops.skips import compiled

_WORDS = (  # the same thing in the words of other kernel versions
    ("Undefined behaviour", "undefined-behaviour"),
    ("panic_on_warn set ...", "panic_on_warn set"),
)
_OFFSET = LazyPattern(r"\+0x[0-9a-f]{1,16}(?:/0x[0-9a-f]{1,16})?")
_NUMBERS = (  # what differs from boot to boot
    (LazyPattern(r"\b0x[0-9a-f]+\b|\b(?=[a-f\d]*\d)[0-9a-f]{8,16}\b"), "ADDR"),
    (LazyPattern(r"(?<![A-Za-z\d])\d+\b"), "NUM"),
)
_NEAR = 8
_LOCKUP = LazyPattern(r"^BUG: spinlock lockup in ")


def library_check(kind: Kind, found: re.Match[str], body: Body) -> LibraryCheck | None:
    """Find the row of a WARN() that a library makes about its caller."""
    groups = found.groupdict()
    where = groups.get("where")
    if kind.kind != "warning" or not where:
        return None
    function = groups.get("function") or (body.ip.function if body.ip else None) or ""
    for row in LIBRARY_CHECKS:
        if compiled(row.where).search(where) and compiled(row.function).search(function):
            return row
    return None


def make_title(
    kind: Kind, found: re.Match[str], body: Body, lines: Sequence[LogLine]
) -> tuple[str, str | None]:
    """Make the title of a report and name the function it is about.

    :param lines: those after the opening line
    :returns: title and function; function None where none can be named
    """
    words = {key: value or "" for key, value in found.groupdict().items()}
    row = library_check(kind, found, body)
    template = row.title if row else kind.title
    named = words.get("function") or None
    function = find_blamed(kind, named, body, lines, row.skip if row else None)
    words |= {
        "function": function or "",
        "slash_function": f" in {function}" if function not in (None, named) else " in",
        "access": _sanitizer_access(lines) if "{access}" in template else "",
        "next_line": lines[0].text[:80] if lines else "",
    }
    if "{unmounted}" in template:
        words["unmounted"] = " in unmount" if words["unmounted"] else ""
    if "{function_list}" in template:
        words["function_list"] = " in " + _OFFSET.sub("", words["function_list"])
    if "{who}" in template:
        words["who"] = _OFFSET.sub("", words["who"])
    if not function:
        template = template.removesuffix(" in {function}")
    title = template.format_map(words).rstrip().replace(" in/", " in ")
    for printed_, usual in _WORDS:
        title = title.replace(printed_, usual)
    title = _LOCKUP.sub("BUG: spinlock lockup suspected in ", title)
    return _without_numbers(title, template), function


def _without_numbers(title: str, template: str) -> str:
    # Only words taken from the log hold numbers of one boot.
    if "{what}" not in template and "{who}" not in template:
        return title
    for pattern, word in _NUMBERS:
        title = pattern.sub(word, title)
    return title


def _sanitizer_access(lines: Sequence[LogLine]) -> str:
    for line in lines[:_NEAR]:
        for word in ("Read", "Write"):
            if line.text.startswith((f"{word} of size", f"{word} at addr")):
                return f" {word}"
    return ""
