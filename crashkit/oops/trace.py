"""The call trace as the kernel printed it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_ENTRIES = 256
"""Entries of one trace that are kept; the kernel's stacks are far shorter."""

_SYMBOL = (
    r"(?P<function>[A-Za-z_$][\w.$]{0,254})"
    r"\+0x(?P<offset>[0-9a-f]{1,16})/0x(?P<size>[0-9a-f]{1,16})"
)
_MODULE = r"(?: \[(?P<module>[\w-]{1,64})(?: [0-9a-f]{8,64})?\])?"
_ENTRY = re.compile(
    r"\s{0,8}(?:\(?\[<(?P<address>[0-9a-f]{8,16})>\]\)?)?\s{0,4}(?P<unsure>\? )?"
    + _SYMBOL
    + _MODULE
)
_ARM_ENTRY = re.compile(
    r"\s{0,4}\[<(?P<callee>[0-9a-f]{8,16})>\] \((?P<function>[\w.$]{1,255})\) from "
)
_INLINE = re.compile(
    r"\s{0,8}(?:\[<\s{1,12}inline\s{1,12}>\] (?P<old>[\w.$]{1,255}) \S{1,200}"
    r"|(?P<new>[\w.$]{1,255}) (?P<where>\S{1,200}:\d{1,6}) \[inline\])"
)
_MARKER = re.compile(r"\s{0,8}<(?P<end>/)?(?P<name>#?[A-Z]{2,10}\d?)>|\s{0,8}<(?P<eo><?EO[IE]>?)>")
_LOCATION = re.compile(_SYMBOL + _MODULE)


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceEntry:
    """One line of a printed call trace."""

    function: str
    offset: int | None
    """Offset into the function, bytes; None for an inlined function."""
    size: int | None
    """Size of the function, bytes; None for an inlined function."""
    module: str | None
    address: int | None
    """Return address; kernels before v4.11 print it."""
    reliable: bool
    """False where the kernel printed ``?``: the address was on the stack, no more."""
    inlined: bool
    """Added by a symbolizer, not printed by the kernel."""
    segment: str
    """``task``, ``irq``, ``nmi`` or ``exception`` (``<IRQ>``, ``<NMI>``, ``<#DF>``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeLocation:
    """``symbol+0xoff/0xsize [module]`` as the kernel prints a place in code."""

    function: str | None
    offset: int | None
    size: int | None
    module: str | None
    address: int | None
    """Printed by kernels before v4.11, or where no symbol was found."""


_SEGMENTS = {"IRQ": "irq", "SOFTIRQ": "irq", "NMI": "nmi", "TASK": "task"}


class TraceReader:
    """Collects the entries of a trace line by line; knows when it has ended."""

    def __init__(self) -> None:
        self.entries: list[TraceEntry] = []
        self._segment = "task"

    def feed(self, line: str) -> bool:
        """Take one line; false where it can be no part of a trace."""
        if marker := _MARKER.match(line):
            self._enter(marker)
            line = line[marker.end() :]
            if not line.strip():
                return True
        if len(self.entries) >= MAX_ENTRIES:
            return False
        entry = parse_entry(line, self._segment)
        if entry is not None:
            self.entries.append(entry)
        return entry is not None

    def _enter(self, marker: re.Match[str]) -> None:
        if marker["end"] or marker["eo"]:
            self._segment = "task"
        else:
            self._segment = _SEGMENTS.get(marker["name"], "exception")


def parse_entry(line: str, segment: str = "task") -> TraceEntry | None:
    """Parse one line of a call trace; None where it is none."""
    if found := _ENTRY.match(line):
        return TraceEntry(
            function=found["function"],
            offset=int(found["offset"], 16),
            size=int(found["size"], 16),
            module=found["module"],
            address=int(found["address"], 16) if found["address"] else None,
            reliable=not found["unsure"],
            inlined=False,
            segment=segment,
        )
    if found := _INLINE.match(line):
        return _entry_without_offset(found["old"] or found["new"], segment, inlined=True)
    if found := _ARM_ENTRY.match(line):
        return _entry_without_offset(found["function"], segment, inlined=False)
    return None


def _entry_without_offset(function: str, segment: str, *, inlined: bool) -> TraceEntry:
    return TraceEntry(
        function=function,
        offset=None,
        size=None,
        module=None,
        address=None,
        reliable=True,
        inlined=inlined,
        segment=segment,
    )


def find_location(text: str) -> CodeLocation | None:
    """Find the first ``symbol+0xoff/0xsize [module]`` in a line."""
    found = _LOCATION.search(text)
    if found is None:
        return None
    return CodeLocation(
        function=found["function"],
        offset=int(found["offset"], 16),
        size=int(found["size"], 16),
        module=found["module"],
        address=None,
    )


def printed(entries: Iterable[TraceEntry]) -> list[TraceEntry]:
    """Keep the entries that the kernel printed as certain."""
    return [entry for entry in entries if entry.reliable and not entry.inlined]
