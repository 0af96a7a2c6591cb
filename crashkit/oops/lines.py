"""Kernel log text as lines: prefixes stripped, sizes bounded, lines cut on demand."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from crashkit.oops.containers import arranged
from crashkit.oops.lazy import LazyPattern

MAX_TEXT = 64 << 20
"""Characters of a log that are looked at; the last ones, where a crash is reported."""

MAX_LINE = 2048
"""Characters of one line that are looked at (printk's own limit is 1024)."""

_JSON_LINE = 65536  # a journal entry has many fields before its message
_DAY = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d)?"
_CLOCK = r"[^\[\]\n]{0,40}?\d\d:\d\d:\d\d"
_OUTER = (  # what programs put before a kernel's line, outermost first
    # quoted in mail
    (">", LazyPattern(r"\s{0,8}(?:> ?){1,8}")),
    # a table
    ("|", LazyPattern(r"(?:\s{0,4}\|){1,4}\s{0,4}")),
    # grep -n
    (":", LazyPattern(r"\d{1,7}:(?=[\[<])")),
    # syslog and journald: the kernel is the program
    ("kernel", LazyPattern(
        rf"(?:<\d{{1,4}}>\d? ?)?{_CLOCK}\S{{0,16}} .{{0,80}}?\bkernel(?:\[\d{{1,7}}\])?"
        r"(?:: ?| - - - )")),
    # a serial logger's own clock
    ("-", LazyPattern(rf"\[?{_DAY}\]?(?: ?\|)?(?:\s|$)")),
    # dmesg -x
    (":", LazyPattern(r"(?:kern|user|daemon|syslog|auth)\s{0,4}:\w{2,8}\s{0,4}: ")),
    # journalctl -o export
    ("MESSAGE=", LazyPattern(r"MESSAGE=")),
    # /dev/kmsg and extended netconsole
    (";", LazyPattern(r"\d{1,4},\d{1,12},(?P<usec>\d{1,16}),[^;\n]{1,64};")),
    # the console lost lines before this one
    ("**", LazyPattern(r"\*\* \d{1,9} printk messages dropped \*\* (?=\S)")),
    # a terminal that waits for somebody
    ("login: ", LazyPattern(r".{0,60}login: (?=[\[<])")),
)  # fmt: skip
_PREFIX = LazyPattern(
    r"(?:<\d{1,4}>(?! [0-9a-f]{2} [0-9a-f]{2} ))?"  # printk level, no byte of Code:
    r"(?:\s{0,8}\[ {0,8}\+?(?P<time>\d{1,9}\.\d{1,9})(?: <[ \d.]{4,20}>)?"
    r"(?:,(?P<cpu>\d{1,2}))?\] ?"  # and the CPU, in some phones
    r"|\s{0,8}\[[^\]\d\[]{2,24} {1,2}\d{1,2} \d\d:\d\d:\d\d (?:\w{2,6} )?\d{4}\] ?"  # dmesg -T
    r"|\[[A-Z][a-z]{2}\d?\d? {0,2}\d{1,2} ?\d\d:\d\d\] )?"  # dmesg -H
    r"(?:\[ {0,8}(?P<caller>[TC]\d{1,9})\] ?)?"  # CONFIG_PRINTK_CALLER
    r"(?:c(?P<core>\d{1,2}) {1,2}(?=\S))?"  # the CPU, in other phones
    r"(?:\[ ?\d{1,3}: {0,16}[^\]:]{1,16}: {0,6}\d{1,7}\] ?)?"  # CPU and task, in phones
    r"(?: ?<\d>(?=\S))?"
)

_BEFORE_TEXT = frozenset("<[ \t")
_USUAL = LazyPattern(
    r"\[ {0,8}(\d{1,9}\.\d{6})\](?:\[ {0,8}([TC]\d{1,9})\])? ?(?!\[ {0,8}\d| ?<\d| ?c\d)"
)
# By far the most lines begin so, and the other forms need not be tried.


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
        self.text, self._parts = arranged(text[-MAX_TEXT:], MAX_LINE)
        self._starts = [0, *(found.end() for found in re.finditer("\n", self.text))]

    def __len__(self) -> int:
        return len(self._starts)

    def line_at(self, position: int) -> int:
        """Give the number of the line that holds a character."""
        return bisect_right(self._starts, position) - 1

    def end_of(self, number: int) -> int:
        """Give the position behind a line."""
        return self._starts[number + 1] if number + 1 < len(self._starts) else len(self.text)

    def line(self, number: int) -> LogLine:
        """Give line ``number`` (from 0), at most ``MAX_LINE`` characters of it."""
        return strip_prefix(self.raw(number))

    def raw(self, number: int) -> str:
        """Give a line with its prefix."""
        start = self._starts[number]
        end = self._starts[number + 1] - 1 if number + 1 < len(self._starts) else len(self.text)
        limit = _JSON_LINE if self.text.startswith("{", start) else MAX_LINE
        return self.text[start : min(end, start + limit)]

    def lines(self, start: int, end: int) -> list[LogLine]:
        """Give lines ``start`` to ``end``, the last not included."""
        return [self.line(number) for number in range(max(0, start), min(end, len(self)))]

    def given_line(self, number: int) -> int:
        """Give the number that a line has in the text as it was given."""
        for start, end, first in self._parts:
            if start <= number < end:
                return first + number - start
        return number


def strip_prefix(line: str) -> LogLine:
    """Strip what loggers, consoles and printk put before a message."""
    if found := _USUAL.match(line):
        return LogLine(line[found.end() :].rstrip(), float(found[1]), found[2])
    if line.startswith("{"):
        line = _journal_message(line)
    position, usec = 0, None
    if not line.startswith("["):
        head = line[:160]
        for word, pattern in _OUTER:
            if word in head and (found := pattern.match(line, position)):
                position = found.end()
                usec = found.groupdict().get("usec") or usec
    elif found := _OUTER[4][1].match(line):
        position = found.end()
    if line[position : position + 1] not in _BEFORE_TEXT:
        found = None
    else:
        found = _PREFIX.match(line, position)
    if found is None:
        return LogLine(line[position:].rstrip(), _seconds(None, usec), None)
    core = found["cpu"] or found["core"]
    caller = found["caller"] or (f"C{core}" if core else None)
    return LogLine(line[found.end() :].rstrip(), _seconds(found["time"], usec), caller)


def _seconds(time: str | None, usec: str | None) -> float | None:
    if time is not None:
        return float(time)
    return None if usec is None else int(usec) / 1_000_000


def _journal_message(line: str) -> str:
    # journalctl -o json: text as a string, anything else as an array of bytes.
    import json  # rarely needed

    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return line
    message = entry.get("MESSAGE") if isinstance(entry, dict) else None
    if isinstance(message, list):
        numbers = [byte for byte in message if isinstance(byte, int) and 0 <= byte < 256]
        message = bytes(numbers).decode("utf-8", "replace")
    if not isinstance(message, str):
        return line
    return message.partition("\n")[0][:MAX_LINE]
