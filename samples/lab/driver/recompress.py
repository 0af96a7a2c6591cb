"""Recompress the pages of a kdump file with snappy, which no Debian makedumpfile can do.

The format is that of diskdump_mod.h in makedumpfile: a header, a sub-header and two bitmaps,
each a number of blocks long, then one descriptor per dumped page, then the pages.
"""

import ctypes
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from driver.errors import LabError

# struct disk_dump_header: status, block_size, sub_hdr_size, bitmap_blocks.
HEADER = struct.Struct("<8si390s6xqqIiiI")
# struct page_desc: offset, size, flags, page_flags.
DESCRIPTOR = struct.Struct("<qIIQ")
ZLIB, SNAPPY = 0x1, 0x4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a kdump file keeps what; offsets in bytes."""

    #: Bytes in a page.
    page_size: int
    #: Offset of the first page descriptor.
    descriptors: int
    #: Number of page descriptors.
    count: int


def recompress_snappy(path: Path) -> None:
    """Rewrite the kdump file *path*, compressed with zlib, in place.

    :raises LabError: it is no such file, or libsnappy is not installed
    """
    snappy = _Snappy()
    part = path.with_name(path.name + ".part")
    with path.open("rb") as source, part.open("wb") as target:
        layout = _read_layout(source)
        source.seek(0)
        target.write(source.read(layout.descriptors))
        _mark_compression(target)
        _rewrite_pages(source, target, layout, snappy)
    part.replace(path)


class _Snappy:
    """libsnappy's C interface, snappy-c.h."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libsnappy.so.1")
        except OSError as error:
            raise LabError("libsnappy is not installed: apt install libsnappy1v5") from error

    def compress(self, data: bytes) -> bytes:
        bound = self._library.snappy_max_compressed_length
        bound.restype = ctypes.c_size_t
        size = ctypes.c_size_t(bound(ctypes.c_size_t(len(data))))
        output = ctypes.create_string_buffer(size.value)
        length = ctypes.c_size_t(len(data))
        if self._library.snappy_compress(data, length, output, ctypes.byref(size)) != 0:
            raise LabError("snappy_compress failed")
        return output.raw[: size.value]


def _read_layout(file: BinaryIO) -> Layout:
    head = HEADER.unpack(file.read(HEADER.size))
    signature, status, block, sub_header, bitmaps = head[0], *head[5:]
    if signature != b"KDUMP   " or not status & ZLIB:
        raise LabError("only a kdump file compressed with zlib can be recompressed")
    # Each page in the second half of the bitmaps has a descriptor.
    file.seek((1 + sub_header) * block + bitmaps * block // 2)
    count = int.from_bytes(file.read(bitmaps * block // 2), "little").bit_count()
    start = (1 + sub_header + bitmaps) * block
    return Layout(page_size=block, descriptors=start, count=count)


def _mark_compression(file: BinaryIO) -> None:
    file.flush()
    position = HEADER.size - struct.calcsize("<IiiI")
    file.seek(position)
    file.write(struct.pack("<I", SNAPPY))
    file.seek(0, os.SEEK_END)


def _rewrite_pages(source: BinaryIO, target: BinaryIO, layout: Layout, snappy: _Snappy) -> None:
    source.seek(layout.descriptors)
    table = source.read(layout.count * DESCRIPTOR.size)
    target.write(table)
    written: dict[int, tuple[int, int, int]] = {}
    rewritten = bytearray()
    for offset, size, flags, page_flags in DESCRIPTOR.iter_unpack(table):
        if offset not in written:
            page = _read_page(source, offset, size, flags)
            written[offset] = _write_page(target, page, snappy)
        rewritten += DESCRIPTOR.pack(*written[offset], page_flags)
    target.seek(layout.descriptors)
    target.write(rewritten)


def _read_page(file: BinaryIO, offset: int, size: int, flags: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    return zlib.decompress(data) if flags & ZLIB else data


# A page that does not get smaller stays as it is, as makedumpfile leaves it.
def _write_page(file: BinaryIO, page: bytes, snappy: _Snappy) -> tuple[int, int, int]:
    compressed = snappy.compress(page)
    smaller = len(compressed) < len(page)
    data = compressed if smaller else page
    offset = file.tell()
    file.write(data)
    return offset, len(data), SNAPPY if smaller else 0
