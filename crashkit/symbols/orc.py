"""ORC: the kernel's own unwind tables, read out of the dump's memory.

Format: arch/x86/include/asm/orc_types.h. The layout of ``struct orc_entry`` is taken
from its type, and so is the meaning of ``type``: ``end`` without ``signal`` before 6.3,
both in 6.3, ``signal`` alone from 6.4 (fb799447ae29, "x86,objtool: Split
UNWIND_HINT_EMPTY in two"). The base registers were numbered anew in 7.1 and no type
shows it; but the stack pointer is the base of most entries, so its number is the one
that occurs most.
"""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, replace

from drgn import Program, Type, sizeof

from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes

_MAX_ENTRIES = 8 << 20


class Base(enum.Enum):
    """``ORC_REG_*``: what the CFA or the saved rbp is relative to."""

    UNDEFINED = "undefined"
    PREV_SP = "prev-sp"
    AX = "rax"
    DX = "rdx"
    DI = "rdi"
    BP = "rbp"
    SP = "rsp"
    R10 = "r10"
    R13 = "r13"
    BP_INDIRECT = "*rbp"
    SP_INDIRECT = "*rsp"


class Kind(enum.Enum):
    """What lies at the CFA."""

    UNDEFINED = "undefined"
    END_OF_STACK = "end-of-stack"
    CALL = "call"
    REGS = "regs"
    REGS_PARTIAL = "regs-partial"


_BASES = (
    Base.UNDEFINED, Base.PREV_SP, Base.DX, Base.DI, Base.BP, Base.SP,
    Base.R10, Base.R13, Base.BP_INDIRECT, Base.SP_INDIRECT,
)  # fmt: skip

# From 7.1 on, where other architectures share the table's code.
_BASES_SHARED = (
    Base.UNDEFINED, Base.AX, Base.DX, Base.SP, Base.BP, Base.DI, Base.R10, Base.R13,
    Base.PREV_SP, Base.SP_INDIRECT, Base.BP_INDIRECT,
)  # fmt: skip

# Entries looked at for the numbering: so many at the start of each of so many parts.
_SAMPLED_ENTRIES = 512
_SAMPLED_PARTS = 4

# Before 6.4 the end of the stack was a flag beside the type.
_KINDS_WITH_END = (Kind.CALL, Kind.REGS, Kind.REGS_PARTIAL)
_KINDS = (Kind.UNDEFINED, Kind.END_OF_STACK, Kind.CALL, Kind.REGS, Kind.REGS_PARTIAL)


@dataclass(frozen=True, slots=True)
class Rule:
    """How to leave the frame of one instruction."""

    kind: Kind
    sp_base: Base
    sp_offset: int
    bp_base: Base
    bp_offset: int
    signal: bool
    """The frame was interrupted, so its pc is not a return address."""


@dataclass(frozen=True)
class Layout:
    """Bit positions within one entry, from the type ``struct orc_entry``."""

    size: int
    fields: dict[str, tuple[int, int]]
    """Name to (first bit, width)."""
    bases: tuple[Base, ...] = _BASES
    """Meaning of the ``sp_reg`` and ``bp_reg`` fields, by number."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Meaning of the ``type`` field, by number."""
        return _KINDS_WITH_END if "end" in self.fields else _KINDS


def layout_of(type_: Type) -> Layout:
    """Read the bit positions of ``struct orc_entry`` from its type.

    :raises Unavailable: a field this reader needs does not exist
    """
    fields = {}
    for member in type_.members or ():
        try:
            width = member.bit_field_size or 8 * sizeof(member.type)
        except TypeError:
            continue  # damaged type information: of a type that has no size
        if member.name is not None:
            fields[member.name] = (member.bit_offset, width)
    needed = {"sp_offset", "bp_offset", "sp_reg", "bp_reg", "type"}
    if not needed <= fields.keys() or type_.size is None:
        raise Unavailable("ORC", Reason.UNSUPPORTED, "struct orc_entry has other members")
    return Layout(type_.size, fields)


