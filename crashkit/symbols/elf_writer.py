"""A 64-bit little-endian ELF executable: sections, segments, symbols. Format: elf(5)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from crashkit.value import facts

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bit, little endian, version 1
_EXEC, _VERSION = 2, 1
_PROGBITS, _SYMTAB, _STRTAB, _NOTE, _NOBITS = 1, 2, 3, 7, 8
_PT_LOAD, _PT_NOTE = 1, 4
WRITE, ALLOC, EXEC = 1, 2, 4
"""``SHF_*``."""
LOCAL, GLOBAL, WEAK = 0, 1, 2
"""``STB_*``."""
NOTYPE, OBJECT, FUNC = 0, 1, 2
"""``STT_*``."""
_SECTION = 3  # STT_SECTION; such a symbol has the name of its section
_ABSOLUTE = 0xFFF1  # SHN_ABS
_PAGE = 4096


@facts
class Section:
    """One section; those with ``ALLOC`` get a segment."""

    name: str
    data: bytes | bytearray | None
    """None: no contents (``SHT_NOBITS``)."""
    address: int = 0
    size: int = 0
    """Bytes; of the contents where there are any."""
    flags: int = 0
    note: bool = False


@dataclass(frozen=True, slots=True)
class ElfSymbol:
    """One symbol."""

    name: str
    address: int
    size: int
    binding: int
    kind: int


def write_elf(
    file: BinaryIO, machine: int, sections: Sequence[Section], symbols: Iterable[ElfSymbol]
) -> int:
    """Write the file; pages of contents keep their place within a page.

    :param machine: ``EM_*``
    :returns: its length in bytes
    """
    table, strings, first_global = _symbols(sections, symbols)
    rest = [
        Section(name=".symtab", data=table),
        Section(name=".strtab", data=strings),
    ]
    everything = [*sections, *rest]
    names, name_offsets = _strings([*(s.name for s in everything), ".shstrtab"])
    everything.append(Section(name=".shstrtab", data=names))
    segments = [s for s in everything if s.flags & ALLOC or s.note]
    count = len(segments) + sum(s.note and bool(s.flags & ALLOC) for s in segments)
    places, end = _places(_EHDR.size + count * _PHDR.size, everything)
    heads = [bytes(_SHDR.size)]
    for number, section in enumerate(everything):
        link = (len(sections) + 2, first_global) if section.name == ".symtab" else (0, 0)
        heads.append(_section_head(section, name_offsets[number], places[number], link))
    file.write(
        _EHDR.pack(
            _IDENT, _EXEC, machine, _VERSION, 0, _EHDR.size, end, 0, _EHDR.size,
            _PHDR.size, count, _SHDR.size, len(heads), len(heads) - 1,
        )
    )  # fmt: skip
    file.write(b"".join(_segment_heads(everything, places)))
    for section, place in zip(everything, places, strict=True):
        if section.data is not None:
            file.seek(place)
            file.write(section.data)
    file.seek(end)
    return end + file.write(b"".join(heads))


def _places(start: int, sections: Iterable[Section]) -> tuple[list[int], int]:
    # The offset of each section in the file, and where the last one ends.
    places = []
    at = start
    for section in sections:
        at = -(-at // 8) * 8
        if section.flags & ALLOC and section.data is not None:
            at += (section.address - at) % _PAGE
        places.append(at)
        at += len(section.data) if section.data is not None else 0
    return places, -(-at // 8) * 8


def _section_head(section: Section, name: int, place: int, link: tuple[int, int]) -> bytes:
    kind, entry, align = _PROGBITS, 0, 1
    if section.name == ".symtab":
        kind, entry, align = _SYMTAB, _SYM.size, 8
    elif section.name.endswith("strtab"):
        kind = _STRTAB
    elif section.note:
        kind, align = _NOTE, 4
    elif section.data is None:
        kind = _NOBITS
    size = section.size if section.data is None else len(section.data)
    return _SHDR.pack(name, kind, section.flags, section.address, place, size, *link, align, entry)


def _segment_heads(sections: Iterable[Section], places: Sequence[int]) -> list[bytes]:
    heads = []
    for section, place in zip(sections, places, strict=True):
        length = 0 if section.data is None else len(section.data)
        size = section.size if section.data is None else length
        # PF_R, PF_W, PF_X are 4, 2, 1.
        rights = 4 | (section.flags & WRITE and 2) | (section.flags & EXEC and 1)
        where = (place, section.address, section.address, length, size)
        if section.flags & ALLOC:
            align = 1 if section.data is None else _PAGE
            heads.append(_PHDR.pack(_PT_LOAD, rights, *where, align))
        if section.note:
            heads.append(_PHDR.pack(_PT_NOTE, rights, *where, 4))
    return heads


def _symbols(sections: Sequence[Section], symbols: Iterable[ElfSymbol]) -> tuple[bytes, bytes, int]:
    # The symbol table, its strings, and the number of the first symbol that is not local.
    ordered = sorted(symbols, key=lambda symbol: (symbol.binding != LOCAL, symbol.address))
    strings, offsets = _strings([symbol.name for symbol in ordered])
    spans = sorted(
        (s.address, s.address + s.size, number)
        for number, s in enumerate(sections, 1)
        if s.flags & ALLOC
    )
    starts = [start for start, _end, _number in spans]
    pack = _SYM.pack
    table = bytearray(_SYM.size)
    for start, _end, number in spans:  # crash looks for the symbol .rodata
        table += pack(0, _SECTION, 0, number, start, 0)
    first_global = 1 + len(spans)
    for symbol, name in zip(ordered, offsets, strict=True):
        at = bisect_right(starts, symbol.address) - 1
        # A symbol may mark the end of the last section.
        inside = at >= 0 and symbol.address <= spans[at][1]
        section = spans[at][2] if inside else _ABSOLUTE
        kind = symbol.binding << 4 | symbol.kind
        table += pack(name, kind, 0, section, symbol.address, symbol.size)
        first_global += symbol.binding == LOCAL
    return bytes(table), strings, first_global


def _strings(texts: Sequence[str]) -> tuple[bytes, list[int]]:
    # One string section and where in it each text is.
    raw = [text.encode("utf-8", "backslashreplace") for text in texts]
    offsets = []
    at = 1
    for text in raw:
        offsets.append(at)
        at += len(text) + 1
    return b"\0" + b"\0".join([*raw, b""]), offsets
