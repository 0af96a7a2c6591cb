"""Ways through one function: what leads into a block, and what lies between two places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from crashkit.dataflow import UNKNOWN, Dataflow, State
from crashkit.dataflow.transfer import Transfer
from crashkit.disasm import Flow, Instruction

_FALLS_THROUGH = (Flow.NEXT, Flow.BRANCH, Flow.CALL)


class Paths:
    """The edges of one function that its instructions name."""

    def __init__(self, flow: Dataflow) -> None:
        self._flow = flow

    @cached_property
    def _edges(self) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        after: dict[int, list[int]] = {}
        before: dict[int, list[int]] = {}
        for address, instruction in self._flow.instructions.items():
            for successor in _successors(instruction):
                if successor in self._flow.instructions:
                    after.setdefault(address, []).append(successor)
                    before.setdefault(successor, []).append(address)
        return after, before

    def before(self, address: int) -> tuple[Instruction, ...]:
        """The instructions that execution may have come from."""
        _, before = self._edges
        return tuple(self._flow.instructions[at] for at in before.get(address, ()))

    def states_into(self, block: int) -> Iterator[tuple[int, State]]:
        """Yield for each way into a block where it leaves another, and the state on it.

        The state is after the instruction there. What never runs, as far as is known, is
        left out.
        """
        if block == self._flow.entry:
            yield block, State.at_entry()
        for instruction in self.before(block):
            state = self._flow.state_before(instruction.address)
            if self._flow.complete and state.register("rsp") == UNKNOWN:
                continue
            point = instruction.address
            if instruction.flow in (Flow.NEXT, Flow.CALL):
                Transfer().apply(state, instruction)
                point = instruction.end
            yield point, state

    def between(self, start: int, end: int) -> frozenset[int]:
        """What may run after ``start``, before ``end`` and without ``start`` running again."""
        after, before = self._edges
        forward = _reach(after, after.get(start, ()), start)
        backward = _reach(before, before.get(end, ()), start)
        return forward & backward


def _successors(instruction: Instruction) -> Iterator[int]:
    if instruction.flow in _FALLS_THROUGH:
        yield instruction.end
    if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target is not None:
        yield instruction.target


def _reach(edges: dict[int, list[int]], start: Iterable[int], stop: int) -> frozenset[int]:
    found: set[int] = set()
    work = [address for address in start if address != stop]
    while work:
        address = work.pop()
        if address in found:
            continue
        found.add(address)
        work += [near for near in edges.get(address, ()) if near != stop]
    return frozenset(found)
