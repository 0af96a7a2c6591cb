"""Cutting a kernel log into reports: where one begins, what belongs to it, what ended it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from crashkit.oops.kinds import GENERIC_PANICS, KINDS, Kind, Weight
from crashkit.oops.lines import LogText

MAX_LINES = 400
"""Lines of one report that are read."""
MAX_OPENINGS = 4096
"""Lines that may open a report; the rest of a hostile log is not looked at."""

_SAME = 15
# Lines within which a second opening line still belongs to the first report, as long as
# neither registers nor a trace came between ("list_del corruption", then "kernel BUG at",
# then "invalid opcode").
_PANIC_DISTANCE = 200
_BODY = re.compile(r"Call [Tt]race:|\bRIP: |\bR?AX: |---\[ end trace")
_PANIC = re.compile(r"^Kernel panic - not syncing(?:: |\.\.\.|$)(?P<reason>.{0,160})")


@dataclass
class Section:
    """The lines of one report in a log."""

    start: int
    kind: Kind
    found: re.Match[str]
    end: int
    """First line that belongs to it no more."""
    last: int
    """The latest line that opened or continued it."""
    panic: str | None = None
    """The reason given to panic(), where this report ended the kernel."""
    also: list[Kind] = field(default_factory=list)
    """Kinds of the further opening lines of the same report."""

    @property
    def weight(self) -> Weight:
        """The heaviest of its opening lines."""
        return max(kind.weight for kind in (self.kind, *self.also))


@dataclass(frozen=True)
class _Opening:
    line: int
    kind: Kind
    found: re.Match[str]


def find_sections(log: LogText) -> list[Section]:
    """Find the reports of a log in the order they were printed."""
    sections: list[Section] = []
    for opening in _openings(log):
        current = sections[-1] if sections else None
        if current is not None and _continues(log, current, opening):
            current.also.append(opening.kind)
            current.last = opening.line
        else:
            current = Section(
                opening.line, opening.kind, opening.found, opening.line + 1, opening.line
            )
            sections.append(current)
        if current.panic is None and (reason := _PANIC.search(log.line(opening.line).text)):
            current.panic = reason["reason"].strip()
    limit = len(log)
    for section in reversed(sections):
        section.end = min(limit, section.start + MAX_LINES)
        limit = section.start
    return sections


def _openings(log: LogText) -> Iterator[_Opening]:
    # For each line that holds the trigger of a row, the first row whose pattern matches.
    candidates: dict[int, list[Kind]] = {}
    for kind in KINDS:
        position = log.text.find(kind.trigger)
        while position >= 0 and len(candidates) < MAX_OPENINGS:
            rows = candidates.setdefault(log.line_at(position), [])
            if kind not in rows:
                rows.append(kind)
            position = log.text.find(kind.trigger, position + len(kind.trigger))
    for number in sorted(candidates):
        text = log.line(number).text
        if text.startswith("---[ end "):
            continue
        for kind in candidates[number]:
            if found := re.search(kind.pattern, text):
                yield _Opening(number, kind, found)
                break


def _continues(log: LogText, section: Section, opening: _Opening) -> bool:
    text = log.line(opening.line).text
    panic = _PANIC.search(text)
    if panic:
        near = opening.line - section.last <= _PANIC_DISTANCE
        return near and bool(GENERIC_PANICS.search(panic["reason"]))
    if opening.line - section.last > _SAME:
        return False
    between = log.lines(section.last, opening.line)
    return not any(_BODY.search(line.text) for line in between)
