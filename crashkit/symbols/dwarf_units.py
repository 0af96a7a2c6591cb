"""DWARF units and their entries: attributes, references, strings and types' sizes.

Source: DWARF 5, 7.5.1 (unit headers) and 7.5.5 (classes of forms); DWARF 4 likewise.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from crashkit.symbols.dwarf_abbrev import SIZES, Abbreviation, Attribute, block, read_abbreviations
from crashkit.symbols.dwarf_sections import DwarfError, MappedFile, Section, sleb, text_at, uleb

NAME, LOW_PC, HIGH_PC, LOCATION, RANGES = 0x03, 0x11, 0x12, 0x02, 0x55
_BYTE_SIZE, _UPPER_BOUND, _COUNT, _DECLARATION, _TYPE = 0x0B, 0x2F, 0x37, 0x3C, 0x49
ABSTRACT_ORIGIN, SPECIFICATION = 0x31, 0x47
_STR_OFFSETS_BASE, _ADDR_BASE, RNGLISTS_BASE, LOCLISTS_BASE = 0x72, 0x73, 0x74, 0x8C

_ARRAY, _POINTER, _TYPEDEF, _SUBRANGE = 0x01, 0x0F, 0x16, 0x21
_QUALIFIERS = frozenset({0x26, 0x35, 0x37, 0x47, _TYPEDEF})  # const volatile restrict atomic

_DATA_FORMS = frozenset({0x05, 0x06, 0x07, 0x0B})
_ADDRESS_INDEX = {0x1B: 0, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4, 0x1F01: 0}  # 0: LEB128
_STRING_INDEX = {0x1A: 0, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x1F02: 0}
_UNIT_REFERENCE = {0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x15: 0}
BLOCK_FORMS = frozenset({0x03, 0x04, 0x09, 0x0A, 0x18})
_ADDR, _STRING, _SDATA, _STRP, _UDATA, _REF_ADDR = 0x01, 0x08, 0x0D, 0x0E, 0x0F, 0x10
SEC_OFFSET, _FLAG_PRESENT, _LINE_STRP, _IMPLICIT_CONST = 0x17, 0x19, 0x1F, 0x21
_FLAG = 0x0C

_MAX_CHAIN = 32
_MAX_UNITS = 1 << 20
_LENGTH = struct.Struct("<IH")
_U32 = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One entry (DIE) of a unit."""

    unit: Unit
    place: int
    """Where it begins in the unit's bytes, which identifies it."""
    at: int
    """Where its values begin."""
    shape: Abbreviation

    def attributes(self) -> dict[int, Attribute]:
        """Locate its values."""
        return self.shape.attributes(self.unit.data, self.at)

    def children(self) -> Iterator[Entry]:
        """Go over its direct children."""
        if not self.shape.children:
            return
        depth, place = 1, self.shape.skip(self.unit.data, self.at)
        while depth:
            entry = self.unit.entry(place)
            if entry is None:
                depth, place = depth - 1, place + 1
                continue
            if depth == 1:
                yield entry
            jump = self.unit.sibling(entry) if entry.shape.children else None
            if jump is None:
                depth += entry.shape.children
                jump = entry.shape.skip(self.unit.data, entry.at)
            place = jump


