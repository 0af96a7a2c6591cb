"""The kernel's code as its vmlinux has it, for pages of it that the dump lacks.

It is not the code that ran: alternatives, static keys, static calls and probes are patched
in at run time, and addresses in it are those before KASLR. What follows from it is never
proved.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from drgn import MainModule, Program

_CACHE_KEY = "crashkit.file_text"
_HEADER = struct.Struct("<4sBB26xQ14xHH")  # e_ident, e_phoff, e_phentsize, e_phnum (elf(5))
_SEGMENT = struct.Struct("<IIQQ8xQ16x")  # p_type, p_flags, p_offset, p_vaddr, p_filesz
_LOADED, _EXECUTABLE = 1, 1
_MOST_SEGMENTS = 64


@dataclass(frozen=True)
class _Text:
    data: mmap.mmap
    bias: int
    segments: Sequence[tuple[int, int, int, int]]
    """Address in the file's own terms, bytes, place in the file, p_flags."""


def text_of_file(prog: Program, address: int, size: int) -> bytes | None:
    """Read code from the kernel's debug file; None where there is none, or it has no code.

    :param address: run-time address
    """
    return _read(prog, address, size, _EXECUTABLE)


def data_of_file(prog: Program, address: int, size: int) -> bytes | None:
    """Read any memory of the kernel as it was before it ran; None as for code.

    :param address: run-time address
    """
    return _read(prog, address, size, 0)


def sections_of_file(prog: Program, prefix: str) -> Iterator[tuple[str, int, bytes]]:
    """Read the sections whose name begins with ``prefix``: name, run-time address, bytes."""
    text = _text(prog)
    if text is None:
        return
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        for section in ELFFile(cast(IO[bytes], text.data)).iter_sections():
            if section.name.startswith(prefix):
                yield section.name, section["sh_addr"] + text.bias, section.data()
    except (ELFError, ValueError):
        return  # a file without section headers is complete for its program headers' sake


def slide_of_file(prog: Program) -> int | None:
    """How far the kernel runs from where its file has it (KASLR), bytes; None without one."""
    text = _text(prog)
    return None if text is None else text.bias


def _read(prog: Program, address: int, size: int, wanted_flags: int) -> bytes | None:
    text = _text(prog)
    if text is None:
        return None
    wanted = address - text.bias
    for start, length, offset, flags in text.segments:
        if flags & wanted_flags != wanted_flags:
            continue
        if start <= wanted and wanted + size <= start + length:
            place = offset + wanted - start
            found = text.data[place : place + size]
            return found if len(found) == size else None
    return None


def _text(prog: Program) -> _Text | None:
    if _CACHE_KEY not in prog.cache:
        prog.cache[_CACHE_KEY] = _open(prog)
    found: _Text | None = prog.cache[_CACHE_KEY]
    return found


def _open(prog: Program) -> _Text | None:
    try:
        module: MainModule = prog.main_module()
        path = module.loaded_file_path or module.debug_file_path
        bias = module.debug_file_bias or module.loaded_file_bias or 0
        if path is None:
            return None
        with Path(path).open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _Text(data, bias, _segments(data))
    except (LookupError, OSError, ValueError, struct.error):
        return None  # no file, or none that can be mapped: the dump is then all there is


def _segments(data: mmap.mmap) -> list[tuple[int, int, int, int]]:
    magic, bits, order, at, size, count = _HEADER.unpack_from(data, 0)
    if (magic, bits, order) != (b"\x7fELF", 2, 1) or size != 56 or count > _MOST_SEGMENTS:
        return []
    found = []
    for number in range(count):
        kind, flags, offset, address, length = _SEGMENT.unpack_from(data, at + number * size)
        if kind == _LOADED and length:
            found.append((address, length, offset, flags))
    return found
