"""What a row of the tables says of one way the kernel opens a report."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from crashkit.oops.skips import Family


class Blame(enum.Enum):
    """How the function in a title is chosen."""

    NONE = "none"
    """The title names no function."""
    INNERMOST = "innermost"
    """The interrupted function, else the first of the trace; library helpers skipped."""
    EXACT = "exact"
    """The interrupted function, whatever it is."""
    CALLER = "caller"
    """The first function of the trace that is no part of the check that reported."""
    ENTRY = "entry"
    """What a generic dispatcher entered that does not end (stalls, exhausted stacks)."""
    WAITER = "waiter"
    """The first function of the trace that waits for something particular."""
    LINE = "line"
    """Named in the opening line itself, else as ``CALLER``."""
    LOCK = "lock"
    """Where the lock in question was taken, as lockdep prints it (``at: function``)."""
    ORIGIN = "origin"
    """The first function of the trace under the line that ``Kind.after`` matches."""
    WORK = "work"
    """The function that a ``last function:`` line names."""


class Weight(enum.IntEnum):
    """How a report of this kind stands to the end of the kernel."""

    NOTICE = 0
    """The kernel goes on: warnings, lock checks, leaks."""
    HANG = 1
    """Something does not move; fatal only where the system was told to panic."""
    FATAL = 2
    """The task or the kernel ends here."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way the kernel opens a report."""

    kind: str
    """``panic.kind`` of the report document."""
    trigger: str
    """Text that every match contains; found before the pattern is tried."""
    pattern: str
    """Regular expression searched in the opening line, prefix stripped. Text, and compiled
    at its first use: of the many rows a log needs few."""
    title: str
    blame: Blame
    weight: Weight
    skip: Family | None = None
    """Functions, besides the usual ones, that the title is not about."""
    needs: str | None = None
    """Regular expression that some line after the opening one must match, where the opening
    line alone is printed for user programs, too."""
    after: str | None = None
    """Regular expression: the line above the trace that ``Blame.ORIGIN`` asks for."""
    single: bool = False
    """One line and no more: it may stand in the middle of another report."""
    hub: str | None = None
    """A word that every match contains and many rows share, and few lines of a log have."""


def make_kind(
    kind: str,
    trigger: str,
    title: str,
    blame: Blame = Blame.INNERMOST,
    weight: Weight = Weight.FATAL,
    *,
    pattern: str | None = None,
    skip: Family | None = None,
    needs: str | None = None,
    after: str | None = None,
    single: bool = False,
    hub: str | None = None,
) -> Kind:
    """Make a row; without a pattern the trigger itself is searched for."""
    searched = re.escape(trigger) if pattern is None else pattern
    hub = hub or next((word for word in _HUBS if word in trigger), None)
    return Kind(kind, trigger, searched, title, blame, weight, skip, needs, after, single, hub)


_HUBS = ("BUG", "WARNING", "INFO: ", "panic", "nable to handle", "corruption")


IN = " in {function}"
"""End of a title that names a function; left out where none can be named."""
