"""Dumps and logs inside a compressed file: unpacked once, into an unnamed temporary file.

A dump is read at random, so what is compressed as a whole must be unpacked first. The
formats that Python knows are unpacked here; the others by their own program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from crashkit.errors import TargetError
from crashkit.target.source import FileSource
from crashkit.value import facts

_CHUNK = 1 << 20
_ROOM = 64 << 20


class _Decompressor(Protocol):
    @property
    def unused_data(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@facts
class Packing:
    """A way to compress a whole file."""

    magic: bytes
    name: str
    make: Callable[[], _Decompressor] | None = None
    """Makes a decompressor; None: the program does it."""
    program: tuple[str, ...] = ()
    """Reads the file on standard input, writes what was in it to standard output."""


# Imported where used: a dump that is not packed, as most are, must not pay for them.


def _gzip() -> _Decompressor:
    import zlib

    return zlib.decompressobj(wbits=31)


def _xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor()


def _bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _damages() -> tuple[type[Exception], ...]:
    import lzma
    import zlib

    return (zlib.error, lzma.LZMAError, OSError, EOFError)


PACKINGS = (
    Packing(magic=b"\x1f\x8b", name="gzip", make=_gzip),
    Packing(magic=b"\xfd7zXZ\0", name="xz", make=_xz),
    Packing(magic=b"BZh", name="bzip2", make=_bzip2),
    Packing(magic=b"\x28\xb5\x2f\xfd", name="zstd", program=("zstd", "-dc")),
    Packing(magic=b"\x04\x22\x4d\x18", name="lz4", program=("lz4", "-dc")),
    Packing(magic=b"\x89LZO\0\r\n\x1a\n", name="lzop", program=("lzop", "-dc")),
)


@facts
class Unpacked:
    """What was in a compressed file."""

    file: FileSource
    """An unnamed temporary file, under the name of the compressed one."""
    packing: str
    complete: bool
    """The compressed file has its end."""


def packing_of(head: bytes) -> Packing | None:
    """Tell by a file's first bytes how it is compressed; None: not in a way known here."""
    return next((packing for packing in PACKINGS if head.startswith(packing.magic)), None)


def unpack(file: FileSource, packing: Packing) -> Unpacked:
    """Unpack a file into a temporary one.

    What was there before the compressed file's end or a damaged place is kept.

    :raises TargetError: nothing can be unpacked, no room for it, or no program that does it
    """
    import tempfile

    with tempfile.TemporaryFile(prefix="crashkit-") as copy:
        pieces = _Pieces(file, packing)
        for piece in pieces:
            _make_room(file.name, len(piece))
            try:
                copy.write(piece)
            except OSError as error:
                raise _no_room(file.name, error.strerror or str(error)) from error
        copy.flush()
        size = copy.tell()
        if size == 0:
            raise TargetError(
                f"{file.name} is compressed with {packing.name}, and nothing can be unpacked from "
                f"it{pieces.why}; copy it again"
            )
        descriptor = os.dup(copy.fileno())
    return Unpacked(
        file=FileSource(descriptor, file.name), packing=packing.name, complete=pieces.complete
    )


class _Pieces:
    # The unpacked bytes piece by piece; afterwards whether they are all.

    def __init__(self, file: FileSource, packing: Packing) -> None:
        self.complete = False
        self.why = ""
        self._file = file
        self._packing = packing

    def __iter__(self) -> Iterator[bytes]:
        if self._packing.make is None:
            yield from self._from_program(self._packing.program)
        else:
            yield from self._from_module(self._packing.make)

    def _from_module(self, make: Callable[[], _Decompressor]) -> Iterator[bytes]:
        # Several streams may follow one another (pigz, xz -T, logrotate's appending).
        stream = make()
        try:
            for place in range(0, self._file.size, _CHUNK):
                data = self._file.read(place, _CHUNK)
                while data:
                    yield stream.decompress(data)
                    data = stream.unused_data if stream.eof else b""
                    if stream.eof and data.strip(b"\0"):
                        stream = make()
                    elif stream.eof:
                        break
        except _damages() as damage:
            self.why = f" ({damage})"
            return
        self.complete = stream.eof

    def _from_program(self, words: tuple[str, ...]) -> Iterator[bytes]:
        import shutil
        import subprocess

        program = shutil.which(words[0])
        if program is None:
            raise TargetError(
                f"{self._file.name} is compressed with {self._packing.name}, and the program "
                f"{words[0]} is not installed; install it, or unpack the file elsewhere"
            )
        with (
            Path(f"/proc/self/fd/{self._file.descriptor}").open("rb") as packed,
            subprocess.Popen(  # noqa: S603 - a fixed program, found in PATH
                [program, *words[1:]],
                stdin=packed,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as child,
        ):
            output = child.stdout
            while output is not None and (piece := output.read(_CHUNK)):
                yield piece
        self.complete = child.returncode == 0


def _make_room(name: str, size: int) -> None:
    import tempfile

    folder = tempfile.gettempdir()
    space = os.statvfs(folder)
    if space.f_bavail * space.f_frsize < size + _ROOM:
        raise _no_room(name, "it is full")


def _no_room(name: str, why: str) -> TargetError:
    import tempfile

    folder = tempfile.gettempdir()
    return TargetError(
        f"{name} is compressed and must be unpacked to be read, but {folder} has no room "
        f"({why}): set TMPDIR to a larger place"
    )
