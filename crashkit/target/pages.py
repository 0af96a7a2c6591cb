"""Page descriptors of a kdump: what is compressed how, and what is lost.

Source: makedumpfile's IMPLEMENTATION ("The incomplete DUMPFILE") and struct
page_desc in diskdump_mod.h.
"""

from __future__ import annotations

import struct
import sys
from array import array

from crashkit.target.kdump import BLOCK_SIZE, COMPRESSIONS, KdumpHeader
from crashkit.target.source import Source
from crashkit.value import facts

DESCRIPTOR = struct.Struct("<QIIQ")
"""offset and size of the page's data, its flags, and page flags nobody uses."""
MAX_BITMAP = 256 << 20
MAX_DESCRIPTORS = 1 << 20
"""Descriptors looked at when a dump is identified: 4 GiB of memory that was kept."""
MAX_PAGE_BYTES = 2 * BLOCK_SIZE
"""No compression makes a page larger than this; makedumpfile stores such a page as it is."""


@facts
class PageTable:
    """What the page descriptors say, as far as they are in the file."""

    count: int
    """Pages the bitmap promises."""
    lost: int
    """Pages that have no descriptor or no usable data in the file."""
    compressions: frozenset[str]
    """Compressions seen; a page stored as it is counts as none."""
    end: int
    """Offset after the last byte that descriptors or page data need, at least."""


def read_page_table(source: Source, header: KdumpHeader) -> PageTable:
    """Check the descriptors of the pages against the size of the file."""
    count = count_pages(source, header)
    end = header.descriptors + count * DESCRIPTOR.size
    # The data of the last pages comes last: they tell where the dump should end.
    first = max(0, count - MAX_DESCRIPTORS)
    table = source.read(
        header.descriptors + first * DESCRIPTOR.size, (count - first) * DESCRIPTOR.size
    )
    offsets, sizes, flags = _columns(table)
    lost = count - first - len(offsets)
    data_end = 0
    for offset, size in zip(offsets, sizes, strict=True):
        if not is_readable(offset, size, source.size):
            lost += 1
            if size <= MAX_PAGE_BYTES and offset < 1 << 62:
                data_end = max(data_end, offset + size)
    known = sum(COMPRESSIONS)
    return PageTable(
        count=count,
        lost=lost,
        compressions=frozenset(
            COMPRESSIONS.get(flag & known, "mixed") for flag in set(flags) if flag & known
        ),
        end=max(end, data_end),
    )


def count_pages(source: Source, header: KdumpHeader) -> int:
    """Number of pages the bitmap says are in this file."""
    return read_bitmap(source, header).bit_count()


def read_bitmap(source: Source, header: KdumpHeader) -> int:
    """The second bitmap as one number: bit N for page frame N; missing bytes are zero."""
    raw = source.read(header.bitmap.offset, min(header.bitmap.size, MAX_BITMAP))
    bits = int.from_bytes(raw, "little")
    if header.split:
        bits &= (1 << min(header.pages.stop, len(raw) * 8)) - 1
        bits >>= min(header.pages.start, len(raw) * 8)
    return bits


def is_readable(offset: int, size: int, end: int) -> bool:
    """Whether a page's data can be in a file of ``end`` bytes; offset 0 marks a lost page."""
    return offset > 0 and size <= MAX_PAGE_BYTES and offset + size <= end


def _columns(table: bytes) -> tuple[array[int], array[int], array[int]]:
    # The whole table at once: a loop over struct.unpack would take a second for a large dump.
    table = table[: len(table) // DESCRIPTOR.size * DESCRIPTOR.size]
    longs, words = array("Q", table), array("I", table)
    if sys.byteorder == "big":
        longs.byteswap()
        words.byteswap()
    return longs[0::3], words[2::6], words[3::6]
