"""The call that leads from one frame to the next: checked, not assumed.

The callee in the frame is compared with the call's target. They differ where the one
called went on to the other by a jump, and then the arguments at the call are not the
frame's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, replace

from drgn import Program

from crashkit.arguments.activation import Stopped
from crashkit.arguments.tails import (
    Chain,
    Jumps,
    find_chains,
    follow_trampoline,
    indirect_tail_jumps,
    reachable,
    substitute,
    terms_through,
)
from crashkit.dataflow import Const, Entry, Incoming, Load, State, Term, add, analyse_function
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import in_kernel_text
from crashkit.value import facts

ValueOf = Callable[[Term], int]
"""Gives a term of the caller a value; raises Unavailable."""


@facts
class Edge:
    """How a function was entered from its caller's frame."""

    prog: Program
    caller: Stopped
    callee: int
    chains: tuple[Chain, ...] = ((),)
    """Functions between the call and the frame's; one empty chain for a plain call."""
    jumps: Jumps = field(default_factory=dict)
    """Those of the chains' jumps that go through a pointer."""
    others: tuple[Edge, ...] = ()
    """More ways that lead there as well, by a pointer."""
    verified: bool = True
    """The call's target is known to lead to the callee."""

    def _through(self, chain: Chain, place: str | Incoming) -> tuple[frozenset[Term], bool]:
        # The same for every frame: remembered.
        jumps = tuple((function, jump.address) for function, jump in self.jumps.items())
        key = ("crashkit.through", chain, self.callee, place, jumps)
        if key not in self.prog.cache:
            found = terms_through(self.prog, chain, self.callee, place, self.jumps)
            self.prog.cache[key] = found
        through: tuple[frozenset[Term], bool] = self.prog.cache[key]
        return through

    def terms(self, register: str | Incoming) -> tuple[frozenset[Term], bool]:
        """What the caller had in ``register`` on each way, and whether all code is known.

        :param register: or the place of an argument on the stack

        :raises Unavailable: code on the way is not in the dump
        """
        terms: set[Term] = set()
        complete = self.caller.flow.complete
        for chain in self.chains:
            through, known = self._through(chain, register)
            if not through:
                return frozenset(), False
            complete = complete and known
            terms |= {substitute(term, self.caller.before) for term in through}
        for other in self.others:
            more, known = other.terms(register)
            if not more:
                return frozenset(), False
            complete = complete and known
            terms |= more
        return frozenset(terms), complete

    def hands_on(self, register: str) -> bool:
        """Whether all that is between the call and the callee leaves a register alone.

        :raises Unavailable: code on the way is not in the dump
        """
        unchanged = frozenset((Entry(register),))
        ways = all(self._through(chain, register)[0] == unchanged for chain in self.chains)
        return ways and all(other.hands_on(register) for other in self.others)

    def by(self, caller: Stopped) -> Edge:
        """The same edge, with more known of its caller."""
        others = tuple(replace(other, caller=caller) for other in self.others)
        return replace(self, caller=caller, others=others)

    def certain_terms(self) -> Iterator[tuple[Term, Term]]:
        """Yield the argument registers that hold one term of the caller's on every way.

        :returns: the callee's name for each, and the term
        :raises Unavailable: code on the way is not in the dump
        """
        for name in ARGUMENT_REGISTERS:
            terms, complete = self.terms(name)
            if complete and len(terms) == 1:
                yield Entry(name), next(iter(terms))

    @property
    def is_plain(self) -> bool:
        """Whether the call itself entered the callee, and not a jump of what it called."""
        return self.chains == ((),) and not self.others

    @property
    def call_offset(self) -> int:
        """The call's distance from the start of the caller's function."""
        call = self.caller.call
        return call.address - self.caller.function.address if call else 0

    @property
    def words(self) -> str:
        """``calls``, or by way of which functions."""
        chain = self.chains[0]
        if not chain:
            return "calls"
        return f"calls {', which jumps to '.join(f.name for f in chain)}, which jumps here,"


def edge_between(prog: Program, caller: Stopped, callee: int, value_of: ValueOf) -> Edge:
    """Find how ``caller``'s call led to the function at ``callee``.

    :raises Unavailable: it cannot be told how
    """
    call = caller.call
    what = f"the call in {caller.function.name}"
    if call is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "no call is under way there")
    target = _target_of(caller.before, caller, call, value_of)
    if target is None:  # the callee, or something that jumped to it: nothing tells
        return Edge(prog=prog, caller=caller, callee=callee, verified=False)
    if callee in (target, follow_trampoline(prog, target)):
        return Edge(prog=prog, caller=caller, callee=callee)
    target = follow_trampoline(prog, target)
    chains = find_chains(prog, target, callee)
    called = Edge(prog=prog, caller=caller, callee=callee)
    if chains:
        edge = replace(called, chains=chains)
        return replace(edge, others=_further_ways(edge, value_of))
    found = _through_pointers(called, target, value_of)
    if found is not None:
        return replace(found, others=(*found.others, *_further_ways(found, value_of)))
    if call.target is None:  # its pointer may have been another at the time
        return Edge(prog=prog, caller=caller, callee=callee, verified=False)
    raise Unavailable(what, Reason.AMBIGUOUS, f"its target {target:#x} is another function")


