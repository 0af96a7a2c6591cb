"""QEMU's ELF core in the order that makedumpfile reads, to have its pages compressed.

makedumpfile takes the program headers to be right behind the ELF header. QEMU puts them elsewhere,
and has segments for the flash memory below 4 GiB and for the screen, which no kernel knows.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Elf64_Ehdr and Elf64_Phdr, as elf(5) gives them.
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
PT_NOTE = 4
PAGE = 4096
#: The low memory of a PC ends here, and what is mapped below 4 GiB begins.
DEVICES, HIGH = 0xC000_0000, 0x1_0000_0000
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of the file to keep: notes, or memory."""

    #: The fields of its Elf64_Phdr.
    header: tuple[int, ...]

    @property
    def offset(self) -> int:
        """Where it is in QEMU's file."""
        return self.header[2]

    @property
    def size(self) -> int:
        """Bytes of it in the file."""
        return self.header[5]

    @property
    def is_kept(self) -> bool:
        """Whether it holds notes or memory of the kernel's."""
        return self.header[0] == PT_NOTE or not DEVICES <= self.header[4] < HIGH

    def packed(self, offset: int) -> bytes:
        """Its program header for another place in the file."""
        return PHDR.pack(*self.header[:2], offset, *self.header[3:])


def reorder(source: Path, target: Path) -> None:
    """Write QEMU's core *source* as *target*: headers first, then notes and memory."""
    with source.open("rb") as file, target.open("wb") as out:
        fields = list(EHDR.unpack(file.read(EHDR.size)))
        file.seek(fields[5])
        headers = [PHDR.unpack(file.read(PHDR.size)) for _ in range(fields[10])]
        segments = [Segment(header=header) for header in headers]
        kept = [segment for segment in segments if segment.is_kept]
        fields[5], fields[6], fields[10:] = EHDR.size, 0, [len(kept), 0, 0, 0]
        out.write(EHDR.pack(*fields))
        position = _whole(EHDR.size + PHDR.size * len(kept))
        for segment in kept:
            out.write(segment.packed(position))
            position += _whole(segment.size)
        position = _whole(out.tell())
        for segment in kept:
            _copy(file, segment, out, position)
            position += _whole(segment.size)
        out.truncate(position)


def _whole(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _copy(file: BinaryIO, segment: Segment, out: BinaryIO, position: int) -> None:
    file.seek(segment.offset)
    for start in range(0, segment.size, CHUNK):
        data = file.read(min(CHUNK, segment.size - start))
        if data.strip(b"\0"):  # the others stay holes
            out.seek(position + start)
            out.write(data)
