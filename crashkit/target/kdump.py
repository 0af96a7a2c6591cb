"""kdump-compressed dumps: main header and sub-header.

Written by makedumpfile, by QEMU and by a few libraries. Source: makedumpfile's
IMPLEMENTATION and diskdump_mod.h (struct disk_dump_header, struct
kdump_sub_header), 64-bit little-endian layout; what libkdumpfile makes of the
bitmap size.
"""

from __future__ import annotations

import struct

from crashkit.errors import TargetError
from crashkit.target import machines
from crashkit.target.source import Source
from crashkit.target.vmcoreinfo import escape
from crashkit.value import facts

SIGNATURES = (b"KDUMP   ", b"DISKDUMP")
COMPRESSIONS = {0x01: "zlib", 0x02: "lzo", 0x04: "snappy", 0x20: "zstd"}
"""DUMP_DH_COMPRESSED_*, in ``status`` and in the flags of a page."""
INCOMPLETE = 0x08
"""DUMP_DH_COMPRESSED_INCOMPLETE in ``status``: the disk was full."""
BLOCK_SIZE = 4096
"""Page size of x86-64."""

_MAX_BLOCKS = 1 << 17  # of both bitmaps: 8 TiB of memory
_UTS = slice(2, 8)
_HEADER = struct.Struct("<8si65s65s65s65s65s65s6xqqIiiIIIIIIi")
_SUB_HEADER = struct.Struct("<QiiQQQQQQQQQQQ")
NOTES_FIELDS = BLOCK_SIZE + 48
"""Where the file says where its notes are: two 64-bit numbers."""
ERASE_INFO_FIELDS = BLOCK_SIZE + 64
"""Where the file says where its erase info is: two 64-bit numbers."""


@facts
class Extent:
    """A range of the file in bytes."""

    offset: int = 0
    size: int = 0

    @property
    def end(self) -> int:
        """Offset after the last byte; 0 when empty."""
        return self.offset + self.size if self.size else 0


@facts
class KdumpHeader:
    """Main header and sub-header; text is escaped, sizes are in bytes."""

    sysname: str
    nodename: str
    release: str
    version: str
    machine: str
    timestamp: int | None
    """When the dump was written, Unix seconds; None when not recorded."""
    status: int
    """Compression flags of the whole dump, and INCOMPLETE."""
    dump_level: int | None
    split: bool
    """One part of a dump written with ``makedumpfile --split``."""
    pages: range
    """The page frame numbers this file may hold."""
    vmcoreinfo: Extent
    notes: Extent
    erase_info: Extent
    bitmap: Extent
    """The second bitmap: a bit for every page that is in the dump."""
    descriptors: int
    """Offset of the page descriptors."""

    @property
    def has_utsname(self) -> bool:
        """Whether libkdumpfile can tell the architecture from the header."""
        return self.sysname == "Linux" and bool(self.release and self.version and self.machine)


def read_header(source: Source) -> KdumpHeader:
    """Read the headers of an x86-64 kdump.

    :raises TargetError: another architecture, or cut or garbled in the headers
    """
    raw = source.read(0, _HEADER.size)
    if len(raw) < _HEADER.size:
        raise TargetError(f"{source.name} is cut inside its kdump header; copy the dump again")
    fields = _HEADER.unpack(raw)
    uts = [escape(text.split(b"\0", 1)[0]) for text in fields[_UTS]]
    if uts[4]:
        machines.require_x86_64(source.name, uts[4])
    block_size, sub_blocks, bitmap_blocks, max_pfn = fields[11:15]
    if block_size != BLOCK_SIZE or not 0 < sub_blocks < 1 << 20 or bitmap_blocks > _MAX_BLOCKS:
        raise TargetError(
            f"{source.name} is garbled: its kdump header does not fit an x86_64 dump "
            f"(block size {block_size}); copy the dump again"
        )
    version = fields[1]
    sub = _SUB_HEADER.unpack(
        source.read(BLOCK_SIZE, _SUB_HEADER.size).ljust(_SUB_HEADER.size, b"\0")
    )
    max_pfn = sub[13] if version >= 6 else max_pfn
    split = version >= 2 and sub[2] != 0
    first, last = (sub[11:13] if version >= 6 else sub[3:5]) if split else (0, 1 << 52)
    bitmap, descriptors = _bitmap(1 + sub_blocks, bitmap_blocks, max_pfn)
    return KdumpHeader(
        sysname=uts[0],
        nodename=uts[1],
        release=uts[2],
        version=uts[3],
        machine=uts[4],
        timestamp=fields[8] if 0 < fields[8] < 1 << 34 else None,
        status=fields[10],
        dump_level=sub[1] if version >= 1 and 0 <= sub[1] < 64 else None,
        split=split,
        pages=range(first, last),
        vmcoreinfo=_extent(source, sub[5:7], version >= 3),
        notes=_extent(source, sub[7:9], version >= 4),
        # Version 5 introduced it; libkdumpfile looks for it from version 4 on.
        erase_info=_extent(source, sub[9:11], version >= 4),
        bitmap=bitmap,
        descriptors=descriptors,
    )


def _extent(source: Source, fields: tuple[int, int], is_there: bool) -> Extent:
    if not is_there:
        return Extent()
    if max(fields) >= 1 << 62:
        raise TargetError(
            f"{source.name} is garbled: its kdump sub-header names impossible offsets"
        )
    return Extent(offset=fields[0], size=fields[1])


def _bitmap(first_block: int, blocks: int, max_pfn: int) -> tuple[Extent, int]:
    # Two bitmaps of the same size follow the headers. libkdumpfile takes the blocks for
    # one bitmap only when two halves would be too small for the last page (old diskdump).
    start, size = first_block * BLOCK_SIZE, blocks * BLOCK_SIZE
    end = start + size
    if max_pfn <= size * 8 // 2:
        half = blocks // 2 * BLOCK_SIZE
        return Extent(offset=start + half, size=half), end
    return Extent(offset=start, size=size), end
