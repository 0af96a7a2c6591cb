"""Kernel log text as lines: prefixes stripped, sizes bounded, lines cut on demand."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

MAX_TEXT = 64 << 20
"""Characters of a log that are looked at; the last ones, where a crash is reported."""

MAX_LINE = 2048
"""Characters of one line that are looked at (printk's own limit is 1024)."""

_SYSLOG = re.compile(r"(?:\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S{8,24}) \S{1,64} kernel: ?")
_KMSG = re.compile(r"\d{1,4},\d{1,12},\d{1,16},[^;\n]{1,64};")  # /dev/kmsg
_PREFIX = re.compile(
    r"(?:<\d{1,4}>)?"  # printk level
    r"(?:\[ {0,6}(?P<time>\d{1,9}\.\d{1,9})\] ?)?"
    r"(?:\[ {0,6}(?P<caller>[TC]\d{1,9})\] ?)?"  # CONFIG_PRINTK_CALLER
)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a kernel log without its prefix."""

    text: str
    time: float | None
    """Seconds since boot; None where the line has no time stamp."""
    caller: str | None
    """``T<pid>`` or ``C<cpu>`` of CONFIG_PRINTK_CALLER."""


class LogText:
    """A kernel log whose lines are cut out and stripped only when asked for."""

    def __init__(self, text: str) -> None:
        self.text = unfolded(text[-MAX_TEXT:])
        self._starts = [0, *(found.end() for found in re.finditer("\n", self.text))]

    def __len__(self) -> int:
        return len(self._starts)

    def line_at(self, position: int) -> int:
        """Give the number of the line that holds a character."""
        return bisect_right(self._starts, position) - 1

    def line(self, number: int) -> LogLine:
        """Give line ``number`` (from 0), at most ``MAX_LINE`` characters of it."""
        start = self._starts[number]
        end = self._starts[number + 1] - 1 if number + 1 < len(self._starts) else len(self.text)
        return strip_prefix(self.text[start : min(end, start + MAX_LINE)])

    def lines(self, start: int, end: int) -> list[LogLine]:
        """Give lines ``start`` to ``end``, the last not included."""
        return [self.line(number) for number in range(max(0, start), min(end, len(self)))]


_STAMP = re.compile(r"\[ {0,6}\d{1,9}\.\d{6}\] ")
_NUMBERS = re.compile(r"(?:\d{1,5} ){2,}$")
_FEW = 3


def unfolded(text: str) -> str:
    """Give the lines of a log back that somebody pasted into one.

    A line longer than any the kernel prints that has several time stamps is cut before each;
    the line numbers of a listing, which such pastes begin with, are dropped.
    """
    if len(text) <= MAX_LINE:
        pieces = [text] if text.count("\n") < _FEW else []
    else:
        pieces = [line for line in text.split("\n") if len(line) > MAX_LINE]
    for line in pieces:
        stamps = [found.start() for found in _STAMP.finditer(line)]
        if len(stamps) < _FEW:
            continue
        head = line[: stamps[0]]
        kept = [] if _NUMBERS.fullmatch(head) or not head.strip() else [head.rstrip()]
        parts = [line[start:end] for start, end in pairwise([*stamps, len(line)])]
        text = text.replace(line, "\n".join([*kept, *(part.rstrip() for part in parts)]))
    return text


def strip_prefix(line: str) -> LogLine:
    """Strip syslog, /dev/kmsg, level, time stamp and caller from a line."""
    position = 0
    for pattern in (_SYSLOG, _KMSG):
        if found := pattern.match(line):
            position = found.end()
    found = _PREFIX.match(line, position)
    if found is None:
        return LogLine(line[position:].rstrip(), None, None)
    time = found["time"]
    return LogLine(
        line[found.end() :].rstrip(), None if time is None else float(time), found["caller"]
    )
