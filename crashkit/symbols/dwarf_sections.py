"""The sections of one debug file, mapped; relocations are applied to what is read.

A kernel module's debug file is relocatable (``ET_REL``): an address or an offset in its
DWARF is only known with its relocation and the place of the section it refers to. A
file has hundreds of thousands of them and a question needs a few dozen.
Source: elf(5), gABI; relocation types in the x86-64 psABI table 4.9.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

_ET_REL = 1
_EM_X86_64 = 62
_SHT_NOBITS, _SHT_RELA, _SHT_SYMTAB = 8, 4, 2
_SHF_ALLOC, _SHF_COMPRESSED = 2, 0x800
_SHN_UNDEF, _SHN_LORESERVE, _SHN_ABS = 0, 0xFF00, 0xFFF1
_ELFCOMPRESS_ZLIB = 1
_ABSOLUTE = {1: 8, 10: 4, 11: 4}  # R_X86_64_64, _32 and _32S: bytes that are relocated
_MAX_INFLATED = 1 << 30
_MAX_NAME = 1 << 12

# e_type, e_machine, e_shoff, e_shentsize, e_shnum, e_shstrndx
_HEADER = struct.Struct("<4sBB10xHH20xQ10xHHH")
# sh_name, sh_type, sh_flags, sh_offset, sh_size, sh_link, sh_info
_SECTION = struct.Struct("<IIQ8xQQII16x")
_SYMBOL = struct.Struct("<6xHQ8x")
_RELA = struct.Struct("<QQq")
_COMPRESSION = struct.Struct("<I4xQ8x")
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

Data: TypeAlias = memoryview | bytes
Headers: TypeAlias = list[tuple[int, ...]]


class DwarfError(Exception):
    """A debug file is damaged, or says it in a way that this reader does not know."""


DAMAGED = (DwarfError, IndexError, OverflowError, struct.error, zlib.error)
"""What reading a damaged file raises; the public questions turn it into no answer."""


def text_at(data: Data, at: int) -> str:
    """Read a zero-terminated string; non-ASCII bytes are escaped."""
    head, end, _ = bytes(data[at : at + _MAX_NAME]).partition(b"\0")
    if not end:
        raise DwarfError("a string does not end")
    return head.decode("ascii", "backslashreplace")


def uleb(data: Data, at: int) -> tuple[int, int]:
    """Read an unsigned LEB128: the number and where it ends."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise DwarfError("a LEB128 has more than 64 bits")


def sleb(data: Data, at: int) -> tuple[int, int]:
    """Read a signed LEB128: the number and where it ends."""
    value, end = uleb(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if data[end - 1] & 0x40 else value), end


