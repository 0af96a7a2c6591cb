"""What grew most: at most ten rows out of all."""

from __future__ import annotations

import math
from collections.abc import Iterable

from crashkit.diff.model import Change, Grown, Row, Section
from crashkit.diff.parts import MEMORY, NAMES_OF_PROCESSES, PARTS, PROCESSES, SLABS, ZONES
from crashkit.diff.readings import BYTES, COUNT, Nature

MOST = 10
_BY_BYTES = 6
_NOT_A_USE = ("total", "free", "free_cpu")
_UNRANKED = (ZONES, "beside")
_SIZED = (MEMORY, SLABS, "vmalloc", PROCESSES)
# Parts whose counts are those of what the bytes are ranked by.
_LABELS = {part.key: part.label for part in PARTS}


def what_grew(sections: Iterable[Section]) -> tuple[Grown, ...]:
    """Choose what grew most: first by bytes, then counts by how little chance explains them."""
    levels = [s for s in sections if s.nature is Nature.LEVEL and s.key not in _UNRANKED]
    one_by_one = any(s.key == PROCESSES for s in levels)
    sized = [s for s in levels if not (one_by_one and s.key == NAMES_OF_PROCESSES)]
    by_bytes = _ranked(sized, BYTES)
    named = {(one.section, one.row.key) for one in by_bytes}
    by_count = [
        one
        for one in _ranked([s for s in levels if s.key not in _SIZED], COUNT)
        if (one.section, one.row.key) not in named
    ]
    few = by_count[: max(MOST - len(by_bytes), MOST - _BY_BYTES)]
    return (*by_bytes[: MOST - len(few)], *few)


def _ranked(sections: Iterable[Section], by: str) -> list[Grown]:
    found = [
        (_score(row.numbers[by], by), section.key, row.key, section, row)
        for section in sections
        for row in section.rows
        if by in row.numbers and (row.numbers[by].change or 0) > 0
        if not (section.key == MEMORY and row.key in _NOT_A_USE)
    ]
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [
        Grown(section=s.key, name=_LABELS[s.key].format(row.name), noun=s.noun, row=row, by=by)
        for *_, s, row in found
    ]


def _score(number: Change, by: str) -> float:
    # Counts of anything that comes and goes differ by about the square root of their size.
    change = number.change or 0
    return float(change) if by == BYTES else change / math.sqrt((number.before or 0) + 1)


def by_growth(row: Row) -> tuple[float, str]:
    """Order rows: the largest growth first, the largest loss last, what is unknown before it."""
    number = row.numbers.get(BYTES) or row.numbers.get(COUNT)
    return -float((number.change if number else None) or 0), row.name
