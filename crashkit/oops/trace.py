"""The call trace as the kernel printed it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from crashkit.oops.lazy import LazyPattern

MAX_ENTRIES = 1024
"""Entries of one trace that are kept; the kernel's stacks are far shorter."""

_NAME = r"[A-Za-z_$.][\w.$]{0,254}"
_SYMBOL = (
    r"(?::(?P<before>[\w-]{1,64}):)?"  # the module comes first in 2.6.18
    rf"(?P<function>{_NAME})"
    r"\+0x(?P<offset>[0-9a-f]{1,16})/0x(?P<size>[0-9a-f]{1,16})"
)
_MODULE = r"(?: ?\[(?P<module>[\w-]{1,64})(?: [0-9a-f]{8,64})?\])?"
_ADDRESS = r"\[<?(?P<address>[0-9a-f]{8,16})>?\]"
_ENTRY = LazyPattern(
    rf"\s{{0,8}}(?P<doubt>\()?(?:{_ADDRESS}\)?\s{{0,4}}){{0,1}}"
    rf"(?:{_ADDRESS.replace('address', 'second')}\s{{0,4}})?(?P<unsure>\?\s{{1,3}})?"
    + _SYMBOL
    + _MODULE
    + r"(?P<tail>\)? {1,2}\((?:unreliable)\))?"  # arch/powerpc
)
_ARM_ENTRY = LazyPattern(  # arch/arm/kernel/traps.c: dump_backtrace_entry()
    rf"\s{{0,4}}(?:\[<[0-9a-f]{{8}}>\] )?\(?(?P<callee>{_NAME})(?:\+0x[0-9a-f]{{1,8}}/0x[0-9a-f]"
    rf"{{1,8}})?(?: \[(?P<callee_module>[\w-]{{1,64}})\])?\)? from "
    r"(?:\[<(?P<address>[0-9a-f]{8})>\] )?\(?" + _SYMBOL + _MODULE
)
_BARE_ARM_ENTRY = LazyPattern(
    r"\s{0,4}\[<[0-9a-f]{8,16}>\] \((?P<function>[\w.$]{1,255})(?:\+0x[0-9a-f]{1,8}/0x[0-9a-f]"
    r"{1,8})?\) from "
)
_DECIMAL = LazyPattern(  # x86-64 before v2.6.18: several a line, offsets are decimal
    rf"<(?P<address>[0-9a-f]{{16}})>\{{(?::(?P<module>[\w-]{{1,64}}):)?(?P<function>{_NAME})"
    r"\+(?P<offset>\d{1,8})\}"
)
_KSYMOOPS = LazyPattern(
    rf"Trace; (?P<address>[0-9a-f]{{8,16}}) <(?:\[(?P<module>[\w-]{{1,64}})\])?"
    rf"(?P<function>{_NAME})"
    r"\+(?:0x)?(?P<offset>[0-9a-f]{1,8})/(?:0x)?(?P<size>[0-9a-f]{1,8})>"
)
_REDHAT = LazyPattern(  # 2.4: [<address>] function [module] 0xoffset (0xstack)
    rf"\s{{0,4}}\[<(?P<address>[0-9a-f]{{8}})>\] (?P<function>{_NAME}) "
    r"\[(?P<module>[\w-]{1,64})\] 0x(?P<offset>[0-9a-f]{1,8})"
)
_INLINE = LazyPattern(
    r"\s{0,8}(?:\[<\s{1,12}inline\s{1,12}>\] (?P<old>[\w.$]{1,255}) \S{1,200}"
    r"|(?P<new>[\w.$]{1,255}) (?P<where>\S{1,200}:\d{1,6}) \[inline\])"
)
_MARKER = LazyPattern(r"\s{0,8}<(?P<end>/)?(?P<name>#?[A-Z]{2,10}\d?)>|\s{0,8}<(?P<eo><?EO[IE]>?)>")
_ENTRIES = LazyPattern(r"\+0x|line\]|inline|Trace; |\[<")  # what no entry is without
_LOCATION = LazyPattern(_SYMBOL + _MODULE)
_DECIMAL_LOCATION = LazyPattern(
    rf"\{{(?::(?P<module>[\w-]{{1,64}}):)?(?P<function>{_NAME})\+(?P<offset>\d{{1,8}})\}}"
)


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
        self.marked = False
        """Whether the kernel marks its stacks (``<IRQ>``, ``<TASK>``)."""
        self._segment = "task"

    def feed(self, line: str) -> bool:
        """Take one line; false where it can be no part of a trace."""
        while "<" in line[:12] and (marker := _MARKER.match(line)):
            self._enter(marker)
            line = line[marker.end() :]
            if not line.strip():
                return True
        if len(self.entries) >= MAX_ENTRIES:
            return False
        found = parse_entries(line, self._segment, first=not self.entries)
        self.entries.extend(found)
        return bool(found)

    def _enter(self, marker: re.Match[str]) -> None:
        self.marked = True
        if marker["end"] or marker["eo"]:
            self._segment = "task"
        else:
            self._segment = _SEGMENTS.get(marker["name"], "exception")


