"""Terms: where a value came from, as far as one function's instructions say.

Two places that hold equal terms at one instruction hold equal values. A term that
names an instruction (``at``) means that instruction's latest execution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_U64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known of the value."""


@dataclass(frozen=True, slots=True)
class Defined(Unknown):
    """What the instruction at ``at`` last put into a register, by no rule of this analysis.

    Unknown, but one value: places that hold the same one are equal.
    """

    at: int
    register: str


@dataclass(frozen=True, slots=True)
class Merged(Unknown):
    """What a place held when the block at ``at`` was last entered, on whichever path.

    Unknown, but one value: places that hold the same one are equal.
    """

    at: int
    place: str | int
    """A register, or a slot's offset from the CFA."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a register held when the function was entered."""

    register: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """The eight bytes that the caller had at the CFA plus ``offset``: an argument."""

    offset: int


@dataclass(frozen=True, slots=True)
class Const:
    """A number, unsigned 64 bit; addresses of objects and functions too."""

    value: int


@dataclass(frozen=True, slots=True)
class FrameAddress:
    """The canonical frame address plus ``offset``; the return address is at -8."""

    offset: int


@dataclass(frozen=True, slots=True)
class Load:
    """``size`` bytes read from ``base + offset`` by the instruction at ``at``."""

    base: Term
    offset: int
    size: int
    at: int
    signed: bool = False
    """Sign-extended to 64 bits; otherwise zero-extended."""


@dataclass(frozen=True, slots=True)
class PerCpu:
    """As :class:`Load`, relative to a segment base: this CPU's copy of a variable."""

    base: Term
    offset: int
    size: int
    at: int
    segment: str
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """``base + addend``, modulo 2^64; made by :func:`add`."""

    base: Term
    addend: int


@dataclass(frozen=True, slots=True)
class Masked:
    """``base & mask``; made by :func:`mask`."""

    base: Term
    mask: int


@dataclass(frozen=True, slots=True)
class Part:
    """The low ``size`` bytes of ``base``, extended to 64 bits; made by :func:`part`."""

    base: Term
    size: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What the call at ``at`` returned in rax."""

    at: int
    target: int | None
    """Address of the function called; None for an indirect call."""


Term: TypeAlias = (
    Unknown | Entry | Incoming | Const | FrameAddress | Load | PerCpu | Sum | Masked | Part | Result
)

UNKNOWN = Unknown()
DEEPEST = 24
"""Nesting at which a term becomes unknown; real chains have under ten."""


def signed64(number: int) -> int:
    """Read the low 64 bits of a number as two's complement."""
    number &= _U64
    return number - (1 << 64) if number >> 63 else number


def add(term: Term, addend: int) -> Term:
    """``term + addend`` in its one normal form."""
    if term == UNKNOWN or not signed64(addend):
        return term
    if isinstance(term, Const):
        return Const((term.value + addend) & _U64)
    if isinstance(term, FrameAddress):
        return FrameAddress(signed64(term.offset + addend))
    if isinstance(term, Sum):
        total = signed64(term.addend + addend)
        return Sum(term.base, total) if total else term.base
    return Sum(term, signed64(addend))


def split(term: Term) -> tuple[Term, int]:
    """Take a term apart into what it is relative to and the distance."""
    if isinstance(term, Sum):
        return term.base, term.addend
    return term, 0


def mask(term: Term, bits: int) -> Term:
    """``term & bits``."""
    bits &= _U64
    if isinstance(term, Const) or not bits:
        return Const(term.value & bits if isinstance(term, Const) else 0)
    if isinstance(term, FrameAddress) or term == UNKNOWN:
        return UNKNOWN
    if isinstance(term, Masked):
        return Masked(term.base, term.mask & bits)
    return Masked(term, bits)


def part(term: Term, size: int, signed: bool) -> Term:
    """The low ``size`` bytes of a term, zero- or sign-extended to 64 bits."""
    if size >= 8:
        return term
    if isinstance(term, Const):
        low = term.value & ((1 << 8 * size) - 1)
        if signed and low >> (8 * size - 1):
            low |= _U64 ^ ((1 << 8 * size) - 1)
        return Const(low)
    if isinstance(term, FrameAddress) or term == UNKNOWN:
        return UNKNOWN
    if isinstance(term, (Load, PerCpu, Part)):
        if term.size < size and not term.signed:
            return term  # the upper bits are zero already
        if term.size == size and term.signed == signed:
            return term
    return Part(term, size, signed)


def parents(term: Term) -> tuple[Term, ...]:
    """The terms this one was made from; none for one that stands alone."""
    if isinstance(term, (Load, PerCpu, Sum, Masked, Part)):
        return (term.base,)
    return ()


def lineage(term: Term) -> Iterator[Term]:
    """Yield the term, what it was made from, and so on to its root."""
    yield term
    while isinstance(term, (Load, PerCpu, Sum, Masked, Part)):
        term = term.base
        yield term


def depth(term: Term) -> int:
    """How many terms are nested in this one, itself included."""
    return sum(1 for _ in lineage(term))


def names_instruction(term: Term, address: int) -> bool:
    """Whether the term, or one in it, means an execution of the instruction there."""
    while True:
        kind = type(term)
        if kind in _EXECUTED and term.at == address:  # type: ignore[union-attr]
            return True
        if kind not in _NESTED:
            return False
        term = term.base  # type: ignore[union-attr]


def names_block(term: Term, address: int) -> bool:
    """Whether the term, or one in it, means an entry of the block there."""
    while type(term) in _NESTED:
        term = term.base  # type: ignore[union-attr]
    return type(term) is Merged and term.at == address


_NESTED = frozenset({Load, PerCpu, Sum, Masked, Part})
_EXECUTED = frozenset({Load, PerCpu, Result, Defined})
NAMELESS = frozenset({Unknown, Entry, Incoming, Const, FrameAddress})
"""Kinds of terms that mean no execution and have no other term in them."""
