"""Where the running kernel changes its own code, from the tables its vmlinux has for that."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from drgn import Program, Type, sizeof

from crashkit.symbols.file_text import data_of_file, sections_of_file, slide_of_file
from crashkit.symbols.lookup import find_symbol

_CACHE_KEY = "crashkit.patch_sites"
_MOST_BYTES = 16 << 20
"""Of one table; the largest of Debian's 6.12 has 0.4 MiB."""
_CALL = 5
_LONGEST_BRANCH = 6  # jcc with a 32-bit displacement
_DISTANCE = struct.Struct("<i")

# First symbol, last symbol, bytes changed at each site, what changes them. Each entry is a
# 32-bit distance from itself (arch/x86/kernel/vmlinux.lds.S, arch/x86/kernel/alternative.c).
_RELATIVE = (
    ("__retpoline_sites", "__retpoline_sites_end", _LONGEST_BRANCH, "retpoline"),
    ("__return_sites", "__return_sites_end", _CALL, "return thunk"),
    ("__call_sites", "__call_sites_end", _LONGEST_BRANCH, "call thunk"),
    ("__ibt_endbr_seal", "__ibt_endbr_seal_end", 4, "sealed endbr64"),
    ("__cfi_sites", "__cfi_sites_end", 16, "CFI"),
    ("__smp_locks", "__smp_locks_end", 1, "lock prefix"),
)
# The same, with more fields behind the distance: type, first symbol, last, bytes, what.
_RECORDS = (
    ("struct jump_entry", "__start___jump_table", "__stop___jump_table", _CALL, "static key"),
    (
        "struct static_call_site",
        "__start_static_call_sites",
        "__stop_static_call_sites",
        _LONGEST_BRANCH,
        "static call",
    ),
)


@dataclass(frozen=True, slots=True)
class PatchSite:
    """Code that the kernel may have rewritten."""

    start: int
    end: int
    by: str
    """``alternative``, ``static key``, ``static call``, ``ftrace``, ``retpoline`` …"""


@dataclass(frozen=True, slots=True)
class _Table:
    by: str
    starts: Sequence[int]
    """Addresses, ascending."""
    sizes: Sequence[int] | int
    """Bytes of each, or of all."""

    def find(self, address: int) -> PatchSite | None:
        at = bisect.bisect_right(self.starts, address) - 1
        if at < 0:
            return None
        size = self.sizes if isinstance(self.sizes, int) else self.sizes[at]
        end = self.starts[at] + size
        return PatchSite(self.starts[at], end, self.by) if address < end else None


def patch_site_at(prog: Program, address: int) -> PatchSite | None:
    """Find the site that holds ``address``; None where the kernel has none."""
    tables = prog.cache.get(_CACHE_KEY)
    if tables is None:
        tables = prog.cache[_CACHE_KEY] = tuple(_read_all(prog))
    found = (table.find(address) for table in tables)
    return next((site for site in found if site is not None), None)


def _read_all(prog: Program) -> Iterator[_Table]:
    for first, last, length, by in _RELATIVE:
        yield _Table(by, sorted(_places(prog, first, last, _DISTANCE)), length)
    for name, first, last, length, by in _RECORDS:
        type_ = _type(prog, name)
        if type_ is not None:
            yield _Table(by, sorted(_places(prog, first, last, _entry(type_, "<i"))), length)
    yield _sized("alternative", _alternatives(prog))
    yield _sized("paravirt", _paravirt(prog))
    yield _Table("ftrace", sorted(_ftrace(prog)), _CALL)
    yield _sized("run-time constant", _run_time_constants(prog))


def _sized(by: str, sites: Iterable[tuple[int, int]]) -> _Table:
    ordered = sorted(sites)
    return _Table(by, [start for start, _ in ordered], [size for _, size in ordered])


def _places(prog: Program, first: str, last: str, entry: struct.Struct) -> list[int]:
    return [place + fields[0] for place, fields in _table(prog, first, last, entry)]


def _table(
    prog: Program, first: str, last: str, entry: struct.Struct
) -> Iterable[tuple[int, tuple[int, ...]]]:
    # Run-time address of each entry, and its fields.
    start, end = find_symbol(prog, first), find_symbol(prog, last)
    if start is None or end is None or not 0 < end.address - start.address <= _MOST_BYTES:
        return ()
    size = (end.address - start.address) // entry.size * entry.size
    data = data_of_file(prog, start.address, size)
    if data is None:
        return ()
    addresses = range(start.address, start.address + size, entry.size)
    return zip(addresses, entry.iter_unpack(data), strict=True)


def _type(prog: Program, name: str) -> Type | None:
    try:
        return prog.type(name)
    except LookupError:
        return None


def _entry(type_: Type, fields: str) -> struct.Struct:
    # The fields asked for, and what else the structure has as padding.
    return struct.Struct(f"{fields}{max(sizeof(type_) - struct.calcsize(fields), 0)}x")


def _alternatives(prog: Program) -> Iterator[tuple[int, int]]:
    type_ = _type(prog, "struct alt_instr")
    if type_ is None or not type_.has_member("instrlen"):
        return
    entry = _entry(type_, f"<i{type_.member('instrlen').offset - 4}xB")
    table = _table(prog, "__alt_instructions", "__alt_instructions_end", entry)
    for place, (distance, size) in table:
        yield place + distance, size


def _paravirt(prog: Program) -> Iterator[tuple[int, int]]:
    # Gone in 6.8: paravirtual calls are alternatives since.
    type_, slide = _type(prog, "struct paravirt_patch_site"), slide_of_file(prog)
    if type_ is None or slide is None:
        return
    entry = _entry(type_, "<QBB")
    table = _table(prog, "__parainstructions", "__parainstructions_end", entry)
    for _, (address, _kind, size) in table:
        yield address + slide, size


def _ftrace(prog: Program) -> Iterator[int]:
    slide = slide_of_file(prog) or 0
    table = _table(prog, "__start_mcount_loc", "__stop_mcount_loc", struct.Struct("<Q"))
    for _, (address,) in table:
        yield address + slide


def _run_time_constants(prog: Program) -> Iterator[tuple[int, int]]:
    # One section for each constant since 6.11 (e3c92e81711d, "runtime constants: add x86
    # architecture support"); their names are known to the file alone.
    for name, address, data in sections_of_file(prog, "runtime_"):
        length = 1 if name.startswith("runtime_shift_") else 8
        for number, (distance,) in enumerate(_DISTANCE.iter_unpack(data[: len(data) & ~3])):
            yield address + 4 * number + distance, length
