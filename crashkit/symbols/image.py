"""The kernel's image as the sections of an executable, with the contents that a dump has.

Where a section begins is told by symbols of include/asm-generic/vmlinux.lds.h and
arch/*/kernel/vmlinux.lds.S; each ends where the next one begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from drgn import Program

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_pieces
from crashkit.symbols.elf_writer import ALLOC, EXEC, WRITE, Section
from crashkit.symbols.init_text import is_given_up
from crashkit.value import facts

_MAX_IMAGE = 1 << 30
_MAX_PERCPU = 64 << 20
_PERCPU = ".data..percpu"

# The symbol that begins a section, its name, its flags, and whether it has contents (None: if
# init memory was not freed yet). What was freed has none: the memory now holds something else.
# The ORC tables are in .data and have no sections: drgn 0.3 then takes those in memory. With
# sections of its own for them it failed on Linux 7.3 ("unknown ORC BP base register").
_MARKS = (
    ("_text", ".text", EXEC, True),
    ("_etext", ".text.unused", EXEC, False),
    ("__start_rodata", ".rodata", 0, True),
    ("__start_notes", ".notes", 0, True),
    ("__stop_notes", ".rodata.1", 0, True),
    ("__start_BTF", ".BTF", 0, True),
    ("__stop_BTF", ".rodata.2", 0, True),
    ("__end_rodata", ".rodata.unused", 0, False),
    ("_sdata", ".data", WRITE, True),
    ("__init_begin", ".init.data.1", WRITE, None),
    ("__per_cpu_start", _PERCPU, WRITE, None),
    ("__per_cpu_end", ".init.data.2", WRITE, None),
    ("_sinittext", ".init.text", EXEC, None),
    ("_einittext", ".init.data", WRITE, None),
    ("__bss_start", ".bss", WRITE, False),
    ("_end", ".init.scratch", WRITE, False),
)


@dataclass(kw_only=True)
class Image:
    """The sections of the kernel's image."""

    sections: list[Section] = field(default_factory=list)
    """At their addresses in the file."""
    code: list[tuple[int, int]] = field(default_factory=list)
    """[start, end) of those with code."""
    missing: list[tuple[str, int, int]] = field(default_factory=list)
    """Section, address as the kernel ran, bytes: not in the dump, zero in the file."""


def read_image(prog: Program, addresses: Mapping[str, int], shift: int) -> Image:
    """Read the image.

    :param addresses: of symbols, as the kernel ran
    :param shift: what to take off them: the KASLR offset in bytes
    :raises Unavailable: no symbols say where the image lies
    """
    start, end = addresses.get("_text"), addresses.get("_end")
    if start is None or end is None or not 0 < end - start <= _MAX_IMAGE // 2:
        raise Unavailable("the kernel's image", Reason.NO_DEBUGINFO, "no _text.._end in kallsyms")
    image = Image()
    init = addresses.get("_sinittext")
    freed = init is None or is_given_up(prog, init)
    for span in _spans(addresses, start, end):
        _add(prog, image, span, shift, there=not freed if span.there is None else span.there)
    first, last = addresses.get("__per_cpu_start"), addresses.get("__per_cpu_end")
    if first is not None and last is not None and first <= last < min(start, _MAX_PERCPU):
        # Up to Linux 6.14 its symbols count from 0; the template itself was freed. Zeros, since
        # crash takes symbols of a section without contents for others than per-CPU ones. Neither
        # first nor last, where drgn looks for the ends of the image.
        data, flags = bytes(last - first), ALLOC | WRITE
        low = Section(name=_PERCPU, data=data, address=first, size=len(data), flags=flags)
        image.sections.insert(-1, low)
    return image


@facts
class _Span:
    name: str
    start: int
    end: int
    flags: int
    there: bool | None
    # None: unless init memory was freed.


def _spans(addresses: Mapping[str, int], start: int, end: int) -> list[_Span]:
    # A mark at the address of a later one begins nothing: sorted() keeps the table's order.
    marks = [
        (addresses[symbol], name, flags, there)
        for symbol, name, flags, there in _MARKS
        if start <= addresses.get(symbol, 0) <= end
    ]
    marks.sort(key=lambda mark: mark[0])
    # crash moves no symbol that lies behind the last section, and takes the last for the end.
    behind = [at for at in addresses.values() if end <= at < start + _MAX_IMAGE]
    marks.append((max(behind), "", 0, False))
    return [
        _Span(name=name, start=at, end=until, flags=flags, there=there)
        for (at, name, flags, there), (until, *_rest) in pairwise(marks)
        if at < until
    ]


def _add(prog: Program, image: Image, span: _Span, shift: int, *, there: bool) -> None:
    size, address = span.end - span.start, span.start - shift
    # drgn knows a vmlinux by an .init.text that has contents.
    data = bytearray(size) if there or span.name == ".init.text" else None
    if data is not None and there:
        at = span.start
        for piece_at, piece in [*read_pieces(prog, span.start, size), (span.end, b"")]:
            if piece_at > at:
                image.missing.append((span.name, at, piece_at - at))
            data[piece_at - span.start : piece_at - span.start + len(piece)] = piece
            at = piece_at + len(piece)
    image.sections.append(
        Section(
            name=span.name,
            data=data,
            address=address,
            size=size,
            flags=ALLOC | span.flags,
            note=span.name == ".notes" and data is not None,
        )
    )
    if span.flags & EXEC and span.name != ".text.unused":
        image.code.append((address, address + size))
