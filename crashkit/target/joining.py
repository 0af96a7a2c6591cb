"""The parts of a split dump (``makedumpfile --split``), joined into one temporary file.

Every part has the headers and the whole bitmap, and the descriptors and data of the pages
of its own range of page frames (makedumpfile's IMPLEMENTATION, "Split").
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from crashkit.errors import TargetError
from crashkit.target import kdump, pages, places
from crashkit.target.source import FileSource

_MOST_FILES = 4096
_MOST_PARTS = 256
_ROOM = 64 << 20
_SPLIT_FIELD = kdump.BLOCK_SIZE + 12
"""``split`` of struct kdump_sub_header, an int."""
_IDENTITY = slice(0, 400)
"""Signature, version and utsname of the main header: the same in every part."""


def find_parts(path: Path) -> tuple[Path, ...]:
    """Find the parts of a split dump in the folder of one of them, by their page frames.

    :raises TargetError: parts of it are missing, or there are several of one range
    """
    with places.open_file(path) as file:
        wanted = file.read(0, kdump.BLOCK_SIZE)[_IDENTITY]
    found: list[tuple[range, Path]] = []
    for other in islice(sorted(path.parent.iterdir()), _MOST_FILES):
        if not other.is_file():
            continue
        with places.open_file(other) as file:
            head = file.read(0, kdump.BLOCK_SIZE)
            if head[_IDENTITY] != wanted:
                continue
            header = kdump.read_header(file)
        if header.split:
            found.append((header.pages, other))
    found.sort(key=lambda part: part[0].start)
    _require_whole(path, [pages_ for pages_, _ in found])
    return tuple(part for _, part in found)


def _require_whole(path: Path, ranges: Sequence[range]) -> None:
    # The last part's end is not known to be the dump's; a hole or an overlap is seen.
    end = 0
    for pages_ in ranges:
        if pages_.start < end:
            raise TargetError(
                f"{path.parent} holds parts of more than one split dump: keep those of one"
            )
        if pages_.start > end:
            raise TargetError(
                f"{path} is one part of a split dump, and the part with the page frames from "
                f"{end:#x} to {pages_.start:#x} is not beside it; copy all parts into one folder"
            )
        end = pages_.stop
    if len(ranges) > _MOST_PARTS:
        raise TargetError(f"{path.parent} holds {len(ranges)} parts of split dumps")


def joined_copy(parts: Sequence[Path]) -> int:
    """Join parts into an unnamed temporary file; its descriptor is the caller's.

    :param parts: in the order of their page frames
    :raises TargetError: no room for the copy, or a part is cut
    """
    folder = tempfile.gettempdir()
    space = os.statvfs(folder)
    size = sum(part.stat().st_size for part in parts)
    if space.f_bavail * space.f_frsize < size + _ROOM:
        raise TargetError(
            f"{parts[0]} and {len(parts) - 1} more parts must be joined, but {folder} has no room "
            f"for {size} bytes: set TMPDIR to a larger place"
        )
    with tempfile.TemporaryFile(prefix="crashkit-") as copy:
        descriptor = copy.fileno()
        with places.open_file(parts[0]) as first:
            header = kdump.read_header(first)
            os.pwrite(descriptor, first.read(0, header.descriptors), 0)
            os.pwrite(descriptor, bytes(4), _SPLIT_FIELD)
            for extent, field in (
                (header.vmcoreinfo, kdump.BLOCK_SIZE + 32),
                (header.notes, kdump.NOTES_FIELDS),
                (header.erase_info, kdump.ERASE_INFO_FIELDS),
            ):
                if extent.size and extent.offset >= header.descriptors:
                    # They lie where the joined descriptors will be: moved behind everything.
                    place = size + extent.offset
                    os.pwrite(descriptor, first.read(extent.offset, extent.size), place)
                    os.pwrite(descriptor, place.to_bytes(8, "little"), field)
        _append_pages(descriptor, header.descriptors, parts)
        return os.dup(descriptor)


def _append_pages(descriptor: int, start: int, parts: Sequence[Path]) -> None:
    # All descriptors come first, in the order of page frames; then the parts' data.
    counts = []
    for part in parts:
        with places.open_file(part) as file:
            counts.append(pages.count_pages(file, kdump.read_header(file)))
    data_at = start + sum(counts) * pages.DESCRIPTOR.size
    table_at = start
    for part, count in zip(parts, counts, strict=True):
        with places.open_file(part) as file:
            header = kdump.read_header(file)
            table = file.read(header.descriptors, count * pages.DESCRIPTOR.size)
            if len(table) < count * pages.DESCRIPTOR.size:
                raise TargetError(f"{part} is cut inside its page descriptors; copy it again")
            data_start = header.descriptors + len(table)
            moved = _moved(table, data_at - data_start)
            os.pwrite(descriptor, moved, table_at)
            _copy(file, descriptor, data_start, data_at)
            table_at += len(table)
            data_at += file.size - data_start


def _moved(table: bytes, by: int) -> bytes:
    out = bytearray()
    for offset, size, flags, page_flags in pages.DESCRIPTOR.iter_unpack(table):
        out += pages.DESCRIPTOR.pack(offset + by if offset else 0, size, flags, page_flags)
    return bytes(out)


def _copy(file: FileSource, descriptor: int, start: int, place: int) -> None:
    os.lseek(descriptor, place, os.SEEK_SET)
    while start < file.size:
        done = os.sendfile(descriptor, file.descriptor, start, min(file.size - start, 1 << 30))
        if not done:
            return
        start += done