def parse_entries(line: str, segment: str = "task", *, first: bool = False) -> list[TraceEntry]:
    """Parse one line of a call trace; empty where it is none.

    :param first: the line begins the trace; arch/arm names two functions in each line, of
        which the callee is new in the first one alone
    """
    if "{" in line and (several := list(_DECIMAL.finditer(line))):
        return [_decimal(found, segment) for found in several[:MAX_ENTRIES]]
    if " from " in line and "+0x" in line and (found := _ARM_ENTRY.match(line)):
        callee = _bare(found["callee"], segment, found["callee_module"]) if first else None
        return [*([callee] if callee else []), _entry(found, segment)]
    entry = parse_entry(line, segment) if _ENTRIES.search(line) else None
    return [] if entry is None else [entry]


def parse_entry(line: str, segment: str = "task") -> TraceEntry | None:
    """Parse one line of a call trace; None where it is none."""
    if found := _ENTRY.match(line):
        return _entry(found, segment)
    if "line" in line and (found := _INLINE.match(line)):
        return _bare(found["old"] or found["new"], segment, None, inlined=True)
    if " from " in line and (found := _BARE_ARM_ENTRY.match(line)):
        return _bare(found["function"], segment, None)
    if found := _KSYMOOPS.match(line) or _REDHAT.match(line):
        groups = found.groupdict()
        size = groups.get("size")
        return TraceEntry(
            function=found["function"],
            offset=int(found["offset"], 16),
            size=int(size, 16) if size else None,
            module=_own(found["module"]),
            address=int(found["address"], 16),
            reliable=True,
            inlined=False,
            segment=segment,
        )
    return None


def _own(module: str | None) -> str | None:
    return None if module == "kernel" else module


def _entry(found: re.Match[str], segment: str) -> TraceEntry:
    groups = found.groupdict()
    address = groups.get("second") or groups.get("address")
    doubt = groups.get("unsure") or groups.get("tail") or groups.get("doubt")
    return TraceEntry(
        function=_undotted(found["function"]),
        offset=int(found["offset"], 16),
        size=int(found["size"], 16),
        module=found["module"] or found["before"],
        address=int(address, 16) if address else None,
        reliable=not doubt,
        inlined=False,
        segment=segment,
    )


def _undotted(function: str) -> str:
    # ppc64 before ELF ABI v2 names a function's code ".function".
    return function.removeprefix(".") or function


def _decimal(found: re.Match[str], segment: str) -> TraceEntry:
    return TraceEntry(
        function=found["function"],
        offset=int(found["offset"]),
        size=None,
        module=found["module"],
        address=int(found["address"], 16),
        reliable=True,
        inlined=False,
        segment=segment,
    )


def _bare(function: str, segment: str, module: str | None, *, inlined: bool = False) -> TraceEntry:
    return TraceEntry(
        function=function,
        offset=None,
        size=None,
        module=module,
        address=None,
        reliable=True,
        inlined=inlined,
        segment=segment,
    )


def find_location(text: str) -> CodeLocation | None:
    """Find the first ``symbol+0xoff/0xsize [module]`` in a line."""
    found = _LOCATION.search(text)
    if found is not None:
        return CodeLocation(
            function=_undotted(found["function"]),
            offset=int(found["offset"], 16),
            size=int(found["size"], 16),
            module=found["module"] or found["before"],
            address=None,
        )
    if "{" in text and (found := _DECIMAL_LOCATION.search(text)):
        return CodeLocation(
            function=found["function"],
            offset=int(found["offset"]),
            size=None,
            module=found["module"],
            address=None,
        )
    return None


def printed(entries: Iterable[TraceEntry]) -> list[TraceEntry]:
    """Keep the entries that the kernel printed as certain."""
    return [entry for entry in entries if entry.reliable and not entry.inlined]
