"""Following several readings: what any of them gives."""

from __future__ import annotations

from collections.abc import Callable

from crashkit.errors import Reason, Unavailable
from crashkit.fault.members import Reading

MOST_READINGS = 8


def quietly(get: Callable[[], tuple[Reading, ...]]) -> tuple[Reading, ...]:
    """Ask for readings that may not be had: one of several ways that are tried."""
    try:
        return get()
    except Unavailable:
        return ()


def any_of(
    readings: tuple[Reading, ...], follow: Callable[[Reading], tuple[Reading, ...]]
) -> tuple[Reading, ...]:
    """Give what follows from any of the readings.

    :raises Unavailable: nothing does; why the first did not
    """
    found: list[Reading] = []
    failure: Unavailable | None = None
    for reading in readings:
        try:
            found.extend(follow(reading))
        except Unavailable as missing:
            failure = failure or missing
    if found:
        return tuple(found[:MOST_READINGS])
    raise failure or Unavailable("expression", Reason.NO_DEBUGINFO, "nothing describes it")
