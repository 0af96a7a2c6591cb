"""Code of the dump compared with that of its vmlinux: what changed, and by whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from drgn import Program

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols.breakpoints import breakpoint_at
from crashkit.symbols.file_text import slide_of_file, text_of_file
from crashkit.symbols.lookup import find_symbol, symbol_at
from crashkit.symbols.patch_sites import PatchSite, patch_site_at
from crashkit.value import facts

_RUN = re.compile(rb"[^\0]+")
_INT3 = 0xCC
_U32 = (1 << 32) - 1
_FIELD = 4
_TRAMPOLINE = "__SCT__"
"""Prefix of a static call's trampoline (include/linux/static_call_types.h)."""
_UNKNOWN = "breakpoint, by whom is not known"
_MOST = 64
"""Differences without a cause that are kept."""


@facts
class CodeDifference:
    """Bytes that differ where the kernel changes nothing: the code is corrupt."""

    address: int
    expected: bytes
    """As vmlinux has them, moved to where the kernel runs."""
    found: bytes
    symbol: str | None
    """``function+0x1f``."""

    @property
    def bits(self) -> int:
        """How many bits differ."""
        pairs = zip(self.expected, self.found, strict=True)
        return sum((one ^ other).bit_count() for one, other in pairs)


@facts
class CodeCheck:
    """A stretch of code compared."""

    compared: int
    """Bytes."""
    explained: dict[str, int]
    """Changes that the kernel makes itself, counted by what makes them."""
    corrupt: tuple[CodeDifference, ...]
    """Changes that nothing explains; at most 64."""


def check_code(prog: Program, address: int, size: int) -> CodeCheck:
    """Compare code of the core kernel with its vmlinux.

    A vmlinux is that of this build (its build id was compared when it was attached), so a
    byte that differs was changed: by KASLR's relocation, which is undone here; by the
    kernel, at the places its tables name; by a breakpoint of the kernel's own; or by accident.
    Code that only boot runs is not compared: its memory is given back and filled (free_initmem()).

    :raises Unavailable: no vmlinux with code was given, the dump lacks the bytes, or they
        are of boot code
    """
    if _is_boot_code(prog, address):
        raise Unavailable("the code", Reason.NOT_APPLICABLE, "boot code, which is given back")
    # An address that only moved may lie across either end.
    before, size_ = address - _FIELD, size + 2 * _FIELD
    expected = text_of_file(prog, before, size_)
    slide = slide_of_file(prog)
    if expected is None or slide is None:
        raise Unavailable("the code's original", Reason.NO_DEBUGINFO, "no vmlinux has it")
    found = read_bytes(prog, before, size_, f"code at {address:#x}")
    runs = [
        (max(start, _FIELD), min(end, _FIELD + size))
        for start, end in _differences(expected, found, slide)
        if end > _FIELD and start < _FIELD + size
    ]
    explained: dict[str, int] = {}
    corrupt: list[CodeDifference] = []
    for start, end in _unexplained(prog, before, runs, found, explained):
        name = _name(prog, before + start)
        if name is not None and name.startswith(_TRAMPOLINE):
            explained["static call"] = explained.get("static call", 0) + 1
        elif len(corrupt) < _MOST:
            corrupt.append(
                CodeDifference(
                    address=before + start,
                    expected=expected[start:end],
                    found=found[start:end],
                    symbol=name,
                )
            )
    return CodeCheck(compared=size, explained=explained, corrupt=tuple(corrupt))


def _is_boot_code(prog: Program, address: int) -> bool:
    # .init.text (include/asm-generic/vmlinux.lds.h).
    first, end = find_symbol(prog, "_sinittext"), find_symbol(prog, "_einittext")
    return first is not None and end is not None and first.address <= address < end.address


def _unexplained(
    prog: Program,
    address: int,
    runs: Iterable[tuple[int, int]],
    found: bytes,
    explained: dict[str, int],
) -> Iterator[tuple[int, int]]:
    # What is left of each run outside the places that the kernel patches; those are counted.
    past = 0
    for first, end in runs:
        start = max(first, past)  # a site can hold bytes that did not change
        while start < end:
            site = _site(prog, address, start, found)
            if site is not None:
                explained[site.by] = explained.get(site.by, 0) + 1
                start = past = site.end - address
                continue
            stop = start + 1
            while stop < end and _site(prog, address, stop, found) is None:
                stop += 1
            yield start, stop
            start = stop


def _site(prog: Program, base: int, at: int, found: bytes) -> PatchSite | None:
    address = base + at
    known = patch_site_at(prog, address)
    if known is not None:
        return known
    try:
        return breakpoint_at(prog, address, found[: at + 1])
    except Unavailable:
        # Whose it is cannot be said: then it is not said to be corrupt either.
        return PatchSite(address, address + 1, _UNKNOWN) if found[at] == _INT3 else None


def _differences(expected: bytes, found: bytes, slide: int) -> list[tuple[int, int]]:
    # Runs of bytes that differ, without the addresses that only moved with the kernel.
    changed = int.from_bytes(expected, "little") ^ int.from_bytes(found, "little")
    mask = bytearray(changed.to_bytes(len(expected), "little"))
    if slide:
        _forget_moved(mask, expected, found, slide)
    return [(run.start(), run.end()) for run in _RUN.finditer(mask)]


def _forget_moved(mask: bytearray, expected: bytes, found: bytes, slide: int) -> None:
    at = 0
    while (run := _RUN.search(mask, at)) is not None:
        field = _moved_field(run.start(), expected, found, slide)
        if field is None:
            at = run.start() + 1
            continue
        mask[field : field + 4] = bytes(4)
        at = field + 4


def _moved_field(at: int, expected: bytes, found: bytes, slide: int) -> int | None:
    # A 32-bit address, or the low half of a 64-bit one, that holds the byte; a distance to
    # per-CPU data, which did not move, shrank by as much (arch/x86/tools/relocs.c).
    for field in range(max(at - 3, 0), min(at, len(expected) - 4) + 1):
        then = int.from_bytes(expected[field : field + 4], "little")
        now = int.from_bytes(found[field : field + 4], "little")
        if (now - then) & _U32 in (slide & _U32, -slide & _U32):
            return field
    return None


def _name(prog: Program, address: int) -> str | None:
    symbol = symbol_at(prog, address)
    return None if symbol is None else f"{symbol.name}+{address - symbol.address:#x}"
