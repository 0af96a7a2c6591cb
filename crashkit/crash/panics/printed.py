"""The lines that the kernel printed of the report that ended it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.errors import Unavailable
from crashkit.oops.lines import LogText
from crashkit.symbols import find_symbol

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_BEFORE = 200
_AFTER = 400


def printed_lines(crash: Crash, before: int = 0, after: int = _AFTER) -> list[str]:
    """Give the lines of the report, prefixes stripped; none where there is no log.

    :param before: lines before its opening line, at most 200
    :param after: lines from its opening line on
    """
    if crash.oops is None:
        return []
    try:
        log = LogText(crash.log)
    except Unavailable:
        return []
    start = crash.oops.line - min(before, _BEFORE)
    return [line.text for line in log.lines(start, crash.oops.line + after)]


def find_printed(
    crash: Crash, pattern: str, before: int = 0, after: int = _AFTER
) -> re.Match[str] | None:
    """Find the first line of the report that a pattern is found in."""
    compiled = re.compile(pattern)
    for line in printed_lines(crash, before, after):
        if found := compiled.search(line):
            return found
    return None


def report_ip(crash: Crash) -> int | None:
    """Give the address of the instruction the report is about.

    From the exception frame, else as printed; a name and offset is looked up in the dump.
    """
    if crash.fault_frame is not None:
        return crash.fault_frame.pc
    ip = crash.oops.ip if crash.oops is not None else None
    if ip is None:
        return None
    if ip.address is None and ip.function is not None and ip.offset is not None:
        found = find_symbol(crash.prog, ip.function)
        return None if found is None else found.address + ip.offset
    return ip.address


def registers_of(crash: Crash) -> Mapping[str, int]:
    """Give the registers at the reported instruction: of the exception frame, else as printed."""
    if crash.fault_frame is not None:
        return {name: one.value for name, one in crash.fault_frame.registers.items()}
    return crash.oops.registers if crash.oops is not None else {}
