"""makedumpfile's flattened format: a dump as a stream of (offset, size, data) segments.

Written by ``makedumpfile -F`` and by QEMU. Source: makedumpfile.h (struct
makedumpfile_header, struct makedumpfile_data_header): a 4096-byte header, then
big-endian segment headers, the last one with offset and size -1.
"""

from __future__ import annotations

import struct

from crashkit.errors import TargetError
from crashkit.target.source import FileSource

SIGNATURE = b"makedumpfile\0\0\0\0"
HEADER_SIZE = 4096
END_MARKER = b"\xff" * 16
MAX_SEGMENTS = 1 << 14
"""Segments looked at when a dump is identified; only dumps of many gigabytes have more,
and their headers come first."""

_HEADER = struct.Struct(">16sqq")
_SEGMENT = struct.Struct(">qq")


class FlattenedSource:
    """The dump inside a flattened file, addressed as if it were rearranged.

    :ivar complete: the end marker is there
    :ivar walked: every segment was seen, so that what is not in ``segments`` is a hole
    :ivar missing: bytes known to be missing from the file itself
    :ivar segments: (offset in the dump, size, offset in the file), in file order
    """

    def __init__(self, file: FileSource, max_segments: int = MAX_SEGMENTS) -> None:
        self.file = file
        self.name = file.name
        self.walked = False
        self.segments: list[tuple[int, int, int]] = []
        self.missing = 0
        self.complete = file.read(file.size - 16, 16) == END_MARKER
        self._check_header()
        self._walk(max_segments)
        self.size = max((start + size for start, size, _ in self.segments), default=0)

    def _check_header(self) -> None:
        header = self.file.read(0, _HEADER.size)
        if len(header) < _HEADER.size:
            raise TargetError(f"{self.name} is cut inside its first header; copy the dump again")
        _, kind, version = _HEADER.unpack(header)
        if (kind, version) != (1, 1):
            raise TargetError(
                f"{self.name} is a flattened dump of an unknown kind (type {kind}, version "
                f"{version}); rearrange it with `makedumpfile -R OUT < {self.name}`"
            )

    def _walk(self, max_segments: int) -> None:
        place = HEADER_SIZE
        for _ in range(max_segments):
            header = self.file.read(place, _SEGMENT.size)
            if len(header) < _SEGMENT.size:
                self.complete, self.walked = False, True
                self.missing += _SEGMENT.size - len(header)
                return
            start, size = _SEGMENT.unpack(header)
            if start == -1:
                self.complete = self.walked = True
                return
            if start < 0 or size <= 0 or start + size >= 1 << 62:
                raise TargetError(
                    f"{self.name} is garbled: the flattened segment header at byte {place} "
                    "is impossible; copy the dump again"
                )
            place += _SEGMENT.size
            self._add(start, size, place)
            place += size

    def _add(self, start: int, size: int, place: int) -> None:
        there = max(0, min(size, self.file.size - place))
        if there:
            self.segments.append((start, there, place))
        self.missing += size - there

    def read(self, offset: int, size: int) -> bytes:
        """Read at most ``size`` bytes; holes read as zeros, as libkdumpfile reads them."""
        size = min(size, self.size - offset)
        if size <= 0 or offset < 0:
            return b""
        out = bytearray(size)
        for start, length, place in self.segments:
            first, last = max(offset, start), min(offset + size, start + length)
            if first < last:
                data = self.file.read(place + first - start, last - first)
                out[first - offset : first - offset + len(data)] = data
        return bytes(out)
