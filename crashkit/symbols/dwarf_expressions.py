"""DWARF location expressions: what they say, without a frame to evaluate them in.

Only sums of a constant with a register, the CFA, an entry value or memory are told;
anything else is not understood, which is an answer of its own.
Source: DWARF 5, 2.5, 2.6 and 7.7.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crashkit.registers import DWARF_NUMBERS
from crashkit.symbols.dwarf_lists import Expression
from crashkit.symbols.dwarf_sections import Data, DwarfError, sleb, uleb
from crashkit.symbols.dwarf_units import Unit
from crashkit.symbols.dwarf_values import (
    Constant,
    EntryValue,
    FrameAddress,
    LoadValue,
    RegisterValue,
    Value,
    plus,
)

CALL_FRAME_CFA = 0x9C
_ADDR, _DEREF, _CONSTU, _CONSTS, _DUP, _DROP, _SWAP = 0x03, 0x06, 0x10, 0x11, 0x12, 0x13, 0x16
_AND, _MINUS, _PLUS, _PLUS_UCONST = 0x1A, 0x1C, 0x22, 0x23
_LIT0, _REG0, _BREG0, _REGX, _FBREG, _BREGX = 0x30, 0x50, 0x70, 0x90, 0x91, 0x92
_PIECE, _DEREF_SIZE, _NOP, _BIT_PIECE = 0x93, 0x94, 0x96, 0x9D
_IMPLICIT_VALUE, _STACK_VALUE = 0x9E, 0x9F
_ADDRX, _CONSTX, _GNU_ADDR_INDEX, _GNU_CONST_INDEX = 0xA1, 0xA2, 0xFB, 0xFC
_ENTRY_VALUE, _GNU_ENTRY_VALUE = 0xA3, 0xF3
_FIXED_CONSTANTS = {
    0x08: (1, False), 0x09: (1, True), 0x0A: (2, False), 0x0B: (2, True),
    0x0C: (4, False), 0x0D: (4, True), 0x0E: (8, False), 0x0F: (8, True),
}  # fmt: skip
_MAX_OPERATIONS = 256
_WORD = 8
_U64 = 0xFFFF_FFFF_FFFF_FFFF


class NotUnderstoodError(DwarfError):
    """An expression is sound as far as can be seen, but says more than this reader knows."""


# Operations whose result is not told: their operands, and how many values they take and
# give. Operands: bytes, or the negated number of LEB128 numbers.
_OPAQUE = {
    0x14: (0, 0, 1), 0x15: (1, 0, 1), 0x17: (0, 3, 3), 0x18: (0, 2, 1), 0x19: (0, 1, 1),
    0x1B: (0, 2, 1), 0x1D: (0, 2, 1), 0x1E: (0, 2, 1), 0x1F: (0, 1, 1), 0x20: (0, 1, 1),
    0x21: (0, 2, 1), 0x24: (0, 2, 1), 0x25: (0, 2, 1), 0x26: (0, 2, 1), 0x27: (0, 2, 1),
    0x29: (0, 2, 1), 0x2A: (0, 2, 1), 0x2B: (0, 2, 1), 0x2C: (0, 2, 1), 0x2D: (0, 2, 1),
    0x2E: (0, 2, 1), 0x97: (0, 0, 1), 0x9B: (0, 1, 1), 0xE0: (0, 1, 1),
    0xA5: (-2, 0, 1), 0xA8: (-1, 1, 1), 0xA9: (-1, 1, 1), 0xFA: (4, 0, 1), 0xFD: (4, 0, 1),
    0xF5: (-2, 0, 1), 0xF7: (-1, 1, 1), 0xF9: (-1, 1, 1),
}  # fmt: skip
_BRANCH, _SKIP, _GNU_UNINIT = 0x28, 0x2F, 0xF0
_DEREF_TYPES, _CONST_TYPES, _IMPLICIT_POINTERS = (0xA6, 0xF6), (0xA4, 0xF4), (0xA0, 0xF2)


@dataclass(frozen=True, slots=True)
class Said:
    """What an expression says."""

    form: Literal["register", "memory", "value", "pieces", "nothing"]
    value: Value | None = None
    """``register``: what it holds; ``memory``: its address; ``value``: itself; None when
    it is more than this reader tells."""
    pieces: tuple[tuple[Said, int], ...] = ()
    """Each piece and its bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What an expression of one function is relative to."""

    unit: Unit
    base: Value | None
    """DW_AT_frame_base, as the address that DW_OP_fbreg adds to; None: not understood."""


def frame_base(expression: Expression, unit: Unit) -> Value | None:
    """Read a DW_AT_frame_base: ``FrameAddress(0)`` when it is the CFA."""
    said = read_expression(expression, Frame(unit, None))
    return said.value if said.form in ("memory", "register") else None


def read_value(expression: Expression, frame: Frame) -> Value | None:
    """Read an expression that computes a value (DW_AT_call_value); None: not told."""
    try:
        said = read_expression(expression, frame)
    except NotUnderstoodError:
        return None
    return said.value if said.form in ("memory", "value") else None


def read_expression(expression: Expression, frame: Frame) -> Said:
    """Read an expression that describes a location.

    :raises NotUnderstoodError: it jumps, or has an operation of unknown form
    :raises DwarfError: it is damaged
    """
    return _Machine(expression, frame).run()


class _Machine:
    # One pass over an expression; the stack holds neutral values.
    def __init__(self, expression: Expression, frame: Frame) -> None:
        self._expression, self._frame = expression, frame
        self._data: Data = expression.data
        self._at = expression.start
        self._stack: list[Value | None] = []
        self._said: Said | None = None  # a register or an implicit value, not yet in a piece
        self._pieces: list[tuple[Said, int]] = []
        self._branches = False

    def run(self) -> Said:
        for _ in range(_MAX_OPERATIONS):
            if self._at == self._expression.end:
                return self._result()
            if self._at > self._expression.end:
                break
            code = self._data[self._at]
            self._at += 1
            self._step(code)
        raise DwarfError("an expression has no end")

    def _result(self) -> Said:
        if self._branches:
            # Which way it goes is not known, but a value is in no memory either way.
            if self._said is None or self._said.form != "value" or self._pieces:
                raise NotUnderstoodError("a location that depends on a comparison")
            return Said("value")
        if self._pieces:
            return Said("pieces", None, tuple(self._pieces))
        if self._said is not None:
            return self._said
        return Said("memory", self._pop()) if self._stack else Said("nothing")

    def _step(self, code: int) -> None:
        if code == _PIECE:
            self._piece(self._uleb(), 0)
        elif code == _BIT_PIECE:
            bits, first = self._uleb(), self._uleb()
            self._piece((first % 8 + bits + 7) // 8, first // 8)
        elif code == _GNU_UNINIT:
            # The place of a variable that has no value yet.
            self._said = Said(self._said.form) if self._said else None
        elif self._said is not None:
            raise DwarfError("an expression goes on behind its end")
        elif not (
            self._push_simple(code)
            or self._push_relative(code)
            or self._compute(code)
            or self._pass_over(code)
        ):
            self._finish(code)

    def _push_simple(self, code: int) -> bool:
        if _LIT0 <= code < _REG0:
            self._push(Constant(code - _LIT0))
        elif code in _FIXED_CONSTANTS:
            size, signed = _FIXED_CONSTANTS[code]
            digits = self._data[self._at : self._at + size]
            self._at += size
            self._push(Constant(int.from_bytes(digits, "little", signed=signed) & _U64))
        elif code == _CONSTU:
            self._push(Constant(self._uleb() & _U64))
        elif code == _CONSTS:
            self._push(Constant(self._sleb() & _U64))
        elif code == _ADDR:
            self._push(_known(self._expression.section.address(self._at + self._expression.at)))
            self._at += 8
        elif code in (_ADDRX, _CONSTX, _GNU_ADDR_INDEX, _GNU_CONST_INDEX):
            self._push(_known(self._frame.unit.indexed_address(self._uleb())))
        else:
            return False
        return True

    def _push_relative(self, code: int) -> bool:
        if _BREG0 <= code < _REGX:
            self._push(_plus(_register(code - _BREG0), self._sleb()))
        elif code == _BREGX:
            register = _register(self._uleb())
            self._push(_plus(register, self._sleb()))
        elif code == _FBREG:
            self._push(_plus(self._frame.base, self._sleb()))
        elif code == CALL_FRAME_CFA:
            self._push(FrameAddress(0))
        elif code in (_ENTRY_VALUE, _GNU_ENTRY_VALUE):
            self._push(self._entry_value())
        else:
            return False
        return True

    def _compute(self, code: int) -> bool:
        if code == _PLUS_UCONST:
            self._push(_plus(self._pop(), self._uleb()))
        elif code in (_PLUS, _MINUS, _AND):
            second, first = self._pop(), self._pop()
            self._push(_binary(code, first, second))
        elif code == _DEREF:
            self._push(_load(self._pop(), 8))
        elif code == _DEREF_SIZE:
            size = self._data[self._at]
            self._at += 1
            self._push(_load(self._pop(), size))
        elif code == _DUP:
            value = self._pop()
            self._stack += [value, value]
        elif code == _SWAP:
            self._stack += [self._pop(), self._pop()]
        elif code == _DROP:
            self._pop()
        else:
            return code == _NOP
        return True

    def _pass_over(self, code: int) -> bool:
        if code in _DEREF_TYPES:
            self._at = uleb(self._data, self._at + 1)[1]
            self._pop()
        elif code in _CONST_TYPES:
            _, self._at = uleb(self._data, self._at)
            self._at += 1 + self._data[self._at]
        elif code in (_BRANCH, _SKIP):
            self._at += 2
            self._branches = True
            return True
        elif code in _OPAQUE:
            operands, taken, given = _OPAQUE[code]
            for _ in range(-operands):
                self._uleb()
            self._at += max(0, operands)
            for _ in range(taken):
                self._pop()
            self._stack += [None] * given
            return True
        else:
            return False
        self._push(None)
        return True

    def _finish(self, code: int) -> None:
        # The operations that say what kind of thing the expression describes.
        if _REG0 <= code < _BREG0:
            self._said = Said("register", _register(code - _REG0))
        elif code == _REGX:
            self._said = Said("register", _register(self._uleb()))
        elif code == _STACK_VALUE:
            self._said = Said("value", self._pop())
        elif code == _IMPLICIT_VALUE:
            length = self._uleb()
            digits = bytes(self._data[self._at : min(self._at + length, self._expression.end)])
            self._at += length
            number = Constant(int.from_bytes(digits, "little")) if length <= _WORD else None
            self._said = Said("value", number)
        elif code in _IMPLICIT_POINTERS:
            self._at = uleb(self._data, self._at + 4)[1]
            self._said = Said("value")
        else:
            raise NotUnderstoodError(f"operation {code:#x}")

    def _piece(self, size: int, skipped: int) -> None:
        said = self._said
        if said is None and self._stack:
            said = Said("memory", _plus(self._pop(), skipped))
        self._pieces.append((said or Said("nothing"), size))
        self._said = None
        self._stack.clear()

    def _entry_value(self) -> Value | None:
        # The operand is an expression itself; only a register is told.
        end = self._uleb() + self._at
        at, self._at = self._at, end
        code = self._data[at]
        if code == _REGX:
            number, at = uleb(self._data, at + 1)
        else:
            number, at = code - _REG0, at + 1
        is_register = code == _REGX or _REG0 <= code < _BREG0
        register = _register(number) if is_register and at == end else None
        return EntryValue(register.register) if register else None

    def _push(self, value: Value | None) -> None:
        self._stack.append(value)

    def _pop(self) -> Value | None:
        if self._branches and not self._stack:
            return None  # operations are read in order, also those that are jumped over
        return self._stack.pop()  # IndexError is one of what a damaged file raises

    def _uleb(self) -> int:
        value, self._at = uleb(self._data, self._at)
        return value

    def _sleb(self) -> int:
        value, self._at = sleb(self._data, self._at)
        return value


def _register(number: int) -> RegisterValue | None:
    return RegisterValue(DWARF_NUMBERS[number]) if number in DWARF_NUMBERS else None


def _known(address: int | None) -> Constant | None:
    return None if address is None else Constant(address & _U64)


def _plus(value: Value | None, addend: int) -> Value | None:
    return None if value is None else plus(value, addend)


def _load(address: Value | None, size: int) -> Value | None:
    return LoadValue(address, size) if address is not None and 0 < size <= _WORD else None


def _binary(code: int, first: Value | None, second: Value | None) -> Value | None:
    if isinstance(second, Constant) and code in (_PLUS, _MINUS):
        return _plus(first, second.value if code == _PLUS else -second.value)
    if isinstance(first, Constant) and code == _PLUS:
        return _plus(second, first.value)
    if isinstance(first, Constant) and isinstance(second, Constant) and code == _AND:
        return Constant(first.value & second.value)
    return None
