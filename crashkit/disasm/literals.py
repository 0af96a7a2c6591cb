"""Constants that code has beside it: a load of the code's own bytes.

The function tracer's trampolines keep the address of their ``ftrace_ops`` behind their last
instruction and load it from there (``create_trampoline()``, arch/x86/kernel/ftrace.c). The
memory is executable and read-only, so what is loaded is as constant as an immediate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from crashkit.disasm.instruction import ImmediateOperand, Instruction, RegisterOperand


def with_literals(
    instructions: Sequence[Instruction], code: bytes, start: int
) -> list[Instruction]:
    """Make moves of constants out of whole loads of ``code``, and leave the literals out.

    :param instructions: those of ``code``, in order
    :param start: address of ``code``
    """
    literals = {
        instruction.address: at
        for instruction in instructions
        if (at := _literal(instruction, start, start + len(code))) is not None
    }
    found = []
    for instruction in instructions:
        if any(instruction.address < at + 8 and at < instruction.end for at in literals.values()):
            continue
        at = literals.get(instruction.address)
        if at is not None:
            value = int.from_bytes(code[at - start : at - start + 8], "little")
            instruction = _constant(instruction, value)
        found.append(instruction)
    return found


def _literal(instruction: Instruction, start: int, end: int) -> int | None:
    # Address of the eight bytes of the code that the instruction loads.
    if instruction.operation != "mov" or instruction.access != "read":
        return None
    memory, target = instruction.memory, instruction.arguments[0]
    if memory is None or memory.size != 8 or memory.segment is not None:
        return None
    at = instruction.absolute(memory)
    is_whole = isinstance(target, RegisterOperand) and target.full is not None
    return at if at is not None and is_whole and start <= at and at + 8 <= end else None


def _constant(instruction: Instruction, value: int) -> Instruction:
    signed = value - (1 << 64) if value >> 63 else value
    return dataclasses.replace(
        instruction,
        arguments=(instruction.arguments[0], ImmediateOperand(signed, 8)),
        accesses=(),
    )
