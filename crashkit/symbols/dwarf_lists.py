"""DWARF range lists and location lists, of version 5 and of version 4.

Source: DWARF 5, 7.28 (``.debug_rnglists``) and 7.29 (``.debug_loclists``); DWARF 4,
2.6.2 and 2.17.3 (``.debug_loc`` and ``.debug_ranges``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from crashkit.symbols.dwarf_abbrev import Attribute
from crashkit.symbols.dwarf_sections import Data, DwarfError, Section, uleb
from crashkit.symbols.dwarf_units import (
    BLOCK_FORMS,
    HIGH_PC,
    LOCLISTS_BASE,
    LOW_PC,
    RANGES,
    RNGLISTS_BASE,
    SEC_OFFSET,
    Unit,
)

_LOCLISTX, _RNGLISTX = 0x22, 0x23
_DATA4 = 0x06
_MAX_LOCATIONS, _MAX_RANGES = 1 << 12, 1 << 16
_BASE_SELECTION = (1 << 64) - 1
_PAIR_OF_ADDRESSES = struct.Struct("<QQ")
_DEFAULT = (0, 1 << 64)

# DW_LLE_* as the DW_RLE_* of the same meaning.
_END, _BASE_X, _START_X_END_X, _START_X_LENGTH, _PAIR = 0, 1, 2, 3, 4
_BASE, _START_END, _START_LENGTH, _ANYWHERE, _VIEWS = 5, 6, 7, 8, 9
_OF_RANGE = (0, 1, 2, 3, _PAIR, _BASE, _START_END, _START_LENGTH)
_OF_LOCATION = (0, 1, 2, 3, _PAIR, _ANYWHERE, _BASE, _START_END, _START_LENGTH, _VIEWS)


class Expression(NamedTuple):
    """Where a DWARF expression's bytes are."""

    section: Section
    data: Data
    start: int
    end: int
    at: int
    """Added to a place in ``data``, the place in the section."""


class Listed(NamedTuple):
    """One expression of a location list, and the pcs it is for."""

    start: int | None
    """Run-time address, as is ``end``; None when not known, for code that is gone."""
    end: int | None
    expression: Expression

    @property
    def is_default(self) -> bool:
        """Whether it is for the pcs that no other is for."""
        return (self.start, self.end) == _DEFAULT

    def covers(self, pc: int) -> bool:
        """Whether it is for this pc."""
        return self.start is not None and self.end is not None and self.start <= pc < self.end


def inline_expression(unit: Unit, value: Attribute) -> Expression | None:
    """Locate an expression that is an attribute's value itself; None for another class."""
    if value.form not in BLOCK_FORMS:
        return None
    start, end = unit.block(value)
    return Expression(unit.units.info, unit.data, start, end, unit.start)


def locations(unit: Unit, value: Attribute) -> list[Listed]:
    """Read the location list that an attribute refers to.

    :raises DwarfError: the attribute is no such reference, or the list is damaged
    """
    if unit.version == 5:
        section, at = _list_at(unit, value, ".debug_loclists", _LOCLISTX, LOCLISTS_BASE)
        found = _read_list(unit, section, at, _OF_LOCATION)
    else:
        section, at = _old_list_at(unit, value, ".debug_loc")
        found = _read_old_list(unit, section, at, located=True)
    return [Listed(start, end, place) for start, end, place in found if place is not None]


def ranges_of(unit: Unit, values: dict[int, Attribute]) -> list[tuple[int, int]]:
    """Return the [start, end) run-time addresses of an entry; known ones only."""
    if RANGES in values:
        return _known(_ranges(unit, values[RANGES]))
    if LOW_PC not in values or HIGH_PC not in values:
        return []
    start, high = unit.address(values[LOW_PC]), values[HIGH_PC]
    length = unit.constant(high)
    end = unit.address(high) if length is None else (start or 0) + length
    return _known([(start, end, None)])


def _known(
    ranges: list[tuple[int | None, int | None, Expression | None]],
) -> list[tuple[int, int]]:
    return [
        (start, end)
        for start, end, _ in ranges
        if start is not None and end is not None and start < end
    ]


def _ranges(unit: Unit, value: Attribute) -> list[tuple[int | None, int | None, Expression | None]]:
    if unit.version == 5:
        section, at = _list_at(unit, value, ".debug_rnglists", _RNGLISTX, RNGLISTS_BASE)
        return list(_read_list(unit, section, at, _OF_RANGE))
    section, at = _old_list_at(unit, value, ".debug_ranges")
    return list(_read_old_list(unit, section, at, located=False))


