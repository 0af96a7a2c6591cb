"""The call that leads from one frame to the next: checked, not assumed.

The callee in the frame is compared with the call's target. They differ where the one
called went on to the other by a jump, and then the arguments at the call are not the
frame's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drgn import Program

from crashkit.arguments.activation import Stopped
from crashkit.arguments.tails import (
    Chain,
    find_chains,
    follow_trampoline,
    indirect_tail_jumps,
    reachable,
    substitute,
    terms_through,
)
from crashkit.dataflow import Const, Load, State, Term, add, analyse_function
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable

ValueOf = Callable[[Term], int]
"""Gives a term of the caller a value; raises Unavailable."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """How a function was entered from its caller's frame."""

    prog: Program
    caller: Stopped
    callee: int
    chains: tuple[Chain, ...] = ((),)
    """Functions between the call and the frame's; one empty chain for a plain call."""
    last: Instruction | None = None
    """The indirect jump that ends the chain."""
    verified: bool = True
    """The call's target is known to lead to the callee."""

    def terms(self, register: str) -> tuple[frozenset[Term], bool]:
        """What the caller had in ``register`` on each way, and whether all code is known.

        :raises Unavailable: code on the way is not in the dump
        """
        terms: set[Term] = set()
        complete = self.caller.flow.complete
        for chain in self.chains:
            through, known = terms_through(self.prog, chain, self.callee, register, self.last)
            if not through:
                return frozenset(), False
            complete = complete and known
            terms |= {substitute(term, self.caller.before) for term in through}
        return frozenset(terms), complete

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
    if chains:
        return Edge(prog=prog, caller=caller, callee=callee, chains=chains)
    for chain in reachable(prog, target):
        for jump in _indirect_jumps(prog, chain):
            edge = Edge(prog=prog, caller=caller, callee=callee, chains=(chain,), last=jump)
            if _leads_there(edge, jump, value_of):
                return edge
    if call.target is None:  # its pointer may have been another at the time
        return Edge(prog=prog, caller=caller, callee=callee, verified=False)
    raise Unavailable(what, Reason.AMBIGUOUS, f"its target {target:#x} is another function")


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
