"""Making a cut kdump or flattened dump safe to open.

libkdumpfile maps the file: it reads zeros for page data past its end, and a read
across the last page of the file kills the process (SIGBUS); a flattened file
without its end marker it refuses. So the bytes that are there go to an unnamed
temporary file, and a page whose data is lost is taken out of the bitmap and of
the descriptors. Reading it then fails as for any page that was excluded.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from crashkit.errors import TargetError
from crashkit.target import flattened, kdump, pages, places
from crashkit.target.facts import Target
from crashkit.target.source import FileSource, Source

ALL_SEGMENTS = 1 << 24
"""More than any file has."""
_ROOM = 64 << 20


def mended_copy(target: Target) -> int:
    """Copy what is there to an unnamed temporary file; its descriptor is the caller's.

    Needed for every truncated dump but an ELF file, which drgn reads itself.

    :raises TargetError: no room for the copy, or it cannot be written
    """
    with places.open_file(Path(target.readable)) as file:
        source: Source = file
        segments: list[tuple[int, int, int]] = [(0, file.size, 0)]
        if target.format.endswith("flattened"):
            flat = flattened.FlattenedSource(file, ALL_SEGMENTS)
            source, segments = flat, flat.segments
        copy = copy_segments(file, segments, f"{target.path} is truncated and")
        if target.format.startswith("kdump"):
            try:
                take_out_lost_pages(source, copy)
            except OSError as error:
                os.close(copy)
                raise unwritable(f"{target.path} is truncated and", error) from error
            except BaseException:
                os.close(copy)
                raise
    return copy


def copy_segments(file: FileSource, segments: list[tuple[int, int, int]], why: str) -> int:
    """Copy (offset in the copy, size, offset in ``file``) to an unnamed temporary file.

    :param why: the beginning of the sentence that says that it cannot be done
    :returns: its descriptor, the caller's
    :raises TargetError: no room for the copy, or it cannot be written
    """
    size = sum(size for _, size, _ in segments)
    folder = tempfile.gettempdir()
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < size + _ROOM:
        raise TargetError(
            f"{why} must be completed in a temporary copy, but {folder} has no room for {size} "
            "bytes: set TMPDIR to a larger place, or copy the dump again"
        )
    with tempfile.TemporaryFile() as temporary:
        copy = os.dup(temporary.fileno())
    try:
        for start, part, place in segments:
            _copy_bytes(file, copy, start, part, place)
    except OSError as error:
        os.close(copy)
        raise unwritable(why, error) from error
    return copy


def unwritable(why: str, error: OSError) -> TargetError:
    """Make the error for a copy that cannot be written; ``why`` as for :func:`copy_segments`."""
    return TargetError(
        f"{why} its completed copy in {tempfile.gettempdir()} cannot be written: "
        f"{error.strerror or error}; copy the dump again"
    )


def _copy_bytes(file: FileSource, copy: int, start: int, size: int, place: int) -> None:
    os.lseek(copy, start, os.SEEK_SET)
    while size > 0:
        done = os.sendfile(copy, file.descriptor, place, min(size, 1 << 30))
        if not done:
            break
        place += done
        size -= done


def take_out_lost_pages(source: Source, copy: int) -> None:
    """Mark the pages that ``source`` has no data of as excluded in ``copy``, a copy of it."""
    header = kdump.read_header(source)
    bits = pages.read_bitmap(source, header)
    table = source.read(header.descriptors, bits.bit_count() * pages.DESCRIPTOR.size)
    kept = bytearray()
    bitmap = bytearray(min(header.bitmap.size, pages.MAX_BITMAP))
    for frame, descriptor in zip(_set_bits(bits), _descriptors(table), strict=False):
        offset, size, _, _ = pages.DESCRIPTOR.unpack(descriptor)
        if pages.is_readable(offset, size, source.size):
            kept += descriptor
            bitmap[frame >> 3] |= 1 << (frame & 7)
    os.pwrite(copy, bitmap, header.bitmap.offset)
    os.pwrite(copy, kept, header.descriptors)
    for extent, place in (
        (header.notes, kdump.NOTES_FIELDS),
        (header.erase_info, kdump.ERASE_INFO_FIELDS),
    ):
        if extent.end > source.size:
            os.pwrite(copy, bytes(16), place)
    # A page that starts in the last 4 KiB of the file must not be read across its end.
    os.ftruncate(copy, max(source.size, header.descriptors) + 2 * pages.MAX_PAGE_BYTES)


def _descriptors(table: bytes) -> Iterator[bytes]:
    step = pages.DESCRIPTOR.size
    for place in range(0, len(table) - step + 1, step):
        yield table[place : place + step]


def _set_bits(bits: int) -> Iterator[int]:
    for place, byte in enumerate(bits.to_bytes((bits.bit_length() + 7) // 8, "little")):
        for bit in range(8):
            if byte >> bit & 1:
                yield place * 8 + bit