def _list_at(
    unit: Unit, value: Attribute, name: str, indexed: int, base_name: int
) -> tuple[Section, int]:
    section = unit.units.file.section(name)
    if value.form == SEC_OFFSET:
        return section, unit.offset(value)
    if value.form != indexed:
        raise DwarfError(f"a list has form {value.form:#x}")
    base = unit.base(base_name, 12)
    index, _ = uleb(unit.data, value.at)
    return section, base + section.offset(base + 4 * index)


def _old_list_at(unit: Unit, value: Attribute, name: str) -> tuple[Section, int]:
    if value.form not in (SEC_OFFSET, _DATA4):
        raise DwarfError(f"a list has form {value.form:#x}")
    return unit.units.file.section(name), unit.offset(value)


def _read_list(
    unit: Unit, section: Section, at: int, kinds: tuple[int, ...]
) -> Iterator[tuple[int | None, int | None, Expression | None]]:
    # A list of version 5; ``kinds`` gives the meaning of its codes.
    base, data = unit.low_pc, section.data
    for _ in range(_MAX_RANGES if kinds is _OF_RANGE else _MAX_LOCATIONS):
        kind = kinds[data[at]]
        at += 1
        if kind == _END:
            return
        if kind in (_BASE, _BASE_X):
            base, at = _read_base(unit, section, kind, at)
            continue
        if kind == _VIEWS:
            at = uleb(data, uleb(data, at)[1])[1]
            continue
        start, end, at = _read_bounds(unit, section, kind, at, base)
        if kinds is _OF_RANGE:
            yield start, end, None
            continue
        length, at = uleb(data, at)
        yield start, end, _expression(section, at, length)
        at += length
    raise DwarfError("a list has no end")


def _read_base(unit: Unit, section: Section, kind: int, at: int) -> tuple[int | None, int]:
    if kind == _BASE:
        return section.address(at), at + 8
    index, at = uleb(section.data, at)
    return unit.indexed_address(index), at


def _read_bounds(
    unit: Unit, section: Section, kind: int, at: int, base: int | None
) -> tuple[int | None, int | None, int]:
    data = section.data
    if kind == _ANYWHERE:
        return *_DEFAULT, at
    if kind == _START_END:
        return section.address(at), section.address(at + 8), at + 16
    if kind == _START_LENGTH:
        start = section.address(at)
        second, at = uleb(data, at + 8)
        return start, _sum(start, second), at
    if kind not in (_PAIR, _START_X_END_X, _START_X_LENGTH):
        raise DwarfError(f"a list has an item of kind {kind}")
    first, at = uleb(data, at)
    second, at = uleb(data, at)
    if kind == _PAIR:
        return _sum(base, first), _sum(base, second), at
    start = unit.indexed_address(first)
    end = _sum(start, second) if kind == _START_X_LENGTH else unit.indexed_address(second)
    return start, end, at


def _read_old_list(
    unit: Unit, section: Section, at: int, *, located: bool
) -> Iterator[tuple[int | None, int | None, Expression | None]]:
    base, data = unit.low_pc, section.data
    for _ in range(_MAX_LOCATIONS if located else _MAX_RANGES):
        pair = _PAIR_OF_ADDRESSES.unpack_from(data, at)
        fixed = [section.is_relocated(place) for place in (at, at + 8)]
        if pair == (0, 0) and not any(fixed):
            return
        if pair[0] == _BASE_SELECTION:
            base, at = section.address(at + 8), at + 16
            continue
        # A relocated field is an address; the unit's base is then 0, or was 0 in the file.
        start, end = (
            section.address(place) if done else _sum(base, number)
            for place, number, done in zip((at, at + 8), pair, fixed, strict=True)
        )
        at += 16
        if not located:
            yield start, end, None
            continue
        length = int.from_bytes(data[at : at + 2], "little")
        yield start, end, _expression(section, at + 2, length)
        at += 2 + length
    raise DwarfError("a list has no end")


def _expression(section: Section, at: int, length: int) -> Expression:
    if at + length > len(section.data):
        raise DwarfError("an expression ends outside its section")
    return Expression(section, section.data, at, at + length, 0)


def _sum(base: int | None, number: int) -> int | None:
    return None if base is None else base + number
