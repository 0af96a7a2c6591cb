"""``divide``: the dividend and divisor of a division that faulted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.printed import registers_of, report_ip
from crashkit.disasm import Instruction, MemoryOperand, RegisterOperand, decode_one
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.value import facts

if TYPE_CHECKING:
    from drgn import Program

    from crashkit.crash.core import Crash

_WHAT = "the division"
_HIGH, _LOW = "rdx", "rax"


@facts
class Divide:
    """A division that faulted."""

    instruction: str
    """AT&T text of the bytes in the dump."""
    divisor_operand: str
    """Register, or ``memory``."""
    divisor: int
    """Of as many bits as the instruction divides by; signed for ``idiv``."""
    divisor_address: int | None
    """Where it was read, None: a register. Memory may have changed since the fault."""
    dividend: int
    """The number divided: of rdx and rax together, signed for ``idiv``."""
    cause: str
    """``divisor is 0`` or ``quotient does not fit``."""


def read(crash: Crash) -> Divide | None:
    """Read what was divided by what.

    :raises Unavailable: the instruction or a register is not known, or it divides nothing
    """
    address = report_ip(crash)
    if address is None:
        raise Unavailable(_WHAT, Reason.NOT_IN_DUMP, "its address is not known")
    instruction = decode_one(crash.prog, address)
    if instruction.operation not in ("div", "idiv"):
        detail = f"{instruction.text} divides nothing"
        raise Unavailable(_WHAT, Reason.CORRUPTED, detail)
    registers = registers_of(crash)
    signed = instruction.operation == "idiv"
    operand = instruction.arguments[-1]
    if isinstance(operand, RegisterOperand) and operand.full is not None:
        size, place = operand.size, None
        raw = _register(registers, operand.full) >> (8 * operand.is_high_byte)
        name = operand.name
    elif isinstance(operand, MemoryOperand):
        size, place, name = operand.size, _place(instruction, operand, registers), "memory"
        raw = _memory(crash.prog, place, size)
    else:
        raise Unavailable(_WHAT, Reason.CORRUPTED, instruction.text)
    divisor = _cut(raw, size, signed=signed)
    dividend = _dividend(registers, size, signed=signed)
    return Divide(
        instruction=instruction.text,
        divisor_operand=name,
        divisor=divisor,
        divisor_address=place,
        dividend=dividend,
        cause=_cause(dividend, divisor, size, signed=signed),
    )


def _register(registers: Mapping[str, int], name: str) -> int:
    if name not in registers:
        raise Unavailable(f"{name} at the division", Reason.NOT_SAVED, "not in the exception frame")
    return registers[name]


def _place(instruction: Instruction, memory: MemoryOperand, registers: Mapping[str, int]) -> int:
    fixed = instruction.absolute(memory)
    if fixed is not None:
        return fixed
    if memory.segment is not None:
        raise Unavailable(_WHAT, Reason.UNSUPPORTED, "by per-CPU memory")
    address = memory.displacement
    for name, scale in ((memory.base, 1), (memory.index, memory.scale)):
        if name is not None:
            address += _register(registers, name) * scale
    return address & ((1 << 64) - 1)


def _memory(prog: Program, address: int, size: int) -> int:
    return int.from_bytes(read_bytes(prog, address, size, "the divisor"), "little")


def _cut(value: int, size: int, *, signed: bool) -> int:
    data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return int.from_bytes(data, "little", signed=signed)


def _dividend(registers: Mapping[str, int], size: int, *, signed: bool) -> int:
    # SDM vol. 2, DIV: ax by a byte, else dx:ax, edx:eax or rdx:rax.
    low = _register(registers, _LOW)
    if size == 1:
        return _cut(low, 2, signed=signed)
    bits = 8 * size
    mask = (1 << bits) - 1
    both = (_register(registers, _HIGH) & mask) << bits | (low & mask)
    return _cut(both, 2 * size, signed=signed)


def _cause(dividend: int, divisor: int, size: int, *, signed: bool) -> str:
    if divisor == 0:
        return "divisor is 0"
    quotient = abs(dividend) // abs(divisor)
    negative = signed and (dividend < 0) != (divisor < 0)
    most = (1 << (8 * size - signed)) - 1 + negative
    return "quotient does not fit" if quotient > most else "not by these numbers"
