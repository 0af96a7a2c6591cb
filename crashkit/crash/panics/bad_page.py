"""``bad_page``: the page that the page allocator found in a state it cannot be in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.printed import printed_lines
from crashkit.decode.page_state import PageState, read_page
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_PFN = re.compile(
    r"BUG: Bad page (?P<what>state|map|cache) in process .{0,64}?pfn:(?P<pfn>[0-9a-f]{1,12})"
)
_WHY = re.compile(r"page dumped because: (?P<why>.{1,100})")
_COUNTS = re.compile(r"page:\S{1,24} refcount:(?P<refcount>-?\d+) mapcount:(?P<mapcount>-?\d+)")
_BEFORE = 120


@facts
class BadPage:
    """A page in a bad state."""

    what: str
    """``state``, ``map`` or ``cache``, of the kernel's line."""
    why: str | None
    """The kernel's reason."""
    page: PageState | None
    corroborated: bool | None
    """The reference count in memory is the one printed."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> BadPage | None:
    """Read the page; None where the report is about none."""
    lines = printed_lines(crash, before=_BEFORE, after=40)
    found = next(filter(None, map(_PFN.search, lines)), None)
    if found is None:
        return None
    why = next(filter(None, map(_WHY.search, lines)), None)
    counts = next(filter(None, map(_COUNTS.search, lines)), None)
    absent: dict[str, Reason] = {}
    page = None
    try:
        page = read_page(crash.prog, int(found["pfn"], 16))
    except Unavailable as missing:
        absent["page"] = missing.reason
    held = None if page is None else page.refcount
    return BadPage(
        what=found["what"],
        why=why["why"] if why else None,
        page=page,
        corroborated=None if held is None or not counts else held == int(counts["refcount"]),
        absent=absent,
    )
