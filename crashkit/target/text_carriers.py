"""Kernel logs inside the files of crash collectors: apport's reports and pstore's records.

apport (Ubuntu): ``problem_report.py`` writes ``Key: value``, further lines of a value begin
with a space, and what is no text as ``Key: base64`` with a gzip stream in pieces. pstore:
Documentation/admin-guide/abi (``/sys/fs/pstore``), fs/pstore/inode.c and platform.c.
"""

from __future__ import annotations

import binascii
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from crashkit.errors import TargetError
from crashkit.target import places
from crashkit.target.facts import Target
from crashkit.target.source import FileSource
from crashkit.target.unpacking import packing_of

MAX_BYTES = 256 << 20
"""Bytes of a report that are read, and of a log that are unpacked."""
_MAX_RECORDS = 4096
_SAME_CRASH_S = 120
"""A crash writes its records at once; those of another one are farther away."""

_KERNEL_REPORT = re.compile(rb"^ProblemType: Kernel(?:Crash|Oops)\s*$", re.MULTILINE)
_KEY = re.compile(rb"(?P<key>[A-Za-z][\w.-]{0,127}):[ \t]?(?P<value>.*)")
_LOG_KEYS = (b"VmCoreDmesg", b"Dmesg", b"CurrentDmesg", b"CurrentDmesg.txt", b"OopsText")
"""Where apport keeps the log; the longer ones first."""
_DUMP_KEY = b"VmCore"

_EFI = 100_000
"""drivers/firmware/efi/efi-pstore.c: generic_id() is (time * 100 + part) * 1000 + count."""


def is_kernel_report(head: bytes) -> bool:
    """Tell by its first bytes whether a file is apport's report of a kernel crash."""
    return _KERNEL_REPORT.search(head) is not None


def open_report(file: FileSource) -> Target:
    """Take the kernel log out of apport's report.

    :raises TargetError: it holds none, or what is there is damaged
    """
    lines = file.read(0, min(file.size, MAX_BYTES)).split(b"\n")
    found: dict[bytes, bytes] = {}
    dump = False
    for key, value in _values(lines):
        dump = dump or key == _DUMP_KEY
        if key in _LOG_KEYS and value.strip():
            found[key] = value
    for key in _LOG_KEYS:
        if key in found:
            warnings = [f"the log was read from {key.decode()} of the problem report"]
            if dump:
                warnings.append(
                    "the problem report holds a vmcore, too: `apport-unpack` takes it out"
                )
            return _target(file.name, found[key], warnings)
    wanted = ", ".join(key.decode() for key in _LOG_KEYS)
    raise TargetError(
        f"{file.name} is a problem report without a kernel log (none of {wanted})"
        + ("; `apport-unpack` takes its vmcore out" if dump else "")
    )


