"""Two dumps of one host compared: what grew, what came, what went."""

from __future__ import annotations

from crashkit.crash import Crash
from crashkit.diff.comparing import compare_snapshots
from crashkit.diff.model import Change, Difference, Fact, Grown, Modules, Order, Row, Section
from crashkit.diff.snapshot import Snapshot, take

__all__ = [
    "Change",
    "Difference",
    "Fact",
    "Grown",
    "Modules",
    "Order",
    "Row",
    "Section",
    "Snapshot",
    "compare",
    "compare_snapshots",
    "take",
]


def compare(a: Crash, b: Crash) -> Difference:
    """Compare two dumps, or logs, of one host; from ``before`` to ``after``.

    Of one boot the dump that was taken first is ``before``; of two boots it is ``a``.

    What cannot be read of one of them is None with its reason, never 0.
    """
    return compare_snapshots(take(a), take(b))
