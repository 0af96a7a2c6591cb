"""A log that two consoles wrote to one place, every line twice; and half of it dropped again."""

from __future__ import annotations

from itertools import groupby, pairwise

from crashkit.oops.lines import LogLine

_FEWEST = 6  # lines of their own; of fewer nothing is told
_MOST_SINGLE = 0.2  # of them may be there once: what was torn, or printed by one console alone


def undoubled(lines: list[LogLine]) -> list[LogLine]:
    """Drop the second of every two lines that are alike to the microsecond.

    Only where nearly all lines are: a function that calls itself prints the same line again
    and again, and stands between lines that are there once.
    """
    if len(lines) < 2 * _FEWEST or not any(a == b for a, b in pairwise(lines)):
        return lines
    runs = [(line, len(list(run))) for line, run in groupby(lines)]
    stamped = [count for line, count in runs if line.time is not None and line.text]
    single = sum(count % 2 for count in stamped)
    if len(stamped) < _FEWEST or single > _MOST_SINGLE * len(stamped):
        return lines
    return [line for line, count in runs for _ in range(max(1, count // 2))]
