"""Lines that a mail program or a terminal broke in two, made whole.

Only where both halves say so: what the first lacks is what the second begins with, and the
second has no time stamp of its own.
"""

from __future__ import annotations

import re
from dataclasses import replace

from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine

_HEX_BYTES = LazyPattern(r"(?:[0-9a-f] )?(?:[<(]?[0-9a-f]{2}[>)]? ?){1,160}$")
_HALF_BYTE = LazyPattern(r"(?:^|\s)[0-9a-f]$")
_MODULES = LazyPattern(
    r"[\w-]{1,64}(?:\([A-Z+-]{1,8}\))?(?: [\w-]{1,64}(?:\([A-Z+-]{1,8}\))?){0,400}"
    r"(?: ?\[last unloaded:.{0,200})?$|\[last unloaded:.{0,200}$"
)
_SYMBOL = LazyPattern(r"(?:\? )?[A-Za-z_.][\w.]{0,200}\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}")
_REST_OF_WHO = LazyPattern(r"\d{0,8} ?(?:UID: \d{1,10} )?(?:PID: \d{1,9} )?Comm: ")
_RELEASE = LazyPattern(r"\(?\d{1,2}\.\d{1,3}[\w.+~-]{0,80}\)? #\d")
_NUMBER = LazyPattern(r"[0-9a-f]{8}(?:[0-9a-f]{8})?\b")
_CUT_WHO = LazyPattern(r"\bCPU: {1,2}\d{1,5}(?: PID:(?: {1,2}\d{0,8})?| UID: \d{1,10}(?: PID:)?)?$")
_CUT_TAINT = LazyPattern(r"\b[Cc]omm: .{1,64}(?:Not tainted|Tainted: [A-Z ]{1,60})$")
_CUT_ADDRESS = LazyPattern(r"(?:^|IP: .{0,40})\s{0,4}\[<[0-9a-f]{8,16}>\](?: \?)?$")
_CUT_REGISTER = LazyPattern(r"\b(?:[ER]?[A-D]X|[ER]?[SD]I|[ER]?[BSI]P|R\d\d|CR\d): ?$")
_MAX_JOINED = 2048


def unwrapped(lines: list[LogLine]) -> list[LogLine]:
    """Join the halves of broken lines; everything else stays as it is."""
    made: list[LogLine] = []
    for line in lines:
        if made and line.time is None and line.text:
            whole = _joined(made[-1].text, line.text.strip())
            if whole is not None and len(whole) <= _MAX_JOINED:
                made[-1] = replace(made[-1], text=whole)
                continue
        made.append(line)
    return made


def _joined(first: str, second: str) -> str | None:
    # None where they are two lines.
    last = first[-1:]
    if first.startswith(("Code: ", "Modules linked in:")):
        return _longer_list(first, second)
    if last == ":" or last.isdigit():
        if "CPU: " in first and _CUT_WHO.search(first) and _REST_OF_WHO.match(second):
            return first + ("" if second[0].isdigit() and last.isdigit() else " ") + second
        if last == ":" and _CUT_REGISTER.search(first) and _NUMBER.match(second):
            return f"{first} {second}"
    elif last in "]?":
        if "[<" in first and _CUT_ADDRESS.search(first) and _SYMBOL.match(second):
            return f"{first} {second}"
    elif "ainted" in first and _CUT_TAINT.search(first) and _RELEASE.match(second):
        return f"{first} {second}"
    return None


def _longer_list(first: str, second: str) -> str | None:
    if first.startswith("Code: "):
        if not _HEX_BYTES.match(second):
            return None
        inside = _HALF_BYTE.search(first) and re.match(r"[0-9a-f] ", second)
        return first + ("" if inside else " ") + second
    return f"{first} {second}" if _MODULES.match(second) else None
