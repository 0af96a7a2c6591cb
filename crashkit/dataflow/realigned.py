"""Functions that align their stack pointer: by how much is known of a frame, not of the code.

gcc does so for locals of more than 8 bytes' alignment: ``push %rbp; mov %rsp,%rbp; …; and
$-16,%rsp``, or with the frame's address in r10. Where a frame lies, its CFA says how many bytes
the ``and`` takes off, and the function is as good as one that subtracts them.

Nothing rests on that number being right but the places of what is stored below: they are
checked against the frame's stack pointer, as those of any frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from crashkit.dataflow.stack_pointer import moved_by, next_addresses
from crashkit.disasm import (
    Access,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    RegisterOperand,
)

_AT_ENTRY = -8
LARGEST = 64
"""Bytes; to what a kernel's stack is ever aligned: a cache line."""


def realignments(instructions: Mapping[int, Instruction], entry: int) -> dict[int, int]:
    """Find where a function aligns its stack pointer.

    :returns: address of each such instruction to rsp before it, as an offset from the CFA;
        those where that differs by the way there are left out
    """
    before: dict[int, int] = {}
    several: set[int] = set()
    work = [(entry, _AT_ENTRY)]
    while work:
        address, offset = work.pop()
        instruction = instructions.get(address)
        if instruction is None:
            continue
        if address in before:
            if before[address] != offset:
                several.add(address)
            continue
        before[address] = offset
        moved = moved_by(instruction)
        if moved is not None:
            work += [(target, offset + moved) for target in next_addresses(instruction)]
    return {
        address: offset
        for address, offset in before.items()
        if address not in several and _alignment(instructions[address]) is not None
    }


def _alignment(instruction: Instruction) -> int | None:
    # Bytes to which rsp is aligned down.
    if instruction.operation != "and" or len(instruction.arguments) != 2:
        return None
    target, source = instruction.arguments
    is_rsp = isinstance(target, RegisterOperand) and target.name == "rsp"
    if not is_rsp or not isinstance(source, ImmediateOperand):
        return None
    bytes_ = -source.value
    return bytes_ if 0 < bytes_ <= LARGEST and not bytes_ & (bytes_ - 1) else None


def aligned(
    instructions: Sequence[Instruction], places: Mapping[int, int], cfa: int
) -> list[Instruction]:
    """Replace the alignments by the subtraction that they were in the frame at ``cfa``.

    :param places: as :func:`realignments` gives them
    """
    return list(_aligned(instructions, places, cfa))


def _aligned(
    instructions: Sequence[Instruction], places: Mapping[int, int], cfa: int
) -> Iterable[Instruction]:
    for instruction in instructions:
        offset, bytes_ = places.get(instruction.address), _alignment(instruction)
        if offset is None or bytes_ is None:
            yield instruction
            continue
        below = MemoryOperand(base="rsp", displacement=-((cfa + offset) % bytes_))
        yield dataclasses.replace(
            instruction,
            operation="lea",
            arguments=(instruction.arguments[0], below),
            accesses=(Access(below, "address", 0),),
        )
