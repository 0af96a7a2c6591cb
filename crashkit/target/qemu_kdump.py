"""kdump files that QEMU wrote (``dump-guest-memory -z``, ``-l``, ``-s``), completed to be opened.

QEMU fills in the machine of utsname and nothing else of it (create_header64() in its
dump/dump.c), and libkdumpfile takes the architecture from a whole utsname only; and a guest
that did not publish its VMCOREINFO leaves a file without one. Both are put into an unnamed
temporary copy; memory stays as QEMU saved it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from drgn import FaultError, Program

from crashkit.errors import TargetError
from crashkit.target import flattened, kdump, mending, pages
from crashkit.target.searching import CHUNK_OVERLAP, Search
from crashkit.target.source import FileSource, Source
from crashkit.target.vmcoreinfo import parse

_UTS_FIELD = 12
_UTS_SIZE = 65
_VMCOREINFO_FIELDS = kdump.BLOCK_SIZE + 32
_UNKNOWN = b"unknown"
_NO_RELEASE = b"1.0.0"
"""libkdumpfile reads no memory of a kernel without a version."""
_CHUNK_PAGES = 256
_BITMAP_PIECE = 1 << 10
_MOST_SEARCHED = 16 << 30
_MINIMAL = (
    b"OSRELEASE=1.0.0\nPAGESIZE=4096\nKERNELOFFSET=0\nNUMBER(phys_base)=0\n"
    b"SYMBOL(swapper_pg_dir)=ffffffff81000000\n"
)
"""Enough for drgn to open a file; only physical memory is read of it."""


def completed_copy(
    file: FileSource, source: Source, *, vmcoreinfo: bytes | None, truncated: bool
) -> tuple[int, bytes]:
    """Copy a QEMU kdump with a whole header into a temporary file.

    :param file: the file itself
    :param source: the dump in it, which may be flattened
    :param vmcoreinfo: what the dump has of it; None: it is searched for in its memory
    :returns: a descriptor, the caller's, and VMCOREINFO
    :raises TargetError: no room for the copy, or no VMCOREINFO in memory
    """
    segments: list[tuple[int, int, int]] = [(0, file.size, 0)]
    if isinstance(source, flattened.FlattenedSource):
        source = flattened.FlattenedSource(file, mending.ALL_SEGMENTS)
        segments = source.segments
    why = f"{file.name} has QEMU's incomplete header and"
    copy = mending.copy_segments(file, segments, why)
    try:
        if truncated:
            mending.take_out_lost_pages(source, copy)
        _complete_utsname(copy, _NO_RELEASE)
        found = vmcoreinfo or _search(copy, file.name)
        _complete_utsname(copy, (parse(found).release or "").encode() or _NO_RELEASE)
        place = os.fstat(copy).st_size
        os.pwrite(copy, found, place)
        fields = place.to_bytes(8, "little") + len(found).to_bytes(8, "little")
        os.pwrite(copy, fields, _VMCOREINFO_FIELDS)
    except OSError as error:
        os.close(copy)
        raise mending.unwritable(why, error) from error
    except BaseException:
        os.close(copy)
        raise
    return copy, found


def _complete_utsname(copy: int, release: bytes) -> None:
    # sysname, nodename, release, version; the machine is there.
    for number, text in enumerate((b"Linux", b"", release[: _UTS_SIZE - 1], _UNKNOWN)):
        os.pwrite(copy, text.ljust(_UTS_SIZE, b"\0"), _UTS_FIELD + number * _UTS_SIZE)


def _search(copy: int, name: str) -> bytes:
    # drgn reads the pages, whatever they are compressed with.
    prog = Program(vmcoreinfo=_MINIMAL)
    try:
        prog.set_core_dump(os.dup(copy))
    except Exception as error:  # libkdumpfile's errors come as bare Exception; others go on
        if type(error) is not Exception and not isinstance(error, (OSError, ValueError)):
            raise
        raise TargetError(f"drgn cannot open {name}: {error}; copy the dump again") from error
    search = Search(name)
    with FileSource(os.dup(copy), name) as source:
        for start, size in _runs(pages.read_bitmap(source, kdump.read_header(source))):
            search.add(_readable(prog, start, size))
    found = search.result()
    if found is None:
        raise TargetError(
            f"{name} is a memory dump by QEMU whose guest did not publish VMCOREINFO, and none was "
            "found in its memory: run QEMU with `-device vmcoreinfo` and load qemu_fw_cfg in the "
            "guest before dumping"
        )
    return found


def _runs(bits: int) -> Iterator[tuple[int, int]]:
    # (first address, bytes) of pages that lie together, up to a bound, each run with the
    # beginning of the next. A piece of the bitmap at a time: shifting all of it for each run
    # would take the square of its size.
    raw = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
    left = _MOST_SEARCHED
    for start in range(0, len(raw), _BITMAP_PIECE):
        piece = int.from_bytes(raw[start : start + _BITMAP_PIECE], "little")
        frame = start * 8
        while piece and left > 0:
            skip = (piece & -piece).bit_length() - 1
            piece >>= skip
            frame += skip
            length = min((~piece & (piece + 1)).bit_length() - 1, _CHUNK_PAGES)
            size = length * kdump.BLOCK_SIZE
            yield frame * kdump.BLOCK_SIZE, size + CHUNK_OVERLAP
            piece >>= length
            frame += length
            left -= size


def _readable(prog: Program, start: int, size: int) -> bytes:
    for there in size, size - CHUNK_OVERLAP:
        try:
            return bytes(prog.read(start, there, True))
        except FaultError:
            continue
    parts = []
    for at in range(start, start + size, kdump.BLOCK_SIZE):
        try:
            parts.append(bytes(prog.read(at, kdump.BLOCK_SIZE, True)))
        except FaultError:
            parts.append(bytes(kdump.BLOCK_SIZE))
    return b"".join(parts)