def _through_pointers(edge: Edge, start: int, value_of: ValueOf, more: int = 1) -> Edge | None:
    # Ways on from ``start``, where the edge's chain so far leads, by at least one pointer.
    there: list[Edge] = []
    elsewhere: list[tuple[Edge, int]] = []
    for way, jump in _ways_on(edge, start, there):
        if _leads_there(way, jump, value_of):
            there.append(way)
        elif (target := _target_of_jump(way, jump, value_of)) is not None:
            elsewhere.append((way, follow_trampoline(edge.prog, target)))
    there = there or [on for way, to in elsewhere for on in _directly_on(way, to)]
    if not there and more:
        deeper = (_through_pointers(way, to, value_of, more - 1) for way, to in elsewhere)
        there = [way for found in deeper if found for way in (found, *found.others)]
    if not there:
        return None
    return replace(there[0], others=tuple(there[1:]))


def _directly_on(edge: Edge, start: int) -> Iterator[Edge]:
    # The edge's chain, and on from ``start`` by direct jumps.
    rest = find_chains(edge.prog, start, edge.callee)
    if rest:
        yield replace(edge, chains=tuple((*edge.chains[0], *chain) for chain in rest))


def _further_ways(edge: Edge, value_of: ValueOf) -> tuple[Edge, ...]:
    # A function on the way may have gone to the callee by another of its pointers as well.
    found: list[Edge] = []
    begun = {chain[: n + 1]: None for chain in edge.chains for n in range(len(chain))}
    for chain in begun:
        for jump in _indirect_jumps(edge.prog, chain):
            if edge.jumps.get(chain[-1].address) == jump:
                continue
            way = replace(edge, chains=(chain,), jumps={**edge.jumps, chain[-1].address: jump})
            target = _target_of_jump(way, jump, value_of)
            if target is None or target == edge.callee:  # lost: it may have led there too
                found.append(way)
            else:
                found += _directly_on(way, follow_trampoline(edge.prog, target))
    return tuple(found)


def _ways_on(edge: Edge, start: int, there: list[Edge]) -> Iterator[tuple[Edge, Instruction]]:
    # The ways that end in a jump through a pointer; none longer than those found good.
    for chain in reachable(edge.prog, start):
        whole = (*edge.chains[0], *chain)
        if there and len(whole) > len(there[0].chains[0]):
            return
        if len(set(whole)) < len(whole):
            continue  # a function twice
        for jump in _indirect_jumps(edge.prog, chain):
            jumps = {**edge.jumps, chain[-1].address: jump}
            yield replace(edge, chains=(whole,), jumps=jumps), jump


def _target_of_jump(edge: Edge, jump: Instruction, value_of: ValueOf) -> int | None:
    # Where the jump that ends the edge's chain goes by what its pointer holds now.
    if jump.via is None:
        return None
    try:
        terms, _ = edge.terms(jump.via)
        targets = {value_of(term) for term in terms}
    except Unavailable:
        return None
    target = targets.pop() if len(targets) == 1 else None
    return target if target and in_kernel_text(edge.prog, target) else None


def _indirect_jumps(prog: Program, chain: Chain) -> list[Instruction]:
    try:
        return list(indirect_tail_jumps(analyse_function(prog, chain[-1])))
    except Unavailable:
        return []


def _leads_there(edge: Edge, jump: Instruction, value_of: ValueOf) -> bool:
    if jump.via is None:
        return False
    try:
        terms, _ = edge.terms(jump.via)
        return bool(terms) and all(value_of(term) == edge.callee for term in terms)
    except Unavailable:
        return False


def _target_of(state: State, caller: Stopped, call: Instruction, value_of: ValueOf) -> int | None:
    # None: an indirect call whose pointer cannot be had.
    if call.target is not None:
        return call.target
    try:
        if call.via is not None:
            return value_of(state.register(call.via))
        memory = call.memory
        if memory is None or memory.segment is not None:
            return None
        base, offset = caller.flow.place_of(call, memory)
        if isinstance(base, Const):
            base = add(base, offset)
            offset = 0
        return value_of(Load(base, offset, 8, call.address))
    except Unavailable:
        return None