class Unit:
    """One unit of ``.debug_info``; places are relative to its start."""

    def __init__(self, units: Units, start: int) -> None:
        """Read the header and copy the unit's bytes.

        :raises DwarfError: another format or version
        """
        self.units, self.start = units, start
        length, self.version = _LENGTH.unpack_from(units.info.data, start)
        if length >= 0xFFFF_FFF0 or self.version not in (4, 5):
            raise DwarfError("a unit has another format or version")
        self.data = bytes(units.info.data[start : start + 4 + length])
        if len(self.data) != 4 + length:
            raise DwarfError("a unit ends outside its section")
        kind = self.data[6] if self.version == 5 else 1
        if kind not in (1, 3):  # DW_UT_compile, DW_UT_partial
            raise DwarfError(f"unit type {kind}")
        if self.data[7 if self.version == 5 else 10] != 8:
            raise DwarfError("addresses have another size")
        abbreviations = units.info.offset(start + (8 if self.version == 5 else 6))
        self.shapes = units.abbreviations(abbreviations)
        root = self.entry(12 if self.version == 5 else 11)
        if root is None:
            raise DwarfError("a unit has no entry")
        self.root: Entry = root

    @cached_property
    def root_values(self) -> dict[int, Attribute]:
        """The attributes of the unit's own entry."""
        return self.root.attributes()

    @cached_property
    def low_pc(self) -> int | None:
        """What addresses in its lists are relative to."""
        found = self.root_values.get(LOW_PC)
        return self.units.info.bias if found is None else self.address(found)

    def entry(self, place: int) -> Entry | None:
        """Read the entry at a place; None for the one that ends a list of children."""
        code, at = uleb(self.data, place)
        if code == 0:
            return None
        shape = self.shapes.get(code)
        if shape is None:
            raise DwarfError(f"no abbreviation {code}")
        return Entry(self, place, at, shape)

    def sibling(self, entry: Entry) -> int | None:
        """Read where the next sibling begins, if the entry says so cheaply."""
        if entry.shape.sibling is None:
            return None
        place = int(_U32.unpack_from(self.data, entry.at + entry.shape.sibling)[0])
        if not entry.at < place < len(self.data):
            raise DwarfError("a sibling is not behind its entry")
        return place

    def base(self, name: int, default: int) -> int:
        """Read an attribute like DW_AT_rnglists_base."""
        found = self.root_values.get(name)
        return default if found is None else self.offset(found)

    def offset(self, value: Attribute) -> int:
        """Read an offset into another section."""
        return self.units.info.offset(self.start + value.at)

    def address(self, value: Attribute) -> int | None:
        """Read a run-time address; None when it is of a section not known to be loaded."""
        if value.form == _ADDR:
            return self.units.info.address(self.start + value.at)
        if value.form in _ADDRESS_INDEX:
            return self.indexed_address(self._index(_ADDRESS_INDEX[value.form], value.at))
        raise DwarfError(f"an address has form {value.form:#x}")

    def indexed_address(self, index: int) -> int | None:
        """Read an entry of ``.debug_addr``."""
        base = self.base(_ADDR_BASE, 8)
        return self.units.file.section(".debug_addr").address(base + 8 * index)

    def constant(self, value: Attribute) -> int | None:
        """Read a number; None when the attribute is of another class."""
        if value.form in _DATA_FORMS:
            return self._index(SIZES[value.form], value.at)
        if value.form == _UDATA:
            return uleb(self.data, value.at)[0]
        if value.form == _SDATA:
            return sleb(self.data, value.at)[0]
        return value.implicit if value.form == _IMPLICIT_CONST else None

    def flag(self, value: Attribute | None) -> bool:
        """Read a flag; one that is not there is false."""
        if value is None:
            return False
        return value.form == _FLAG_PRESENT or (value.form == _FLAG and self.data[value.at] != 0)

    def block(self, value: Attribute) -> tuple[int, int]:
        """Return where a block or an expression begins and ends."""
        return block(SIZES[value.form], self.data, value.at)

    def text(self, value: Attribute | None) -> str | None:
        """Read a string; None when it is in another file or not there."""
        if value is None:
            return None
        if value.form == _STRING:
            return text_at(self.data, value.at)
        if value.form in (_STRP, _LINE_STRP):
            section = ".debug_str" if value.form == _STRP else ".debug_line_str"
            return text_at(self.units.file.section(section).data, self.offset(value))
        if value.form in _STRING_INDEX:
            index = self._index(_STRING_INDEX[value.form], value.at)
            offsets = self.units.file.section(".debug_str_offsets")
            at = offsets.offset(self.base(_STR_OFFSETS_BASE, 8) + 4 * index)
            return text_at(self.units.file.section(".debug_str").data, at)
        return None

    def reference(self, value: Attribute) -> Entry:
        """Follow a reference to another entry.

        :raises DwarfError: it is in another file, or there is none
        """
        unit, place = self, 0
        if value.form == _REF_ADDR:
            target = self.offset(value)
            unit = self.units.containing(target)
            place = target - unit.start
        elif value.form in _UNIT_REFERENCE:
            place = self._index(_UNIT_REFERENCE[value.form], value.at)
        entry = unit.entry(place) if place >= unit.root.place else None
        if entry is None:
            raise DwarfError("a reference leads to no entry")
        return entry

    def _index(self, size: int, at: int) -> int:
        if size == 0:
            return uleb(self.data, at)[0]
        if at + size > len(self.data):
            raise DwarfError("a value ends outside its unit")
        return int.from_bytes(self.data[at : at + size], "little")


