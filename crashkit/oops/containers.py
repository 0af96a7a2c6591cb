"""The shapes in which a kernel log reaches us, undone: only what concerns more than one line."""

from __future__ import annotations

import re
from itertools import islice, pairwise

from crashkit.oops.lazy import LazyPattern

Part = tuple[int, int, int]
"""Lines from, to (not included), and the number of the first one in the text as given."""

MAX_PARTS = 4096
"""Parts of pstore records that are put in order; a record has a few dozen."""

_ESCAPE = LazyPattern(r"\x1b(?:\[[0-9;?]{0,16}[A-Za-z]|[()][A-Z0-9]|[=>78cM])")
_LEFTOVER = LazyPattern(r"\[(?:\d{1,3}(?:;\d{1,3}){0,4})?m")
# Colours of a terminal, pasted where the escape character itself is lost.
_STAMP = LazyPattern(r"\[ {0,6}\d{1,9}\.\d{6}\](?:\[ {0,6}[TC]\d{1,9}\])? ")
_NUMBERS = LazyPattern(r"(?:\d{1,5} ){2,}$")
_FEW = 3
_PSTORE = LazyPattern(
    r"^(?:Panic|Oops|Emergency|Restart|Shutdown|Halt|Poweroff|Unknown)#(\d{1,6}) Part(\d{1,6})\s*$",
    re.MULTILINE,
)


def arranged(text: str, longest: int) -> tuple[str, list[Part]]:
    """Undo what carried a log here.

    Terminal escapes and carriage returns go, a log pasted into one line gets its lines
    back, and the parts of a pstore record come in the order they were printed.

    :param longest: characters of the longest line that a kernel prints
    :returns: the text, and where its parts were before; no parts: nothing was moved
    """
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if "[0m" in text:
        text = _LEFTOVER.sub("", text)
    if "\r" in text:
        text = text.replace("\r", "")
    text = unfolded(text, longest)
    return in_order(text) if "Part" in text else (text, [])


def unfolded(text: str, longest: int) -> str:
    """Give the lines of a log back that somebody pasted into one.

    A line longer than any the kernel prints that has several time stamps is cut before each;
    the line numbers of a listing, which such pastes begin with, are dropped.
    """
    if len(text) <= longest:
        pieces = [text] if text.count("\n") < _FEW else []
        if not pieces:
            return text
    elif not _has_longer(text, longest):
        return text
    kept = [_cut(line) if len(line) > longest or len(text) <= longest else line
            for line in text.split("\n")]  # fmt: skip
    return "\n".join(kept)


def _has_longer(text: str, longest: int) -> bool:
    # Jumps from line end to line end, and over whole lines where it can.
    start = 0
    while len(text) - start > longest:
        end = text.rfind("\n", start, start + longest + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def _cut(line: str) -> str:
    stamps = [found.start() for found in _STAMP.finditer(line)]
    if len(stamps) < _FEW:
        return line
    head = line[: stamps[0]]
    kept = [] if _NUMBERS.fullmatch(head) or not head.strip() else [head.rstrip()]
    parts = [line[start:end].rstrip() for start, end in pairwise([*stamps, len(line)])]
    return "\n".join([*kept, *parts])


def in_order(text: str) -> tuple[str, list[Part]]:
    """Put the parts of pstore records in the order they were printed.

    fs/pstore/platform.c: pstore_dump() writes the newest lines first, as part 1.
    """
    heads = list(islice(_PSTORE.finditer(text), MAX_PARTS + 1))
    if len(heads) > MAX_PARTS:
        return text, []
    numbers = [(int(head[1]), int(head[2])) for head in heads]
    wanted = sorted(range(len(heads)), key=lambda index: (numbers[index][0], -numbers[index][1]))
    if wanted == list(range(len(heads))):
        return text, []
    bounds = [0, *(head.start() for head in heads), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    firsts = [0]
    for piece in pieces:
        firsts.append(firsts[-1] + piece.count("\n"))
    moved: list[str] = []
    parts: list[Part] = []
    line = 0
    for index in (0, *(number + 1 for number in wanted)):
        piece = pieces[index]
        if piece and not piece.endswith("\n"):
            piece += "\n"
        lines = piece.count("\n")
        parts.append((line, line + lines, firsts[index]))
        moved.append(piece)
        line += lines
    return "".join(moved), parts
