"""The function whose code contains an address, and what its DWARF tree holds.

The unit is found by ``.debug_aranges``, or, as clang writes none, by the units' own
ranges; then only the unit's top level is read, and of it one function's tree.
Source: DWARF 5, 3.3 (subprograms), 3.4 (call sites) and 6.1.2 (aranges).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from crashkit.symbols.dwarf_expressions import Frame, frame_base
from crashkit.symbols.dwarf_lists import inline_expression, ranges_of
from crashkit.symbols.dwarf_sections import DwarfError, MappedFile, Section
from crashkit.symbols.dwarf_units import (
    ABSTRACT_ORIGIN,
    HIGH_PC,
    LOCATION,
    LOW_PC,
    RANGES,
    SPECIFICATION,
    Entry,
    Unit,
    Units,
)

_FORMAL_PARAMETER, _SUBPROGRAM, _VARIABLE, _NAMESPACE = 0x05, 0x2E, 0x34, 0x39
_CALL_SITE, _GNU_CALL_SITE = 0x48, 0x4109
_CALL_SITE_PARAMETERS = (0x49, 0x410A)
_ENTRY_PC, _FRAME_BASE, _CALL_RETURN_PC = 0x52, 0x40, 0x7D
_MAX_ENTRIES = 1 << 20

_SET = struct.Struct("<IHIBB")
_PAIR = struct.Struct("<QQ")
_U32 = struct.Struct("<I")


@dataclass(kw_only=True)
class Function:
    """One function that has code: its entry and what is below it."""

    entry: Entry
    ranges: list[tuple[int, int]]
    """[start, end) run-time addresses."""
    low_pc: int
    """Where it is entered."""
    parameters: list[Entry] = field(default_factory=list)
    located: list[Entry] = field(default_factory=list)
    """All variables and parameters with a location, inlined functions' and blocks' too."""
    call_sites: dict[int, list[Entry]] = field(default_factory=dict)
    """By run-time return address."""
    understood: bool = True
    """Nothing below it has a location but what this reader knows."""

    @cached_property
    def frame(self) -> Frame:
        """What its expressions are relative to."""
        unit = self.entry.unit
        value = self.entry.attributes().get(_FRAME_BASE)
        expression = inline_expression(unit, value) if value else None
        return Frame(unit, frame_base(expression, unit) if expression else None)


class Functions:
    """The functions of one debug file, read when asked for."""

    def __init__(self, file: MappedFile) -> None:
        self._units = Units(file)
        self._tops: dict[int, _Top] = {}
        self._found: dict[int, Function] = {}

    def at(self, pc: int) -> Function | None:
        """Find the function whose code contains ``pc``; None when not exactly one does."""
        start = self._unit_at(pc)
        if start is None:
            return None
        top = self._top(start)
        found = {entry.place: entry for low, high, entry in top.functions if low <= pc < high}
        if len(found) != 1:
            return None
        (entry,) = found.values()
        key = start + entry.place
        if key not in self._found:
            self._found[key] = _read_function(entry)
        return self._found[key]

    def bodies(self, entry: Entry) -> list[Entry]:
        """List the entries with code, in its unit, of the function that ``entry`` describes."""
        found = self._top(entry.unit.start).instances.get(entry.place, [])
        return [*found, entry] if _has_code(entry) else found

    def _top(self, start: int) -> _Top:
        if start not in self._tops:
            self._tops[start] = _read_top(self._units.at(start))
        return self._tops[start]

    def _unit_at(self, pc: int) -> int | None:
        for table in self._tables():
            index = bisect_right(table, (pc, _AFTER_ALL, 0)) - 1
            if index >= 0 and pc < table[index][1]:
                return table[index][2]
        return None

    def _tables(self) -> Iterator[list[tuple[int, int, int]]]:
        yield self._aranges
        yield self._unit_ranges

    @cached_property
    def _aranges(self) -> list[tuple[int, int, int]]:
        # Triples of start, end and unit, sorted.
        section = self._units.file.find_section(".debug_aranges")
        return sorted(_read_aranges(section)) if section else []

    @cached_property
    def _unit_ranges(self) -> list[tuple[int, int, int]]:
        covered = {unit for _, _, unit in self._aranges}
        units = (self._units.unkept(start) for start in self._units.starts if start not in covered)
        return sorted(
            (start, end, unit.start)
            for unit in units
            if unit is not None
            for start, end in ranges_of(unit, unit.root_values)
        )


_AFTER_ALL = 1 << 65


def _read_aranges(section: Section) -> Iterator[tuple[int, int, int]]:
    at, data = 0, section.data
    while at < len(data):
        length, version, _, address_size, segment_size = _SET.unpack_from(data, at)
        end = at + 4 + length
        if length >= 0xFFFF_FFF0 or version != 2 or address_size != 8 or segment_size != 0:
            raise DwarfError("a set of address ranges has another format")
        unit = section.offset(at + 6)
        # Pairs are aligned to their own size, counted from the set's start.
        for place in range(at + 16, end - 15, 16):
            start = section.address(place)
            _, size = _PAIR.unpack_from(data, place)
            if start is not None and size:
                yield start, start + size, unit
        at = end


@dataclass(frozen=True, slots=True)
class _Top:
    # The functions at a unit's top level.
    functions: list[tuple[int, int, Entry]]
    instances: dict[int, list[Entry]]  # place of the origin to its bodies


def _read_top(unit: Unit) -> _Top:
    top = _Top([], {})
    for entry in _subprograms(unit):
        if not _has_code(entry):
            continue
        values = entry.attributes()
        top.functions.extend((start, end, entry) for start, end in ranges_of(unit, values))
        origin = values.get(ABSTRACT_ORIGIN) or values.get(SPECIFICATION)
        if origin is not None:
            target = unit.reference(origin)
            if target.unit is unit:
                top.instances.setdefault(target.place, []).append(entry)
    return top


def _subprograms(unit: Unit) -> Iterator[Entry]:
    # Written for speed: a unit has some ten thousand entries at its top level.
    data, shapes = unit.data, unit.shapes
    at, depth = unit.root.shape.skip(data, unit.root.at), 1
    end = len(data)
    while at < end and depth:
        code = data[at]
        if code == 0:
            at, depth = at + 1, depth - 1
            continue
        if code >= 0x80 or code not in shapes:
            entry = unit.entry(at)
            if entry is None:
                raise DwarfError("a list's end is spelled in more than one byte")
            shape, values = entry.shape, entry.at
        else:
            shape, values = shapes[code], at + 1
        if shape.tag == _SUBPROGRAM:
            yield Entry(unit, at, values, shape)
        if shape.children and shape.sibling is not None and shape.tag != _NAMESPACE:
            at = _U32.unpack_from(data, values + shape.sibling)[0]
            if at <= values:
                raise DwarfError("a sibling is not behind its entry")
            continue
        at = shape.skip(data, values)
        depth += shape.children


def _has_code(entry: Entry) -> bool:
    return HIGH_PC in entry.shape.names or RANGES in entry.shape.names


def entry_pc(entry: Entry) -> int | None:
    """Return where a function with code is entered; None when not known."""
    values = entry.attributes()
    found = values.get(LOW_PC)
    if _ENTRY_PC in values:
        offset = entry.unit.constant(values[_ENTRY_PC])
        if offset is not None:
            return None  # relative to a base that no compiler for the kernel uses
        found = values[_ENTRY_PC]
    if found is not None:
        return entry.unit.address(found)
    ranges = ranges_of(entry.unit, values)
    return ranges[0][0] if ranges else None


def _read_function(entry: Entry) -> Function:
    low_pc = entry_pc(entry)
    if low_pc is None:
        raise DwarfError("a function's entry is not known")
    ranges = ranges_of(entry.unit, entry.attributes())
    function = Function(entry=entry, ranges=ranges, low_pc=low_pc)
    for depth, below in _tree(entry):
        _note(function, below, depth)
    return function


def _tree(top: Entry) -> Iterator[tuple[int, Entry]]:
    # All entries below one, with their depth.
    unit, depth = top.unit, int(top.shape.children)
    at = top.shape.skip(unit.data, top.at)
    for _ in range(_MAX_ENTRIES):
        if not depth:
            return
        entry = unit.entry(at)
        if entry is None:
            at, depth = at + 1, depth - 1
            continue
        yield depth, entry
        at = entry.shape.skip(unit.data, entry.at)
        depth += entry.shape.children
    raise DwarfError("a function has too many entries")


def _note(function: Function, entry: Entry, depth: int) -> None:
    tag, names = entry.shape.tag, entry.shape.names
    if tag == _FORMAL_PARAMETER and depth == 1:
        function.parameters.append(entry)
    if tag in (_VARIABLE, _FORMAL_PARAMETER):
        if LOCATION in names:
            function.located.append(entry)
    elif tag in (_CALL_SITE, _GNU_CALL_SITE):
        _note_call(function, entry)
    elif tag == _SUBPROGRAM and _has_code(entry):
        function.understood = False  # a nested function has a frame of its own
    elif LOCATION in names and tag not in _CALL_SITE_PARAMETERS:
        function.understood = False


def _note_call(function: Function, entry: Entry) -> None:
    name = _CALL_RETURN_PC if entry.shape.tag == _CALL_SITE else LOW_PC
    value = entry.attributes().get(name)
    pc = entry.unit.address(value) if value else None
    if pc is not None:
        function.call_sites.setdefault(pc, []).append(entry)
