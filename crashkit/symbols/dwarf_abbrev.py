"""DWARF abbreviations: what entries of each kind look like, and how to step over them.

Source: DWARF 5, 7.5.3 and 7.5.6. Only the 32-bit format with 8-byte addresses is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from crashkit.symbols.dwarf_sections import Data, DwarfError, sleb, uleb

_ULEB, _BLOCK, _STRING, _BLOCK1, _BLOCK2, _BLOCK4 = -1, -2, -3, -4, -5, -6

SIZES = {
    0x01: 8, 0x03: _BLOCK2, 0x04: _BLOCK4, 0x05: 2, 0x06: 4, 0x07: 8, 0x08: _STRING,
    0x09: _BLOCK, 0x0A: _BLOCK1, 0x0B: 1, 0x0C: 1, 0x0D: _ULEB, 0x0E: 4, 0x0F: _ULEB,
    0x10: 4, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x15: _ULEB, 0x17: 4, 0x18: _BLOCK,
    0x19: 0, 0x1A: _ULEB, 0x1B: _ULEB, 0x1C: 4, 0x1D: 4, 0x1E: 16, 0x1F: 4, 0x20: 8,
    0x21: 0, 0x22: _ULEB, 0x23: _ULEB, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4,
    0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4,
    0x1F01: _ULEB, 0x1F02: _ULEB, 0x1F20: 4, 0x1F21: 4,
}  # fmt: skip
"""DW_FORM_* to bytes; negative where the bytes themselves say how many."""

_REF4, _IMPLICIT_CONST = 0x13, 0x21
_SIBLING = 0x01
_MAX_ATTRIBUTES = 256


class Attribute(NamedTuple):
    """Where the value of one attribute is."""

    form: int
    at: int
    implicit: int
    """The value, for DW_FORM_implicit_const."""


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """The shape of the entries that bear one abbreviation code."""

    tag: int
    children: bool
    shape: tuple[tuple[int, int, int], ...]
    """(attribute, form, implicit value) in order."""
    names: frozenset[int]
    plan: tuple[int, ...]
    """How to step over the values: runs of bytes, and codes for those that vary."""
    sibling: int | None
    """Where DW_AT_sibling is in the values, if that does not vary."""

    def skip(self, data: Data, at: int) -> int:
        """Step over the values of an entry: where the next entry begins."""
        for step in self.plan:
            at = at + step if step >= 0 else skip_value(step, data, at)
        return at

    def attributes(self, data: Data, at: int) -> dict[int, Attribute]:
        """Locate the values of an entry."""
        found = {}
        for name, form, implicit in self.shape:
            found[name] = Attribute(form, at, implicit)
            size = SIZES[form]
            at = at + size if size >= 0 else skip_value(size, data, at)
        return found


def skip_value(size: int, data: Data, at: int) -> int:
    """Step over one value whose size varies."""
    if size == _ULEB:
        while data[at] >= 0x80:
            at += 1
        return at + 1
    if size == _STRING:
        while data[at]:
            at += 1
        return at + 1
    start, end = block(size, data, at)
    return max(start, end)


def block(size: int, data: Data, at: int) -> tuple[int, int]:
    """Read a block's length: where its bytes begin and end."""
    if size == _BLOCK:
        length, start = uleb(data, at)
    else:
        start = at + {_BLOCK1: 1, _BLOCK2: 2, _BLOCK4: 4}[size]
        length = int.from_bytes(data[at:start], "little")
    if start + length > len(data):
        raise DwarfError("a block ends outside its unit")
    return start, start + length


def read_abbreviations(data: Data, at: int) -> dict[int, Abbreviation]:
    """Read the abbreviations that one unit uses, by code.

    :raises DwarfError: a form is unknown, so that entries cannot be stepped over
    """
    found: dict[int, Abbreviation] = {}
    while True:
        code, at = uleb(data, at)
        if code == 0:
            return found
        tag, at = uleb(data, at)
        children = data[at] != 0
        shape, at = _read_shape(data, at + 1)
        plan, sibling = _plan(shape)
        names = frozenset(name for name, _, _ in shape)
        found[code] = Abbreviation(tag, children, shape, names, plan, sibling)


def _read_shape(data: Data, at: int) -> tuple[tuple[tuple[int, int, int], ...], int]:
    shape: list[tuple[int, int, int]] = []
    while len(shape) < _MAX_ATTRIBUTES:
        name, form, implicit = data[at], data[at + 1], 0
        at += 2
        if name >= 0x80 or form >= 0x80:
            name, at = uleb(data, at - 2)
            form, at = uleb(data, at)
        if form == _IMPLICIT_CONST:
            implicit, at = sleb(data, at)
        if name == 0 and form == 0:
            return tuple(shape), at
        if form not in SIZES:
            raise DwarfError(f"form {form:#x}")
        shape.append((name, form, implicit))
    raise DwarfError("an abbreviation has too many attributes")


def _plan(shape: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, ...], int | None]:
    plan: list[int] = []
    run, sibling = 0, None
    for name, form, _ in shape:
        if name == _SIBLING and form == _REF4 and not plan:
            sibling = run
        if SIZES[form] >= 0:
            run += SIZES[form]
            continue
        plan += [run, SIZES[form]] if run else [SIZES[form]]
        run = 0
    return (*plan, run) if run or not plan else tuple(plan), sibling
