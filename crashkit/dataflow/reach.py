"""Which instructions can run after one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crashkit.disasm import Flow, Instruction

FALLS_THROUGH = (Flow.NEXT, Flow.BRANCH, Flow.CALL)


def reached_from(
    instructions: Mapping[int, Instruction],
    exception_edges: Mapping[int, Sequence[int]],
    start: int,
) -> frozenset[int]:
    """Find the addresses of a function's instructions that can run from ``start`` on."""
    found: set[int] = set()
    work = [start]
    while work:
        address = work.pop()
        while address not in found and address in instructions:
            found.add(address)
            instruction = instructions[address]
            work.extend(exception_edges.get(address, ()))
            if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target:
                work.append(instruction.target)
            if instruction.flow not in (*FALLS_THROUGH, Flow.STOP):
                break
            address = instruction.end
    return frozenset(found)