def _values(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    number = 0
    while number < len(lines):
        head = _KEY.match(lines[number])
        number += 1
        if head is None:
            continue
        start = number
        while number < len(lines) and lines[number].startswith((b" ", b"\t")):
            number += 1
        more = lines[start:number]
        wanted = head["key"] in _LOG_KEYS
        if not wanted:
            yield head["key"], b""
        elif head["value"].strip() == b"base64":
            yield head["key"], _decoded(more)
        else:
            first = [head["value"]] if head["value"].strip() else []
            yield head["key"], b"\n".join([*first, *(line[1:] for line in more)]) + b"\n"


def _decoded(lines: Iterable[bytes]) -> bytes:
    # Each line is the base64 form of a piece of one stream; a damaged one ends it.
    packed = b""
    for line in lines:
        try:
            packed += binascii.a2b_base64(line.strip())
        except binascii.Error:
            break
    return inflated(packed) or b""


def inflated(packed: bytes) -> bytes | None:
    """Unpack gzip, zlib or bare deflate, as far as it goes; None where it is none of them."""
    for wbits in (47, -15):  # zlib(3): 32 + 15 detects gzip and zlib; negative: no header
        stream = zlib.decompressobj(wbits)
        text = b""
        try:
            text = stream.decompress(packed, MAX_BYTES)
        except zlib.error:
            text = _piecewise(packed, wbits)
        if text:
            return text
    return None


def _piecewise(packed: bytes, wbits: int) -> bytes:
    # What comes before the damage.
    stream, pieces, size = zlib.decompressobj(wbits), [], 0
    try:
        for place in range(0, len(packed), 64):
            pieces.append(stream.decompress(packed[place : place + 64]))
            size += len(pieces[-1])
            if size > MAX_BYTES:
                break
    except zlib.error:
        pass
    return b"".join(pieces)


def is_record(path: Path) -> bool:
    """Whether a file is named like a record of pstore (``dmesg-efi-…``, ``dmesg-ramoops-0``)."""
    return places.PSTORE_RECORD.match(path.name) is not None


def open_records(path: Path, *, others: bool) -> Target:
    """Read a record of pstore, with the others of the same crash beside it.

    :param others: read those; else the one record alone
    :raises TargetError: none of them can be read
    """
    paths = [path]
    warnings: list[str] = []
    if others:
        crashes = _crashes(_beside(path))
        paths = crashes[-1]
        if len(crashes) > 1:
            warnings.append(
                f"{path.parent} has the records of {len(crashes)} crashes; the latest is shown, "
                f"the one before it begins with {crashes[-2][0].name}"
            )
    texts: list[bytes] = []
    for record in paths:
        text = _record_text(record)
        if text is None:
            warnings.append(f"{record.name} is compressed in a way that is not known here")
        elif text.strip(b"\0 \n"):
            texts.append(text.rstrip(b"\0"))
    if not texts:
        raise TargetError(
            f"{path} is a record of pstore of which nothing can be unpacked; mount pstore on a "
            "kernel like the one that crashed and copy it again"
        )
    if len(paths) > 1:
        warnings.insert(0, f"joined from {len(texts)} records of pstore")
    return _target(str(path), b"\n".join(texts) + b"\n", warnings)


def _beside(path: Path) -> list[Path]:
    found = [other for other in sorted(path.parent.iterdir())[:_MAX_RECORDS] if is_record(other)]
    return found or [path]


def _crashes(records: Sequence[Path]) -> list[list[Path]]:
    timed = sorted((_time(record), record) for record in records)
    crashes: list[list[Path]] = []
    before = None
    for time, record in timed:
        if before is None or time - before > _SAME_CRASH_S:
            crashes.append([])
        crashes[-1].append(record)
        before = time
    return crashes


def _time(record: Path) -> int:
    found = places.PSTORE_RECORD.match(record.name)
    if found is not None and found["backend"] == "efi" and int(found["number"]) > _EFI:
        return int(found["number"]) // _EFI
    try:
        return int(record.stat().st_mtime)
    except OSError:
        return 0


def _record_text(record: Path) -> bytes | None:
    with places.open_file(record) as file:
        data = file.read(0, min(file.size, MAX_BYTES))
    found = places.PSTORE_RECORD.match(record.name)
    if found is None or not found["packed"]:
        return data
    return None if packing_of(data[:16]) is not None and data[:2] != b"\x1f\x8b" else inflated(data)


def _target(path: str, text: bytes, warnings: Sequence[str]) -> Target:
    with tempfile.TemporaryFile(prefix="crashkit-") as copy:
        try:
            copy.write(text)
            copy.flush()
        except OSError as error:
            raise TargetError(
                f"the log in {path} cannot be written to {tempfile.gettempdir()}: "
                f"{error.strerror or error}; set TMPDIR to a larger place"
            ) from error
        # The descriptor stays open as long as the process: the file has no other name.
        descriptor = os.dup(copy.fileno())
    place = f"/proc/self/fd/{descriptor}"
    return Target(path=path, file=place, format="text", warnings=tuple(warnings))