class Units:
    """The units of one debug file, read when asked for."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.info: Section = file.section(".debug_info")
        self._units: dict[int, Unit] = {}
        self._shapes: dict[int, dict[int, Abbreviation]] = {}

    def at(self, start: int) -> Unit:
        """Return the unit whose header is at an offset."""
        if start not in self._units:
            self._units[start] = Unit(self, start)
        return self._units[start]

    def unkept(self, start: int) -> Unit | None:
        """Read a unit for one look at it; None when it is of a kind that is not read."""
        try:
            return self._units.get(start) or Unit(self, start)
        except DwarfError:
            return None

    def containing(self, offset: int) -> Unit:
        """Return the unit whose entries include the one at an offset."""
        index = bisect_right(self.starts, offset) - 1
        if index < 0:
            raise DwarfError("a reference leads before the first unit")
        return self.at(self.starts[index])

    def abbreviations(self, at: int) -> dict[int, Abbreviation]:
        """Return the abbreviations at an offset of ``.debug_abbrev``."""
        if at not in self._shapes:
            self._shapes[at] = read_abbreviations(self.file.section(".debug_abbrev").data, at)
        return self._shapes[at]

    @cached_property
    def starts(self) -> array[int]:
        """Offsets of all units."""
        starts, at, data = array("Q"), 0, self.info.data
        while at < len(data) and len(starts) < _MAX_UNITS:
            (length,) = _U32.unpack_from(data, at)
            if length >= 0xFFFF_FFF0:
                raise DwarfError("a unit has the 64-bit format")
            starts.append(at)
            at += 4 + length
        return starts


def described_by(entry: Entry, name: int) -> tuple[Entry, Attribute] | None:
    """Find an attribute of an entry, or of the one that it is an instance of.

    :returns: the entry that has it, and where
    """
    for _ in range(_MAX_CHAIN):
        values = entry.attributes()
        if name in values:
            return entry, values[name]
        origin = values.get(ABSTRACT_ORIGIN) or values.get(SPECIFICATION)
        if origin is None:
            return None
        entry = entry.unit.reference(origin)
    raise DwarfError("a chain of references has no end")


def name_of(entry: Entry) -> str | None:
    """Return the name of an entry, or of the one that it is an instance of."""
    found = described_by(entry, NAME)
    return found[0].unit.text(found[1]) if found else None


def size_of(entry: Entry) -> int | None:
    """Return the bytes of an entry's type; None where they are not a number in the file."""
    count = 1
    for _ in range(_MAX_CHAIN):
        found = described_by(entry, _TYPE)
        if found is None:
            return None
        entry = found[0].unit.reference(found[1])
        values = entry.attributes()
        if _BYTE_SIZE in values:
            size = entry.unit.constant(values[_BYTE_SIZE])
            return None if size is None else count * size
        if entry.shape.tag == _POINTER:
            return 8 * count
        if entry.shape.tag == _ARRAY:
            length = _array_length(entry)
            if length is None:
                return None
            count *= length
        elif entry.shape.tag not in _QUALIFIERS or _DECLARATION in values:
            return None
    raise DwarfError("a chain of types has no end")


def _array_length(entry: Entry) -> int | None:
    length = 1
    for child in entry.children():
        if child.shape.tag != _SUBRANGE:
            continue
        values = child.attributes()
        bound = values.get(_COUNT) or values.get(_UPPER_BOUND)
        number = child.unit.constant(bound) if bound else None
        if number is None:
            return None
        length *= number if _COUNT in values else number + 1
    return length
