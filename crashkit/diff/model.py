"""What changed between two dumps."""

from __future__ import annotations

from collections.abc import Mapping

from crashkit.diff.readings import Nature
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class Change:
    """One number of both dumps. A None field has its reason in ``absent``."""

    before: int | None
    after: int | None
    change: int | None
    """``after`` less ``before``."""
    per_second: float | None
    """The change by the seconds between two dumps of one boot."""
    absent: Mapping[str, Unavailable]


@facts
class Row:
    """One thing that was measured in both dumps, or in one."""

    key: str
    name: str
    """Escaped."""
    only: str | None
    """``before`` or ``after``: only that dump has it; None: both do."""
    aliases: tuple[str, ...]
    """Slab caches merged into this one, in either dump; escaped."""
    note: str | None
    """Why the two may not be the same thing; escaped."""
    numbers: Mapping[str, Change]
    """``count``, ``bytes`` and ``room`` (objects there is room for), those the thing has."""

    @property
    def differs(self) -> bool:
        """Whether a number changed, or is known of one dump only."""
        if self.only is not None:
            return True
        return any(
            one.change != 0 and (one.before, one.after) != (None, None)
            for one in self.numbers.values()
        )


@facts
class Section:
    """One part of the comparison."""

    key: str
    title: str
    noun: str
    """What ``count`` counts, in the plural; empty where each row's name says it."""
    nature: Nature
    rows: tuple[Row, ...]
    """Largest growth first."""
    unread: Mapping[str, Unavailable]
    """``before`` or ``after``: why nothing of the part could be read there."""
    incomplete: Mapping[str, Unavailable]
    """The same for a part that was not read to its end."""
    at_least: tuple[str, ...]
    """``before``, ``after``: its numbers here are lower bounds."""


@facts
class Fact:
    """One property of a dump that is no amount. None has its reason in ``absent``."""

    key: str
    name: str
    before: str | None
    after: str | None
    same: bool | None
    """None: one of them is not known."""
    absent: Mapping[str, Unavailable]


@facts
class Modules:
    """The modules that only one dump has."""

    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    both: int


@facts
class Order:
    """Which dump was taken first, and whether the kernel was booted between them."""

    swapped: bool
    """One boot, and the dump that was named second was taken first: it is ``before``."""
    taken_first: str | None
    """``before`` or ``after``; None: the dumps do not say. Two boots are compared as named."""
    why: str
    """By what the order is known, in words."""
    same_boot: bool | None
    """None: nothing decides."""
    same_boot_why: str
    elapsed_s: float | None
    """Seconds of uptime between two dumps of one boot; None: not one boot, or not known."""


@facts
class Grown:
    """A row that stands out."""

    section: str
    """The section's key."""
    name: str
    """The row's name, clear away from its section."""
    noun: str
    row: Row
    by: str
    """The quantity it was chosen by: ``bytes`` or ``count``."""


@facts
class Difference:
    """Everything ``crashkit diff`` says."""

    order: Order
    warnings: tuple[str, ...]
    """Sentences about why the two may not be comparable."""
    facts: tuple[Fact, ...]
    modules: Modules | None
    """None: one of the lists is not known, see ``absent``."""
    grew: tuple[Grown, ...]
    """At most ten, the most memory first, then the counts that stand out most."""
    sections: tuple[Section, ...]
    """Empty where one of the two is a log."""
    absent: Mapping[str, Unavailable]

    @property
    def is_partial(self) -> bool:
        """Whether something was lost to damage, beyond what a dump level leaves out."""
        lost = [why for one in self.sections for why in one.incomplete.values()]
        lost += [why for one in self.sections for why in one.unread.values()]
        return any(why.reason is Reason.CORRUPTED for why in lost)