class Relocations:
    """The relocations of one section, found by place."""

    def __init__(self, table: Data, symbols: Data, places: list[int | None]) -> None:
        """Take a table of Elf64_Rela.

        :param symbols: the symbol table that it refers to
        :param places: run-time address of each section by number; 0 for a section that is
            not loaded, None where it is not known
        """
        self._table = table
        self._symbols = symbols
        self._places = places
        numbers = array("Q")
        numbers.frombytes(table[: len(table) // _RELA.size * _RELA.size])
        self._offsets = numbers[::3]
        self._order: array[int] | None = None
        if any(map(int.__gt__, self._offsets, self._offsets[1:])):
            order = sorted(range(len(self._offsets)), key=self._offsets.__getitem__)
            self._order = array("Q", order)
            self._offsets = array("Q", (self._offsets[n] for n in order))

    def find(self, at: int) -> int | None:
        """Find the number of the relocation of the field at ``at``."""
        index = bisect_left(self._offsets, at)
        if index == len(self._offsets) or self._offsets[index] != at:
            return None
        return self._order[index] if self._order is not None else index

    def value(self, number: int, size: int) -> int | None:
        """Compute a relocation; None when its symbol's address is not known here."""
        _, info, addend = _RELA.unpack_from(self._table, number * _RELA.size)
        if _ABSOLUTE.get(info & 0xFFFF_FFFF) != size:
            raise DwarfError(f"relocation type {info & 0xFFFF_FFFF} of {size} bytes")
        section, value = _SYMBOL.unpack_from(self._symbols, (info >> 32) * _SYMBOL.size)
        if section == _SHN_ABS:
            return int(value + addend)
        if section == _SHN_UNDEF or section >= _SHN_LORESERVE:
            return None
        place = self._places[section]
        return None if place is None else place + int(value + addend)


class Section:
    """One section: its bytes, and the reading of fields that may be relocated."""

    def __init__(self, data: Data, relocations: Relocations | None, bias: int) -> None:
        """Take a section's bytes.

        :param bias: run-time address minus the file's
        """
        self.data = data
        self._relocations = relocations
        self.bias = bias

    def is_relocated(self, at: int) -> bool:
        """Whether a relocation gives the field at ``at``, whatever its bytes are."""
        return self._relocations is not None and self._relocations.find(at) is not None

    def offset(self, at: int) -> int:
        """Read a 4-byte offset into another section."""
        number = self._relocations.find(at) if self._relocations is not None else None
        if self._relocations is None or number is None:
            return int(_U32.unpack_from(self.data, at)[0])
        value = self._relocations.value(number, 4)
        if value is None or value < 0:
            raise DwarfError("an offset refers to no section of the file")
        return value

    def address(self, at: int) -> int | None:
        """Read an 8-byte address as at run time; None when its section's is not known."""
        number = self._relocations.find(at) if self._relocations is not None else None
        if self._relocations is None or number is None:
            return int(_U64.unpack_from(self.data, at)[0]) + self.bias
        return self._relocations.value(number, 8)


class MappedFile:
    """One debug file: an x86-64 ELF file that is read by its section headers."""

    def __init__(
        self, path: Path, bias: int, place_of: Callable[[str], int | None] | Mapping[str, int]
    ) -> None:
        """Map the file and read its section headers.

        :param bias: run-time address minus the file's, unless it is relocatable
        :param place_of: run-time address of a section of a relocatable file
        :raises OSError: it cannot be opened
        :raises DwarfError: it is no ELF file of this kind
        """
        with path.open("rb") as file:
            try:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as empty:
                raise DwarfError("the file is empty") from empty
        self._view = memoryview(mapped)
        kind, self._headers, names = _read_headers(self._view)
        self._names = [text_at(names, header[0]) for header in self._headers]
        self._is_relocatable = kind == _ET_REL
        self._bias = 0 if self._is_relocatable else bias
        find = place_of.get if isinstance(place_of, Mapping) else place_of
        self._places = [
            find(name) if header[2] & _SHF_ALLOC and self._names.count(name) == 1 else 0
            for name, header in zip(self._names, self._headers, strict=True)
        ]
        self._sections: dict[str, Section | None] = {}

    def section(self, name: str) -> Section:
        """Return a section by name.

        :raises DwarfError: there is none
        """
        found = self.find_section(name)
        if found is None:
            raise DwarfError(f"no {name}")
        return found

    def find_section(self, name: str) -> Section | None:
        """Find a section by name; None if the file has none of this name."""
        if name not in self._sections:
            self._sections[name] = self._open(name)
        return self._sections[name]

    def _open(self, name: str) -> Section | None:
        if name not in self._names:
            return None
        index = self._names.index(name)
        relocations = self._relocations(index) if self._is_relocatable else None
        return Section(self._data(index), relocations, self._bias)

    def _relocations(self, index: int) -> Relocations | None:
        # The linker may leave relocations in an executable, too; those are applied already.
        for number, (_, kind, _, _, _, link, target) in enumerate(self._headers):
            if kind == _SHT_RELA and target == index:
                if self._headers[link][1] != _SHT_SYMTAB:
                    raise DwarfError("a relocation table has no symbols")
                return Relocations(self._data(number), self._data(link), self._places)
        return None

    def _data(self, index: int) -> Data:
        _, kind, flags, offset, size, _, _ = self._headers[index]
        if kind == _SHT_NOBITS or offset + size > len(self._view):
            raise DwarfError("a section lies outside the file")
        data = self._view[offset : offset + size]
        return _inflate(data) if flags & _SHF_COMPRESSED else data


def _read_headers(view: memoryview) -> tuple[int, Headers, memoryview]:
    # (e_type, section headers, the bytes of the sections' names)
    magic, bits, order, kind, machine, place, entry_size, count, names = _HEADER.unpack_from(view)
    if (magic, bits, order, machine) != (b"\x7fELF", 2, 1, _EM_X86_64):
        raise DwarfError("not an x86-64 ELF file")
    if entry_size != _SECTION.size or names >= count or place + count * entry_size > len(view):
        raise DwarfError("no usable section headers")
    headers = list(_SECTION.iter_unpack(view[place : place + count * entry_size]))
    _, _, _, offset, size, _, _ = headers[names]
    return kind, headers, view[offset : offset + size]


def _inflate(data: Data) -> bytes:
    kind, size = _COMPRESSION.unpack_from(data)
    if kind != _ELFCOMPRESS_ZLIB or size > _MAX_INFLATED:
        raise DwarfError("a section is compressed in a way that cannot be read")
    inflated = zlib.decompressobj().decompress(data[_COMPRESSION.size :], size)
    if len(inflated) != size:
        raise DwarfError("a compressed section has another size")
    return inflated
