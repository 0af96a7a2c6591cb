"""Cutting a kernel log into reports: where one begins, what belongs to it, what ended it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from crashkit.oops.doubled import undoubled
from crashkit.oops.kinds import EXCEPTION, GENERIC_PANICS, KINDS, Kind, Weight
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine, LogText, strip_prefix
from crashkit.oops.skips import compiled
from crashkit.oops.wraps import unwrapped

MAX_LINES = 1000
"""Lines of one report that are read."""
MAX_BETWEEN = 4000
"""Lines of a log that are looked at for those of one report, others lying between."""
MAX_OPENINGS = 4096
"""Lines that may open a report; the rest of a hostile log is not looked at."""

_SAME = 30
# Lines within which a second opening line still belongs to the first report, as long as
# neither registers nor a trace came between ("list_del corruption", then "kernel BUG at",
# then "invalid opcode").
_COUNTED = ("Oops", "Internal error")
_COUNTED_DISTANCE = 200
# "Oops: 0000 [#1]" follows the line that says what happened; a busy console puts others between.
_PANIC_DISTANCE = 200
_HANG_DISTANCE = 4000  # the state of all tasks and CPUs lies between
_HANG_PANICS = LazyPattern(r"hung_task|softlockup|RCU Stall|LOCKUP|sched|workqueue")
_NEEDED_WITHIN = 12
_BODY = LazyPattern(r"Call [Tt]race:|\bRIP: 00|\bR?AX: |---\[ end trace|PC is at|\bEIP: |^NIP ")
_PANIC = LazyPattern(
    r"^[Kk]ernel panic ?(?:- not syncing|: not syncing|:|-) ?:? ?(?:\.\.\. ?)?(?P<reason>.{0,160})"
)
_STAMP = LazyPattern(r"(?<=\S)\s?(?=\[ {0,6}\d{1,9}\.\d{6}\](?:\[ {0,6}[TC]\d{1,9}\])? )")
_END = LazyPattern(r"---\[ end trace [0-9a-f]{16} \]---")
_ALL_CPUS = "Sending NMI from CPU"


@dataclass
class Section:
    """The lines of one report in a log."""

    start: int
    kind: Kind
    found: re.Match[str]
    caller: str | None
    """Who printed it, where the log tells (CONFIG_PRINTK_CALLER)."""
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


@dataclass
class SectionLines:
    """The lines of one report, told apart from those of others."""

    lines: list[LogLine]
    foreign: int = 0
    """Lines of other tasks and CPUs between them."""
    merged: int = 0
    """Lines in which a second one began."""


@dataclass(frozen=True)
class _Opening:
    line: int
    kind: Kind
    found: re.Match[str]
    text: LogLine


def find_sections(log: LogText) -> list[Section]:
    """Find the reports of a log in the order they were printed."""
    sections: list[Section] = []
    latest: dict[str | None, Section] = {}
    for opening in _openings(log, KINDS):
        caller = opening.text.caller
        current = latest.get(caller)
        if current is not None and _continues(log, current, opening):
            current.also.append(opening.kind)
            current.last = opening.line
        else:
            current = _begin(opening)
            latest[caller] = current
            sections.append(current)
        if current.panic is None and (reason := _PANIC.search(opening.text.text)):
            current.panic = reason["reason"].strip()
    if not sections:
        sections = [_begin(opening) for opening in _openings(log, (EXCEPTION,))][:1]
    _set_ends(sections, len(log))
    return sections


def _begin(opening: _Opening) -> Section:
    line = opening.line
    return Section(line, opening.kind, opening.found, opening.text.caller, line + 1, line)


def _set_ends(sections: list[Section], length: int) -> None:
    # A report of another task does not end this one: its lines are told apart.
    limits: dict[str | None, int] = {}
    first = length
    for section in reversed(sections):
        limit = first if section.caller is None else limits.get(section.caller, length)
        section.end = min(limit, length)
        if not section.kind.single:
            limits[section.caller] = first = section.start


def section_lines(log: LogText, section: Section) -> SectionLines:
    """Give the lines of a report, the opening one first."""
    found = SectionLines([])
    every_cpu, mine = False, True
    end = min(section.end, section.start + (MAX_BETWEEN if section.caller else MAX_LINES))
    for number in range(section.start, end):
        whole = log.line(number)
        lines = _unmerged(whole) if "] " in whole.text and _STAMP.search(whole.text) else [whole]
        found.merged += len(lines) - 1
        for line in lines:
            if line.time is not None or line.caller is not None:  # else of whom was before it
                mine = line.caller == section.caller or (
                    every_cpu and line.caller is not None and line.caller[0] == "C"
                )
            if not mine and section.caller is not None:
                found.foreign += 1
                continue
            every_cpu = every_cpu or _ALL_CPUS in line.text
            found.lines.append(line)
        if len(found.lines) >= MAX_LINES or _END.match(found.lines[-1].text):
            break
    found.lines = unwrapped(undoubled(found.lines))
    return found


def _unmerged(line: LogLine) -> list[LogLine]:
    first, *others = _STAMP.split(line.text, maxsplit=2)
    return [replace(line, text=first), *map(strip_prefix, others)]


def _openings(log: LogText, kinds: tuple[Kind, ...]) -> Iterator[_Opening]:
    # For each line that holds the trigger of a row, the first row whose pattern matches.
    candidates = _candidates(log, kinds)
    for number in sorted(candidates):
        text = log.line(number)
        if text.text.startswith("---[ end "):
            continue
        for kind in candidates[number]:
            found = compiled(kind.pattern).search(text.text)
            if found and (kind.needs is None or _follows(log, number, kind.needs)):
                yield _Opening(number, kind, found, text)
                break


def _candidates(log: LogText, kinds: tuple[Kind, ...]) -> dict[int, list[Kind]]:
    # Rows share hubs, so that a log is searched for few words.
    candidates: dict[int, list[Kind]] = {}
    seen: dict[str, list[int]] = {}
    for kind in kinds:
        word = kind.hub or kind.trigger
        if word not in seen:
            seen[word] = _lines_with(log, word)
        for number in seen[word]:
            if kind.hub is not None and kind.trigger not in log.raw(number):
                continue
            if number in candidates:
                candidates[number].append(kind)
            elif len(candidates) < MAX_OPENINGS:
                candidates[number] = [kind]
    return candidates


def _lines_with(log: LogText, trigger: str) -> list[int]:
    numbers: list[int] = []
    position = log.text.find(trigger)
    while position >= 0 and len(numbers) < MAX_OPENINGS:
        number = log.line_at(position)
        numbers.append(number)
        position = log.text.find(trigger, log.end_of(number))
    return numbers


def _follows(log: LogText, number: int, needed: str) -> bool:
    pattern = compiled(needed)
    return any(
        pattern.search(line.text) for line in log.lines(number + 1, number + 1 + _NEEDED_WITHIN)
    )


def _continues(log: LogText, section: Section, opening: _Opening) -> bool:
    panic = _PANIC.search(opening.text.text)
    if panic:
        hang = section.weight is Weight.HANG and _HANG_PANICS.search(panic["reason"])
        near = opening.line - section.last <= (_HANG_DISTANCE if hang else _PANIC_DISTANCE)
        return near and bool(compiled(GENERIC_PANICS).search(panic["reason"]))
    counted = section.weight is Weight.FATAL and opening.kind.title.startswith(_COUNTED)
    if opening.line - section.last > (_COUNTED_DISTANCE if counted else _SAME):
        return False
    if (
        section.kind.kind == opening.kind.kind == "slab-corruption"
        and opening.kind.title[:4] == "INFO"
    ):
        return True  # where the object was allocated, below the trace of who found it
    between = log.lines(section.last, opening.line)
    return not any(line.caller == section.caller and _BODY.search(line.text) for line in between)
