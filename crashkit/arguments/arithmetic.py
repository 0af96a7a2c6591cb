"""What instructions calculate from numbers: results and flags, as the processor makes them."""

from __future__ import annotations

from typing import Protocol

from crashkit.disasm import Instruction, MemoryOperand, Operand, RegisterOperand
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_U64 = (1 << 64) - 1
ARITHMETIC = frozenset(
    {"add", "sub", "and", "or", "xor", "shl", "sal", "shr", "sar", "imul"}
)  # fmt: skip
"""Operations of two operands, the first of which is replaced."""
COMPARES = {"cmp": "sub", "test": "and"}
"""Operations that leave the flags of another and no result."""
SINGLE = frozenset({"neg", "not", "inc", "dec"})
KEEP_FLAGS = frozenset(
    {"mov", "movabs", "movzx", "movsx", "movsxd", "lea", "nop", "push", "pop", "not", "cdqe",
     "endbr64"}
)  # fmt: skip
"""Operations that leave the flags as they are; so do conditional moves, sets and jumps."""
_SHIFTS = frozenset({"shl", "sal", "shr", "sar"})
_OPPOSITE = {
    "ae": "b", "nb": "b", "nc": "b", "ne": "e", "nz": "e", "a": "be", "nbe": "be", "ns": "s",
    "no": "o", "ge": "l", "nl": "l", "g": "le", "nle": "le",
}  # fmt: skip
_SAME = {"c": "b", "nae": "b", "z": "e", "na": "be", "nge": "l", "ng": "le"}


@facts
class Flags:
    """Flags after an operation; None for one that is not known."""

    zero: bool
    sign: bool
    carry: bool | None
    overflow: bool | None

    def packed(self) -> int:
        """The flags in one number."""
        known = (self.zero, self.sign, self.carry, self.overflow)
        return sum((2 if flag is None else int(flag)) << 2 * n for n, flag in enumerate(known))

    @classmethod
    def unpacked(cls, number: int) -> Flags:
        """The flags of :meth:`packed`."""
        zero, sign, carry, overflow = (number >> 2 * n & 3 for n in range(4))
        return cls(
            zero=bool(zero),
            sign=bool(sign),
            carry=None if carry == 2 else bool(carry),
            overflow=None if overflow == 2 else bool(overflow),
        )

    def holds(self, condition: str) -> bool | None:
        """Whether a condition (``e``, ``ae``, ``g``…) is met; None if that is not known."""
        if condition in _OPPOSITE:
            met = self.holds(_OPPOSITE[condition])
            return None if met is None else not met
        match _SAME.get(condition, condition):
            case "e":
                return self.zero
            case "s":
                return self.sign
            case "b":
                return self.carry
            case "o":
                return self.overflow
            case "be":
                return True if self.zero else self.carry
            case "l":
                return None if self.overflow is None else self.sign != self.overflow
            case "le":
                return True if self.zero else self.holds("l")
        return None


class Machine(Protocol):
    """What an instruction reads before it; each raises Unavailable for what is not known."""

    def operand(self, at: Instruction, operand: Operand) -> int:
        """Value of a register, an immediate number or memory, unsigned or not."""

    def register(self, at: Instruction, name: str) -> int:
        """Value of a full register."""

    def condition(self, at: Instruction, condition: str) -> bool:
        """Whether a condition is met."""


def result_of(machine: Machine, at: Instruction) -> tuple[str, int]:
    """Execute an instruction that puts a result into one register.

    :returns: the register's full name and its 64 bits
    :raises Unavailable: it does something else, or what it reads is not known
    """
    operation, arguments = at.operation, at.arguments
    target = arguments[0] if arguments else None
    if not isinstance(target, RegisterOperand) or target.full is None or target.size < 4:
        raise not_known("it is no plain calculation")
    cut = (1 << 8 * target.size) - 1
    if operation in ARITHMETIC and len(arguments) in (2, 3):
        left, right = (machine.operand(at, argument) for argument in arguments[-2:])
        return target.full, calculate(operation, target.size, left, right)[0]
    if operation in SINGLE:
        return target.full, calculate(operation, target.size, machine.operand(at, target))[0]
    if operation == "lea" and isinstance(arguments[1], MemoryOperand):
        return target.full, _address(machine, at, arguments[1]) & cut
    if operation.startswith("cmov"):
        chosen = arguments[1] if machine.condition(at, operation[4:]) else target
        return target.full, machine.operand(at, chosen) & cut
    if operation == "sbb" and arguments[0] == arguments[1]:
        return target.full, cut if machine.condition(at, "b") else 0
    raise not_known("it is no plain calculation")


