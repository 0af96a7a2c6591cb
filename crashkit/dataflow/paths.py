"""Ways through a function's code: what ran before, after and in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from crashkit.dataflow.analysis import Dataflow
from crashkit.dataflow.state import State
from crashkit.disasm import Flow, Instruction

_WAYS: WeakKeyDictionary[Dataflow, _Ways] = WeakKeyDictionary()
_FALLS_THROUGH = (Flow.NEXT, Flow.BRANCH, Flow.CALL, Flow.STOP)


def before_in_block(flow: Dataflow, address: int) -> Iterator[Instruction]:
    """Yield the instructions before one in its own block, the nearest first."""
    while address not in flow.leaders:
        earlier = flow.by_end.get(address)
        if earlier is None:
            return
        yield earlier
        address = earlier.address


def strays(flow: Dataflow) -> frozenset[int]:
    """Blocks that nothing is known to lead to and that may run nevertheless."""
    return frozenset() if flow.settled else frozenset(flow.starts.keys() - {flow.entry})


def runs(flow: Dataflow, address: int) -> bool:
    """Whether the instruction at ``address`` may run at all."""
    return not flow.settled or flow.leader_of(address) in flow.settled


def successors(flow: Dataflow, instruction: Instruction) -> tuple[int, ...]:
    """List where execution may go on in the function, by all edges that are known."""
    found = list(flow.exception_edges.get(instruction.address, ()))
    if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target is not None:
        found.append(instruction.target)
    if instruction.flow in _FALLS_THROUGH:
        found.append(instruction.end)
    return tuple(address for address in found if address in flow.instructions)


def run_between(flow: Dataflow, start: int, stop: int) -> frozenset[int]:
    """List the instructions that may have run since ``start`` last ran, before ``stop`` does.

    ``start`` is one of them. Where code may run that nothing is known to lead to, it is among
    them, with all that follows it. Remembered, as the states of :func:`states_into` are.
    """
    ways = _ways_of(flow)
    found = ways.between.get((start, stop))
    if found is None:
        forward = _closure(ways.follows, (*ways.follows.get(start, ()), *strays(flow)), start)
        back = _closure(ways.leads, ways.leads.get(stop, ()), start)
        found = ways.between[start, stop] = frozenset({start} | (forward & back))
    return found


def states_into(flow: Dataflow, leader: int) -> tuple[State, ...]:
    """List the states after each instruction that leads to a block; not to be changed.

    :returns: nothing when it may be entered in another way as well
    """
    ways = _ways_of(flow)
    if leader not in ways.into:
        handlers = {target for targets in flow.exception_edges.values() for target in targets}
        known = leader != flow.entry and leader not in strays(flow) and leader not in handlers
        before = (address for address in ways.leads.get(leader, ()) if runs(flow, address))
        ways.into[leader] = tuple(map(flow.state_after, before)) if known else ()
    return ways.into[leader]


@dataclass(slots=True)
class _Ways:
    follows: dict[int, tuple[int, ...]]
    leads: dict[int, tuple[int, ...]]
    between: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict)
    into: dict[int, tuple[State, ...]] = field(default_factory=dict)


def _ways_of(flow: Dataflow) -> _Ways:
    found = _WAYS.get(flow)
    if found is None:
        follows = {at: successors(flow, one) for at, one in flow.instructions.items()}
        leads: dict[int, list[int]] = {}
        for address, following in follows.items():
            for target in dict.fromkeys(following):
                leads.setdefault(target, []).append(address)
        before = {address: tuple(addresses) for address, addresses in leads.items()}
        found = _WAYS[flow] = _Ways(follows, before)
    return found


def _closure(graph: Mapping[int, Iterable[int]], first: Iterable[int], barrier: int) -> set[int]:
    found: set[int] = set()
    work = list(first)
    while work:
        address = work.pop()
        if address not in found and address != barrier:
            found.add(address)
            work.extend(graph.get(address, ()))
    return found