def numbered(layout: Layout, prog: Program, entry_address: int, count: int) -> Layout:
    """Return ``layout`` with the base registers as the table at ``entry_address`` numbers them.

    :param count: number of entries in the table
    :raises Unavailable: no part of it is in the dump, or it uses both numbers alike
    """
    first, width = layout.fields["sp_reg"]
    mask = (1 << width) - 1
    size = layout.size
    seen: Counter[int] = Counter()
    absent: Unavailable | None = None
    for part in range(_SAMPLED_PARTS):
        start, end = (n * count // _SAMPLED_PARTS for n in (part, part + 1))
        entries = min(_SAMPLED_ENTRIES, end - start)
        try:
            data = read_bytes(prog, entry_address + start * size, entries * size, "ORC table")
        except Unavailable as missing:
            absent = missing
            continue
        words = (data[at : at + size] for at in range(0, len(data), size))
        seen.update((int.from_bytes(word, "little") >> first) & mask for word in words)
    old, new = (seen[bases.index(Base.SP)] for bases in (_BASES, _BASES_SHARED))
    if old == new:
        detail = f"{old} entries each way"
        raise absent or Unavailable("ORC register numbers", Reason.AMBIGUOUS, detail)
    return replace(layout, bases=_BASES if old > new else _BASES_SHARED)


class Table:
    """One sorted ORC table: the core kernel's or a module's."""

    def __init__(
        self, prog: Program, layout: Layout, ip_address: int, entry_address: int, count: int
    ) -> None:
        """Read the instruction offsets; entries are read when asked for.

        :raises Unavailable: the table is not in the dump or its size is impossible
        """
        if not 0 < count <= _MAX_ENTRIES:
            raise Unavailable("ORC", Reason.CORRUPTED, f"{count} entries")
        self._prog = prog
        self._layout = layout
        self._ip_address = ip_address
        self._entry_address = entry_address
        self._count = count
        # Offsets are relative to their own place, so value + 4 * index is sorted.
        self._offsets = array("i")
        self._offsets.frombytes(read_bytes(prog, ip_address, 4 * count, "ORC table"))
        self._cache: dict[int, Rule | None] = {}

    def find(self, pc: int) -> Rule | None:
        """Find the rule for ``pc``; None where the table has none.

        :raises Unavailable: the entry is not in the dump
        """
        index = bisect_right(_Ips(self._offsets, self._ip_address), pc) - 1
        if index < 0:
            return None
        if index not in self._cache:
            at = self._entry_address + index * self._layout.size
            data = read_bytes(self._prog, at, self._layout.size, "ORC entry")
            self._cache[index] = decode(self._layout, data)
        return self._cache[index]


class _Ips:
    # The instruction addresses of a table as a sequence for bisect.
    def __init__(self, offsets: array[int], address: int) -> None:
        self._offsets = offsets
        self._address = address

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> int:
        return self._address + 4 * index + self._offsets[index]


def decode(layout: Layout, data: bytes) -> Rule | None:
    """Decode one entry; None when it says that nothing is known there."""
    bits = int.from_bytes(data, "little")

    def field(name: str) -> int:
        if name not in layout.fields:
            return 0
        first, width = layout.fields[name]
        return (bits >> first) & ((1 << width) - 1)

    def signed(name: str) -> int:
        value = field(name)
        width = layout.fields[name][1]
        return value - (1 << width) if value >> (width - 1) else value

    number, sp, bp = field("type"), field("sp_reg"), field("bp_reg")
    if number >= len(layout.kinds) or max(sp, bp) >= len(layout.bases):
        raise Unavailable("ORC entry", Reason.CORRUPTED, data.hex())
    kind = layout.kinds[number]
    sp_base, bp_base = layout.bases[sp], layout.bases[bp]
    if field("end"):
        kind = Kind.END_OF_STACK
    if kind is Kind.UNDEFINED or (sp_base is Base.UNDEFINED and kind is not Kind.END_OF_STACK):
        return None
    signal = bool(field("signal"))
    return Rule(kind, sp_base, signed("sp_offset"), bp_base, signed("bp_offset"), signal)