def flags_of(machine: Machine, at: Instruction) -> Flags | None:
    """The flags after an instruction; None for those that nothing here knows.

    :raises Unavailable: what it reads is not known
    """
    operation = COMPARES.get(at.operation, at.operation)
    if operation not in ARITHMETIC or len(at.arguments) != 2:
        return None
    left, right = (machine.operand(at, argument) for argument in at.arguments)
    return calculate(operation, at.arguments[0].size, left, right)[1]


def keeps_flags(at: Instruction) -> bool:
    """Whether an instruction leaves the flags as they are."""
    return at.operation in KEEP_FLAGS or at.operation.startswith(("cmov", "set", "j"))


def not_known(why: str) -> Unavailable:
    """Make the exception for a value that is not known."""
    return Unavailable("a value it computed", Reason.OPTIMIZED_OUT, why)


def _address(machine: Machine, at: Instruction, memory: MemoryOperand) -> int:
    if memory.segment is not None or at.absolute(memory) is not None:
        raise not_known("it is no plain calculation")
    value = memory.displacement
    if memory.base is not None:
        value += machine.register(at, memory.base)
    if memory.index is not None:
        value += machine.register(at, memory.index) * memory.scale
    return value & _U64


def calculate(operation: str, size: int, left: int, right: int = 0) -> tuple[int, Flags | None]:
    """Execute an operation of :data:`ARITHMETIC` or :data:`SINGLE`.

    :param size: bytes of the operands, which may have more bits
    :returns: the low ``size`` bytes of the result, and the flags where they are known
    """
    bits = 8 * size
    cut = (1 << bits) - 1
    left &= cut
    if operation in _SHIFTS:
        return _shift(operation, bits, left, right & (0x3F if size == 8 else 0x1F))
    right &= cut
    match operation:
        case "and" | "or" | "xor":
            result = {"and": left & right, "or": left | right, "xor": left ^ right}[operation]
            return result, _flags(result, bits, carry=False, overflow=False)
        case "add":
            result = (left + right) & cut
            over = bool(((left ^ result) & (right ^ result)) >> (bits - 1))
            return result, _flags(result, bits, carry=left + right > cut, overflow=over)
        case "sub":
            result = (left - right) & cut
            over = bool(((left ^ right) & (left ^ result)) >> (bits - 1))
            return result, _flags(result, bits, carry=left < right, overflow=over)
        case "imul":
            return (left * right) & cut, None
        case "not":
            return ~left & cut, None
        case "neg":
            return calculate("sub", size, 0, left)
    assert operation in ("inc", "dec"), operation
    result, flags = calculate("add" if operation == "inc" else "sub", size, left, 1)
    assert flags is not None
    return result, _flags(result, bits, carry=None, overflow=flags.overflow)


def _shift(operation: str, bits: int, left: int, count: int) -> tuple[int, Flags | None]:
    cut = (1 << bits) - 1
    if count >= bits:  # of one byte and two, which nothing here asks for
        return (left, None) if not count else (0, None)
    if operation == "shr":
        result = left >> count
    elif operation == "sar":
        result = (left - (1 << bits) if left >> (bits - 1) else left) >> count & cut
    else:
        result = left << count & cut
    # No flag changes with a count of zero.
    return result, _flags(result, bits, carry=None, overflow=None) if count else None


def _flags(result: int, bits: int, *, carry: bool | None, overflow: bool | None) -> Flags:
    sign = bool(result >> (bits - 1))
    return Flags(zero=not result, sign=sign, carry=carry, overflow=overflow)
