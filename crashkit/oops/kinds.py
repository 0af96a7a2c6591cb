"""What the kernel prints when it dies, hangs or warns: one row for each kind of report.

The titles follow syzkaller's grammar, so that a search for one finds the reports of
others. ``{function}`` is the function the report is about; where none can be named the
title ends before " in". The rows are in one module for each family.
"""

from __future__ import annotations

from crashkit.oops.kind import Blame, Kind, Weight, make_kind
from crashkit.oops.kinds_checks import CHECKS, LOCKING, WARNINGS
from crashkit.oops.kinds_faults import FAULTS
from crashkit.oops.kinds_hangs import HANGS
from crashkit.oops.kinds_memory import MEMORY, SLABS
from crashkit.oops.kinds_panics import GENERIC_PANICS, PANICS, SYSRQ

__all__ = ["EXCEPTION", "GENERIC_PANICS", "KINDS", "SYSRQ", "Blame", "Kind", "Weight"]

KINDS: tuple[Kind, ...] = (
    SYSRQ,
    *MEMORY,
    *FAULTS,
    *HANGS,
    *LOCKING,
    *CHECKS,
    *WARNINGS,
    *PANICS,
    *SLABS,
)
"""All rows, the more particular before the more general of one line."""

EXCEPTION = make_kind("unknown", "[exception RIP: ", "exception in {function}", Blame.EXACT)
"""crash(8)'s ``bt``: an exception that interrupted kernel code; used where nothing else is."""
