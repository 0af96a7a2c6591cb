"""ELF vmcores: headers, segments and notes.

Parsed with :mod:`struct`: importing pyelftools costs as much time as all of this,
a dump may be cut anywhere, and a filtered ELF dump has tens of thousands of
segments. The tests compare the result with pyelftools. Source: elf(5), gABI.
"""

from __future__ import annotations

import struct
from typing import Literal

from crashkit.errors import TargetError
from crashkit.target import machines
from crashkit.target.notes import MAX_BYTES, Notes, read_notes
from crashkit.target.source import Source
from crashkit.value import facts

MAGIC = b"\x7fELF"
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
PT_LOAD, PT_NOTE = 1, 4
SHT_NOBITS = 8
PN_XNUM = 0xFFFF
MAX_SEGMENTS = 1 << 20
DUMP_ELF_INCOMPLETE = 1
"""e_flags of an ELF dump that makedumpfile could not finish (its elf_info.h)."""

_KERNEL_HALF = 1 << 63
_SANE_OFFSET = 1 << 62

# e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize,
# e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx: Elf64_Ehdr after e_ident.
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<4xI16xQQ24x")
_SH_INFO = struct.Struct("<44xI")


@facts
class ElfDump:
    """What an x86-64 ELF core file says of itself."""

    notes: Notes
    """Its notes, as far as they are in the file."""
    missing_bytes: int
    """Bytes of segments past the end of the file."""
    incomplete: bool
    """makedumpfile marked the dump as not finished."""
    has_kernel_addresses: bool
    """A segment lies in the kernel half of the address space, or none has an address."""
    zero_filled: int
    """Bytes of memory that have no data in the file; drgn reads them as zeros."""


def elf_type(head: bytes) -> int | None:
    """``e_type`` of the first bytes of an ELF file of any class; None when cut."""
    if len(head) < 18:
        return None
    return int.from_bytes(head[16:18], _byte_order(head))


def machine_name(head: bytes) -> str:
    """The architecture of an ELF file, as ``uname -m`` says it, else pyelftools' words."""
    number = int.from_bytes(head[18:20], _byte_order(head))
    return machines.name_of(number, is_64_bit=head[4] == 2)


def read_elf(source: Source) -> ElfDump:
    """Read a 64-bit little-endian x86 core file.

    :raises TargetError: another architecture, or cut or garbled in the headers
    """
    head = source.read(0, _HEADER.size)
    if len(head) < _HEADER.size:
        raise TargetError(f"{source.name} is cut inside its ELF header; copy the dump again")
    machines.require_x86_64(source.name, machine_name(head))
    fields = _HEADER.unpack(head)
    segments = _read_segments(source, fields)
    loads = [segment for segment in segments if segment[0] == PT_LOAD]
    end = max((offset + size for _, offset, _, size, _ in segments), default=0)
    return ElfDump(
        notes=read_notes(_note_bytes(source, segments)),
        missing_bytes=max(0, end - source.size),
        incomplete=bool(fields[6] & DUMP_ELF_INCOMPLETE),
        has_kernel_addresses=not any(load[2] for load in loads)
        or any(load[2] >= _KERNEL_HALF for load in loads),
        zero_filled=sum(max(0, in_memory - size) for _, _, _, size, in_memory in loads),
    )


def sections_fit(source: Source) -> bool:
    """Whether every section is inside the file; a vmcore needs none, QEMU writes two."""
    fields = _HEADER.unpack(source.read(0, _HEADER.size))
    place, entry_size, count = fields[5], fields[10], fields[11]
    if place == 0:
        return True
    if entry_size != _SECTION.size or count == 0 or place >= _SANE_OFFSET:
        return False
    table = source.read(place, count * _SECTION.size)
    return len(table) == count * _SECTION.size and all(
        kind == SHT_NOBITS or offset + size <= source.size
        for kind, offset, size in _SECTION.iter_unpack(table)
    )


def _read_segments(source: Source, fields: tuple[int, ...]) -> list[tuple[int, int, int, int, int]]:
    # (type, file offset, virtual address, size in the file, size in memory)
    place, entry_size, count = fields[4], fields[8], fields[9]
    if count == PN_XNUM:
        section = source.read(fields[5], 64)
        count = _SH_INFO.unpack_from(section)[0] if len(section) == 64 else 0
    if not 0 < count <= MAX_SEGMENTS or entry_size != _SEGMENT.size or place >= _SANE_OFFSET:
        raise TargetError(
            f"{source.name} is garbled: its ELF header describes no usable segments; "
            "copy the dump again"
        )
    table = source.read(place, count * _SEGMENT.size)
    if len(table) < count * _SEGMENT.size:
        raise TargetError(f"{source.name} is cut inside its program headers; copy the dump again")
    segments = [
        (kind, offset, address, size, in_memory)
        for kind, _, offset, address, _, size, in_memory, _ in _SEGMENT.iter_unpack(table)
    ]
    if any(offset + size >= _SANE_OFFSET for _, offset, _, size, _ in segments):
        raise TargetError(f"{source.name} is garbled: a segment ends beyond any file size")
    return segments


def _note_bytes(source: Source, segments: list[tuple[int, int, int, int, int]]) -> bytes:
    parts = []
    room = MAX_BYTES
    for kind, offset, _, size, _ in segments:
        if kind == PT_NOTE and room > 0:
            part = source.read(offset, min(size, room))
            parts.append(part)
            room -= len(part)
    return b"".join(parts)


def _byte_order(head: bytes) -> Literal["big", "little"]:
    return "big" if head[5:6] == b"\x02" else "little"
