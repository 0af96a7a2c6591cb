"""``bug``: which BUG() or WARN() ended the kernel, by its own table and by the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.printed import find_printed, printed_lines, report_ip
from crashkit.decode.bug_table import BugEntry, find_bug
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_WHERE = r"(?:kernel BUG at |PID: \d+ at |WARNING: at |^WARNING: )(?P<where>[\w./+-]+:\d+)"
_CUT = "------------[ cut here ]"
_OVERFLOW = r"(?:\w+: )?detected (?:buffer overflow|field-spanning)\b.*"
"""fortify_panic(), __fortify_report() (lib/string_helpers.c)."""
_MOST_BEFORE = 120
_CHECKS = ("WARNING", "kernel BUG", "------------[")
_OF_A_REPORT = (
    "---[", "------------[", "<", "Code:", "R1", "RAX", "RBP", "RDX", "CR2", "FS:", "PKRU",
    "CS:", "DR", "Modules linked", "Call Trace", "RIP", "CPU:", "Hardware name", "ORIG_RAX",
)  # fmt: skip


@facts
class Bug:
    """A check that failed. A None field has its reason in ``absent``."""

    address: int | None
    """Of the instruction: ``ud2``."""
    entry: BugEntry | None
    """None: the instruction has no entry, or it could not be read."""
    where: str | None
    """``file:line``."""
    origin: str | None
    """Where ``where`` comes from: ``bug table``, ``bug table and log`` or ``log``."""
    conflict: str | None
    """The log names another place than the table."""
    message: str | None
    """What a WARN() printed of its own; of a BUG(), the line right before its report, which
    may be another's."""
    no_check: str | None
    """The undefined instruction is none of a check's, and what that means."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> Bug | None:
    """Find the check that failed; None where the log tells of none.

    :raises Unavailable: neither memory nor the log tells where
    """
    address = report_ip(crash)
    found = find_printed(crash, _WHERE, after=20)
    printed = found["where"] if found else None
    absent: dict[str, Reason] = {}
    entry: BugEntry | None = None
    if address is None:
        absent |= {"address": Reason.NOT_IN_DUMP, "entry": Reason.NOT_IN_DUMP}
    else:
        try:
            entry = find_bug(crash.prog, address)
        except Unavailable as missing:
            absent["entry"] = missing.reason
    known = entry is not None and entry.file is not None
    table = f"{entry.file}:{entry.line}" if entry is not None and known else None
    if table is None and printed is None and address is None:
        if crash.oops is not None and not crash.oops.message.startswith(_CHECKS):
            return None  # a message alone, no check's
        raise Unavailable("the check", Reason.NOT_IN_DUMP, "neither its address nor its line")
    same = table is not None and printed is not None and table.endswith(printed.lstrip("./"))
    origins = [name for name, had in (("bug table", table), ("log", printed)) if had]
    return Bug(
        address=address,
        entry=entry,
        where=table or printed,
        origin=" and ".join(origins) if same or len(origins) == 1 else (table and "bug table"),
        conflict=None if same or not (table and printed) else f"the log says {printed}",
        message=_message(crash) if entry is None or entry.warning else _printed_before(crash),
        no_check=_no_check(entry, absent),
        absent=absent,
    )


def _message(crash: Crash) -> str | None:
    # Printed between the cut line and the line with the place (kernel/panic.c: __warn_printk()).
    lines = printed_lines(crash, before=4, after=4)
    for number, line in enumerate(lines[:-1]):
        if line.startswith(_CUT) and not lines[number + 1].startswith(("WARNING:", "kernel BUG")):
            return lines[number + 1][:400]
    return None


def _printed_before(crash: Crash) -> str | None:
    # pr_emerg() and then BUG(); fortify_panic() may have warned with a whole report before.
    fortified = find_printed(crash, _OVERFLOW, before=_MOST_BEFORE, after=0)
    if fortified is not None:
        return fortified[0][:400]
    lines = printed_lines(crash, before=3, after=2)
    cut = next((n for n, line in enumerate(lines) if line.startswith(_CUT)), 0)
    line = lines[cut - 1].strip() if cut else ""
    return line[:400] if line and not line.startswith(_OF_A_REPORT) else None


def _no_check(entry: BugEntry | None, absent: Mapping[str, Reason]) -> str | None:
    if entry is not None or "entry" in absent:
        return None
    return (
        "the instruction has no entry in the bug table: an unreachable place the compiler marked,"
        " data executed as code, or an instruction this CPU does not have"
    )
