"""What DWARF says of a frame, a parameter or a call, in words of no particular reader.

A value is a number, or something that a frame's registers, its CFA or its memory gives,
plus an offset. All arithmetic is modulo 2^64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

_U64 = 0xFFFF_FFFF_FFFF_FFFF


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, unsigned 64 bit; run-time addresses of objects and functions too."""

    value: int


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """What ``register`` holds at the instruction in question, plus ``offset``."""

    register: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class EntryValue:
    """What ``register`` held when the function was entered, plus ``offset``."""

    register: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FrameAddress:
    """The canonical frame address plus ``offset``; the return address is at -8."""

    offset: int


@dataclass(frozen=True, slots=True)
class LoadValue:
    """``size`` bytes of memory at ``address``, zero-extended, plus ``offset``."""

    address: Value
    size: int
    offset: int = 0


Value: TypeAlias = Constant | RegisterValue | EntryValue | FrameAddress | LoadValue


def plus(value: Value, addend: int) -> Value:
    """``value + addend``."""
    if isinstance(value, Constant):
        return Constant((value.value + addend) & _U64)
    offset = _signed(value.offset + addend)
    if isinstance(value, FrameAddress):
        return FrameAddress(offset)
    if isinstance(value, LoadValue):
        return LoadValue(value.address, value.size, offset)
    return type(value)(value.register, offset)


def _signed(number: int) -> int:
    number &= _U64
    return number - (1 << 64) if number >> 63 else number


@dataclass(frozen=True, slots=True)
class FrameVariable:
    """Memory of a function's frame that one variable occupies."""

    name: str | None
    offset: int
    """Bytes from the CFA; negative for locals, 0 and more for parameters on the stack."""
    size: int
    """Bytes; may be 0 (an empty structure)."""
    listed: bool = False
    """It comes from a location list: the variable, or a part of it, is here at some pcs only."""
    base: Literal["cfa", "rsp"] = "cfa"
    """``rsp``: the offset is from the stack pointer as it is in the function's body."""


Kind: TypeAlias = Literal["register", "frame", "constant", "entry-value", "expression", "absent"]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a parameter is at one pc, or what it is."""

    kind: Kind
    """``register``: in it. ``frame``: in memory at CFA + offset. ``constant``: known.
    ``entry-value``: what a register held on entry, plus offset. ``expression``: computed
    otherwise. ``absent``: DWARF says nothing at this pc."""
    register: str | None = None
    """For ``register`` and ``entry-value``."""
    offset: int = 0
    """Bytes from the CFA for ``frame``; added to the register for ``entry-value``."""
    value: Value | None = None
    """The parameter's value; None when absent or not understood. Only the low bytes up to
    the parameter's size count: a register's upper half may be garbage."""
    size: int | None = None
    """Bytes of the parameter's type; None when unknown."""


@dataclass(frozen=True, slots=True)
class CallSite:
    """What DWARF says of one call.

    The values hold just before the call instruction, in the caller's frame. As with a
    parameter, only the low bytes up to its size count.
    """

    return_pc: int
    tail: bool
    """It is a jump: ``return_pc`` is then only the address behind it."""
    target: int | None
    """Entry of the function called; None if indirect or not known for sure. As compiled:
    the kernel patches calls of a static call's trampoline (``__SCT__``) to go elsewhere."""
    name: str | None
    """Name of the function called, as the source has it; a clone has the same."""
    values: Mapping[str, Value]
    """Register on the callee's entry to value; a value not understood is left out."""
    stack: Mapping[int, Value]
    """Offset from the callee's CFA to the 8-byte value there, likewise."""
