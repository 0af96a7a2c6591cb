"""DWARF 4 entries of fixed size: what each kind looks like, and the abbreviations that say so.

Every form used has one length, so an entry is one ``struct.pack`` and a reference can be
filled in later: it is always an entry's last field. Numbers: DWARF 4, section 7.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

# DW_TAG_*
_ARRAY, _ENUM, _PARAMETER, _MEMBER, _POINTER = 0x01, 0x04, 0x05, 0x0D, 0x0F
_CU, _STRUCT, _SUBROUTINE, _TYPEDEF, _UNION = 0x11, 0x13, 0x15, 0x16, 0x17
_VARIADIC, _SUBRANGE, _BASE, _CONST, _ENUMERATOR = 0x18, 0x21, 0x24, 0x26, 0x28
_SUBPROGRAM, _VARIABLE, _VOLATILE, _RESTRICT = 0x2E, 0x34, 0x35, 0x37

# DW_AT_* with the DW_FORM_* it has here
_NAME = (0x03, 0x0E)  # strp
_TYPE = (0x49, 0x13)  # ref4
_SIZE1, _SIZE4 = (0x0B, 0x0B), (0x0B, 0x06)
_ENCODING = (0x3E, 0x0B)
_COUNT = (0x37, 0x06)
_OFFSET = (0x38, 0x06)
_BIT_OFFSET, _BIT_SIZE = (0x6B, 0x06), (0x0D, 0x0B)
_VALUE8, _VALUE_SIGNED = (0x1C, 0x07), (0x1C, 0x0D)  # data8, sdata
_LOW, _LENGTH = (0x11, 0x01), (0x12, 0x07)  # addr; data8: as long as
_LOCATION = (0x02, 0x18)  # exprloc
_PROTOTYPED, _DECLARATION, _EXTERNAL = (0x27, 0x19), (0x3C, 0x19), (0x3F, 0x19)
_PRODUCER, _LANGUAGE, _RANGES = (0x25, 0x0E), (0x13, 0x0B), (0x55, 0x17)

SLEB_BYTES = 10
ADDRESS_OPERATION = 0x03
"""``DW_OP_addr``."""
ADDRESS_EXPRESSION_BYTES = 9
_FORMATS = {
    0x0E: "I", 0x13: "I", 0x0B: "B", 0x06: "I", 0x07: "Q", 0x01: "Q", 0x19: "", 0x17: "I",
    0x0D: f"{SLEB_BYTES}s", 0x18: "BBQ",
}  # fmt: skip

Shape = Callable[..., bytes]
END = b"\0"
"""Ends a list of children."""
_table: list[bytes] = []


def _shape(tag: int, children: bool, *attributes: tuple[int, int]) -> Shape:
    code = len(_table) + 1
    pairs = b"".join(bytes(pair) for pair in attributes)
    _table.append(bytes([code, tag, children]) + pairs + b"\0\0")
    layout = struct.Struct("<B" + "".join(_FORMATS[form] for _at, form in attributes))
    return partial(layout.pack, code)


UNIT = _shape(_CU, True, _PRODUCER, _LANGUAGE, _NAME, _LOW, _RANGES)

BASE = _shape(_BASE, False, _NAME, _SIZE1, _ENCODING)
TYPEDEF = _shape(_TYPEDEF, False, _NAME, _TYPE)
TYPEDEF_VOID = _shape(_TYPEDEF, False, _NAME)
POINTER = _shape(_POINTER, False, _SIZE1, _TYPE)
POINTER_VOID = _shape(_POINTER, False, _SIZE1)
CONST = _shape(_CONST, False, _TYPE)
CONST_VOID = _shape(_CONST, False)
VOLATILE = _shape(_VOLATILE, False, _TYPE)
VOLATILE_VOID = _shape(_VOLATILE, False)
RESTRICT = _shape(_RESTRICT, False, _TYPE)
RESTRICT_VOID = _shape(_RESTRICT, False)
ARRAY = _shape(_ARRAY, True, _TYPE)
SUBRANGE = _shape(_SUBRANGE, False, _COUNT)
SUBRANGE_OPEN = _shape(_SUBRANGE, False)

STRUCT = _shape(_STRUCT, True, _NAME, _SIZE4)
STRUCT_UNNAMED = _shape(_STRUCT, True, _SIZE4)
STRUCT_DECLARED = _shape(_STRUCT, False, _NAME, _DECLARATION)
UNION = _shape(_UNION, True, _NAME, _SIZE4)
UNION_UNNAMED = _shape(_UNION, True, _SIZE4)
UNION_DECLARED = _shape(_UNION, False, _NAME, _DECLARATION)
MEMBER = _shape(_MEMBER, False, _NAME, _OFFSET, _TYPE)
MEMBER_UNNAMED = _shape(_MEMBER, False, _OFFSET, _TYPE)
BITS = _shape(_MEMBER, False, _NAME, _BIT_OFFSET, _BIT_SIZE, _TYPE)
BITS_UNNAMED = _shape(_MEMBER, False, _BIT_OFFSET, _BIT_SIZE, _TYPE)
ENUM = _shape(_ENUM, True, _NAME, _SIZE1)
ENUM_UNNAMED = _shape(_ENUM, True, _SIZE1)
ENUMERATOR = _shape(_ENUMERATOR, False, _NAME, _VALUE8)
ENUMERATOR_SIGNED = _shape(_ENUMERATOR, False, _NAME, _VALUE_SIGNED)

PROTOTYPE = _shape(_SUBROUTINE, True, _PROTOTYPED, _TYPE)
PROTOTYPE_VOID = _shape(_SUBROUTINE, True, _PROTOTYPED)
FUNCTION = _shape(_SUBPROGRAM, True, _NAME, _LOW, _LENGTH, _PROTOTYPED, _TYPE)
FUNCTION_VOID = _shape(_SUBPROGRAM, True, _NAME, _LOW, _LENGTH, _PROTOTYPED)
PARAMETER = _shape(_PARAMETER, False, _NAME, _TYPE)
PARAMETER_UNNAMED = _shape(_PARAMETER, False, _TYPE)
VARIADIC = _shape(_VARIADIC, False)
VARIABLE = _shape(_VARIABLE, False, _NAME, _EXTERNAL, _LOCATION, _TYPE)
CONSTANT = _shape(_VARIABLE, False, _NAME, _VALUE8, _TYPE)


def abbreviations() -> bytes:
    """Return the section ``.debug_abbrev``."""
    return b"".join(_table) + b"\0"


def padded_sleb(value: int) -> bytes:
    """Encode a signed 64-bit number in SLEB128, always :data:`SLEB_BYTES` long."""
    low = [(value >> 7 * n & 0x7F) | 0x80 for n in range(SLEB_BYTES - 1)]
    return bytes([*low, value >> 7 * (SLEB_BYTES - 1) & 0x7F])
