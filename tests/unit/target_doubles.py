"""Builders of tiny dumps: ELF vmcores, kdump-compressed and flattened files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAGE = 4096
RELEASE = "6.1.0-99-test"
BUILD_ID = "0123456789abcdef0123456789abcdef01234567"
KERNEL_BASE = 0xFFFF_FFFF_8100_0000

ZLIB, LZO, SNAPPY, ZSTD = 0x01, 0x02, 0x04, 0x20


def vmcoreinfo(**lines: str) -> bytes:
    """What drgn needs, and ``lines``; an empty value removes a line."""
    every = {
        "OSRELEASE": RELEASE,
        "BUILD-ID": BUILD_ID,
        "PAGESIZE": "4096",
        "SYMBOL(swapper_pg_dir)": f"{KERNEL_BASE:x}",
        "NUMBER(phys_base)": "0",
        "NUMBER(pgtable_l5_enabled)": "0",
        "KERNELOFFSET": "0",
        **lines,
    }
    return "".join(f"{key}={value}\n" for key, value in every.items() if value).encode()


def note(owner: bytes, kind: int, contents: bytes) -> bytes:
    """One ELF note."""
    name = owner + b"\0"
    return (
        struct.pack("<III", len(name), len(contents), kind)
        + name.ljust(-(-len(name) // 4) * 4, b"\0")
        + contents.ljust(-(-len(contents) // 4) * 4, b"\0")
    )


def prstatus() -> bytes:
    return note(b"CORE", 1, bytes(336))


def kernel_notes(cpus: int = 2, info: bytes | None = None) -> bytes:
    return prstatus() * cpus + note(b"VMCOREINFO", 0, vmcoreinfo() if info is None else info)


def page(byte: int) -> bytes:
    return bytes([byte]) * PAGE


@dataclass(frozen=True, kw_only=True)
class Load:
    """A PT_LOAD segment."""

    data: bytes
    physical: int = 0
    virtual: int = 0
    in_memory: int | None = None


def elf_core(
    notes: bytes | None = None,
    loads: Sequence[Load] = (Load(data=page(1) + page(2)),),
    *,
    machine: int = 62,
    kind: int = 4,
    flags: int = 0,
    bits: int = 64,
    big_endian: bool = False,
    sections: tuple[int, int, int] = (0, 64, 0),
) -> bytes:
    """An ELF core file; the notes come first, then the segments."""
    notes = kernel_notes() if notes is None else notes
    count = 1 + len(loads)
    place = 64 + 56 * count
    segments = struct.pack("<IIQQQQQQ", 4, 0, place, 0, 0, len(notes), len(notes), 0)
    place += len(notes)
    for load in loads:
        size = len(load.data)
        segments += struct.pack(
            "<IIQQQQQQ",
            1,
            7,
            place,
            load.virtual,
            load.physical,
            size,
            size if load.in_memory is None else load.in_memory,
            0,
        )
        place += size
    ident = b"\x7fELF" + bytes([bits // 32, 2 if big_endian else 1, 1]) + bytes(9)
    order = ">" if big_endian else "<"
    header = struct.pack(
        f"{order}HHIQQQIHHHHHH",
        kind,
        machine,
        1,
        0,
        64,
        sections[0],
        flags,
        64,
        56,
        count,
        *sections[1:],
        0,
    )
    return ident + header + segments + notes + b"".join(load.data for load in loads)


@dataclass(frozen=True, kw_only=True)
class Kdump:
    """A kdump-compressed file as makedumpfile lays it out."""

    pages: Mapping[int, bytes]
    """Page frame number to contents."""
    flags: Mapping[int, int] | None = None
    """Compression flag of each page; other than zlib, the contents are not really compressed."""
    status: int = ZLIB
    uts: tuple[str, str, str, str, str] = ("Linux", "host", RELEASE, "#1 SMP", "x86_64")
    timestamp: int = 1_700_000_000
    version: int = 6
    split: tuple[int, int] | None = None
    notes: bytes = kernel_notes()
    signature: bytes = b"KDUMP   "
    block_size: int = PAGE
    max_pfn: int = 1 << 14
    lost: frozenset[int] = frozenset()
    """Pages whose descriptor was never written, as on a full disk."""

    @property
    def descriptors_at(self) -> int:
        return PAGE * (2 + self._sub_blocks - 1 + 2)

    @property
    def _sub_blocks(self) -> int:
        return -(-(104 + len(self.notes)) // PAGE)

    def _bitmap(self) -> bytes:
        bits = sum(1 << frame for frame in self.pages)
        return bits.to_bytes(PAGE, "little")

    def _sub_header(self) -> bytes:
        first, last = self.split or (0, 0)
        at = PAGE + 104
        found = self.notes.find(b"VMCOREINFO\0")
        info_at = at + found + 12 if found >= 0 else 0
        size = struct.unpack_from("<I", self.notes, found - 8)[0] if found >= 0 else 0
        return struct.pack(
            "<QiiQQQQQQQQQQQ",
            0,
            31,
            int(self.split is not None),
            first,
            last,
            info_at,
            size,
            at,
            len(self.notes),
            0,
            0,
            first,
            last,
            self.max_pfn,
        )

    def _header(self) -> bytes:
        names = [name.encode().ljust(65, b"\0") for name in (*self.uts, "(none)")]
        return struct.pack(
            "<8si65s65s65s65s65s65s6xqqIiiIIIIIIi",
            self.signature,
            self.version,
            *names,
            self.timestamp,
            0,
            self.status,
            self.block_size,
            self._sub_blocks,
            2,
            self.max_pfn,
            len(self.pages),
            0,
            len(self.pages),
            0,
            2,
        )

    def build(self) -> bytes:
        out = self._header().ljust(PAGE, b"\0")
        out += (self._sub_header() + self.notes).ljust(PAGE * self._sub_blocks, b"\0")
        out += self._bitmap() * 2
        # A part of a split dump has the whole bitmap and the pages of its own range.
        own = range(*self.split) if self.split else range(1 << 52)
        kept = [(frame, data) for frame, data in sorted(self.pages.items()) if frame in own]
        place = len(out) + 24 * len(kept)
        table = data = b""
        for frame, contents in kept:
            flag = ZLIB if self.flags is None else self.flags[frame]
            stored = zlib.compress(contents) if flag == ZLIB else contents
            if frame in self.lost:
                table += bytes(24)
                continue
            table += struct.pack("<QIIQ", place + len(data), len(stored), flag, 0)
            data += stored
        return out + table + data


def qemu_kdump(pages: Mapping[int, bytes], *, info: bool = True) -> bytes:
    """A kdump as QEMU writes it, with VMCOREINFO only if the guest published it."""
    notes = (kernel_notes() if info else prstatus() * 2) + note(b"QEMU", 0, bytes(440))
    return Kdump(pages=pages, notes=notes, uts=("", "", "", "", "x86_64"), timestamp=0).build()


def flattened(dump: bytes, chunk: int = 1000, *, end: bool = True) -> bytes:
    """``dump`` as ``makedumpfile -F`` writes it to a pipe."""
    out = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    out = out.ljust(PAGE, b"\0")
    for place in range(0, len(dump), chunk):
        part = dump[place : place + chunk]
        out += struct.pack(">qq", place, len(part)) + part
    return out + (b"\xff" * 16 if end else b"")
