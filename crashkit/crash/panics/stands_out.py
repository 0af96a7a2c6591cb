"""What is odd on the way to a crash, whatever the crash: read without any recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from crashkit.crash.panics.oddities import Oddity
from crashkit.crash.panics.oddities_calls import odd_returns
from crashkit.crash.panics.oddities_lists import odd_lists
from crashkit.crash.panics.oddities_objects import free_objects, second_objects
from crashkit.errors import Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_MOST = 12
_SOURCES: tuple[Callable[[Crash], Iterable[Oddity]], ...] = (
    second_objects,
    free_objects,
    odd_lists,
    odd_returns,
)


@facts
class StandsOut:
    """The oddities, the telling ones first."""

    found: tuple[Oddity, ...]
    """At most 12."""


def read(crash: Crash) -> StandsOut | None:
    """Look for oddities; None where there are none."""
    found: list[Oddity] = []
    for source in _SOURCES:
        try:
            found += source(crash)
        except Unavailable as missing:
            crash.lacks(missing.what, missing, "a dump that holds it")
    return StandsOut(found=tuple(found[:_MOST])) if found else None
