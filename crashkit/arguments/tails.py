"""Ways from a function that was called to one it became by jumping: tail calls.

A frame's return address belongs to the call of the first function of such a chain, so
the arguments at the call are those of another function than the frame's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from drgn import Program

from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    Entry,
    FrameAddress,
    Incoming,
    Load,
    Masked,
    Part,
    PerCpu,
    State,
    Sum,
    Term,
    add,
    analyse_function,
)
from crashkit.dataflow.terms import mask, part
from crashkit.disasm import Flow, Instruction, decode_one
from crashkit.errors import Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols import SymbolAt, in_kernel_text, symbol_at

_CACHE_KEY = "crashkit.tails"
_LONGEST = 4
_INDIRECT = 2
_MOST_INDIRECT = 60
_MOST_FUNCTIONS = 1500
_MOST_CHAINS = 16
_MOST_TERMS = 16
_LARGEST = 1 << 16
# jmp rel32, and jcc rel32: also found inside other instructions, which only costs time.
_JUMP = re.compile(rb"(?=(?:\xe9|\x0f[\x80-\x8f])(....))", re.DOTALL)
# A patched alternative of a function next to it.
_SHORT_JUMP = re.compile(rb"(?=\xeb(.))", re.DOTALL)
_AT_ENTRY = FrameAddress(-8)

Chain = tuple[SymbolAt, ...]
"""The functions from the one called to the one that jumps to the frame's."""
Jumps = Mapping[int, Instruction]
"""Address of a function of a chain to its jump through a pointer."""


def follow_trampoline(prog: Program, target: int) -> int:
    """Follow direct jumps that are the whole of what is at a call's target (static calls)."""
    for _ in range(_LONGEST):
        try:
            instruction = decode_one(prog, target)
            if instruction.operation == "endbr64":
                instruction = decode_one(prog, instruction.end)
        except Unavailable:
            return target
        if instruction.operation != "jmp" or instruction.target is None:
            return target
        target = instruction.target
    return target


def find_chains(prog: Program, start: int, callee: int) -> tuple[Chain, ...]:
    """Find the ways by direct tail jumps from the function at ``start`` to ``callee``.

    The shortest ones, and those one longer. Cached.

    :returns: nothing when there is none, or more than can be looked at
    """
    key = (_CACHE_KEY, start, callee)
    found: tuple[Chain, ...] | None = prog.cache.get(key)
    if found is None:
        found = prog.cache[key] = _search(prog, start, callee)
    return found


def reachable(prog: Program, start: int) -> tuple[Chain, ...]:
    """List the first ways by at most two tail jumps from a function, shortest first."""
    first = symbol_at(prog, start)
    if first is None or first.address != start:
        return ()
    found: list[Chain] = [(first,)]
    for chain in found:
        if len(chain) <= _INDIRECT:
            found += [(*chain, function) for function in _jumps_from(prog, chain[-1])]
        if len(found) >= _MOST_INDIRECT:
            break
    return tuple(found[:_MOST_INDIRECT])


def _search(prog: Program, start: int, callee: int) -> tuple[Chain, ...]:
    first = symbol_at(prog, start)
    if first is None or first.address != start:
        return ()
    layer: list[Chain] = [(first,)]
    found: list[Chain] = []
    looked_at = 0
    last = _LONGEST
    for length in range(1, _LONGEST + 1):
        following: list[Chain] = []
        seen = {function.address for chain in layer for function in chain[:-1]}
        for chain in layer:
            looked_at += 1
            if looked_at > _MOST_FUNCTIONS:
                return tuple(found) if found and length > len(found[0]) else ()
            for target in _jumps_from(prog, chain[-1]):
                if target.address == callee:
                    found.append(chain)
                elif target.address not in seen:
                    following.append((*chain, target))
        if found and length == len(found[0]):
            last = length + 1
        if length >= last or len(found) > _MOST_CHAINS:
            break
        layer = following
    return tuple(found) if len(found) <= _MOST_CHAINS else ()


def _jumps_from(prog: Program, function: SymbolAt) -> tuple[SymbolAt, ...]:
    key = (_CACHE_KEY, function.address)
    found: tuple[SymbolAt, ...] | None = prog.cache.get(key)
    if found is None:
        found = prog.cache[key] = tuple(dict.fromkeys(_scan(prog, function)))
    return found


def _scan(prog: Program, function: SymbolAt) -> Iterator[SymbolAt]:
    try:
        code = read_bytes(prog, function.address, min(function.size, _LARGEST))
    except Unavailable:
        return
    end = function.address + function.size
    for match in (*_JUMP.finditer(code), *_SHORT_JUMP.finditer(code)):
        distance = int.from_bytes(match[1], "little", signed=True)
        target = function.address + match.end(1) + distance
        if function.address <= target < end or not in_kernel_text(prog, target):
            continue
        symbol = symbol_at(prog, target)
        if symbol is None or "_thunk" in symbol.name:
            continue
        if ".cold" in symbol.name:
            if symbol.name.partition(".cold")[0] == function.name:
                yield from _scan(prog, symbol)
        elif symbol.address == target:
            yield symbol


def terms_through(
    prog: Program, chain: Chain, callee: int, place: str | Incoming, jumps: Jumps | None = None
) -> tuple[frozenset[Term], bool]:
    """What ``place`` holds at ``callee``, in terms of the chain's first function's entry.

    :param place: a register, or the place of an argument on the stack
    :param jumps: the jumps through a pointer on the way, by the function that makes them
    :returns: one term for each way through the chain (none: it cannot be followed), and
        whether the code of every function on it is known in full
    :raises Unavailable: a function of the chain is not in the dump
    """
    terms: set[Term] = {Entry(place) if isinstance(place, str) else place}
    complete = True
    target = callee
    for function in reversed(chain):
        flow = analyse_function(prog, function)
        through = (jumps or {}).get(function.address)
        leave = [through] if through is not None else list(tail_jumps(flow, target))
        states = [flow.state_before(jump.address) for jump in leave]
        leaving = [state for state in states if state.register("rsp") == _AT_ENTRY]
        complete = complete and flow.complete and len(leaving) == len(states)
        terms = {substitute(term, state, jumped=True) for term in terms for state in leaving}
        if len(terms) > _MOST_TERMS:
            return frozenset(), False
        target = function.address
    return frozenset(terms), complete


def tail_jumps(flow: Dataflow, target: int) -> Iterator[Instruction]:
    """Yield the direct jumps of a function to ``target``."""
    if target not in flow.outside:
        return
    for instruction in flow.instructions.values():
        if instruction.target == target and instruction.flow in (Flow.JUMP, Flow.BRANCH):
            yield instruction


def indirect_tail_jumps(flow: Dataflow) -> Iterator[Instruction]:
    """Yield the jumps through a register at which the function's frame is gone."""
    for instruction in flow.instructions.values():
        is_indirect = instruction.flow is Flow.JUMP and instruction.via is not None
        if is_indirect and flow.state_before(instruction.address).register("rsp") == _AT_ENTRY:
            yield instruction


def substitute(term: Term, state: State, *, jumped: bool = False) -> Term:
    """Replace what the function of a term was entered with by what a caller had in ``state``.

    What only the term's own function knew becomes unknown.

    :param jumped: the state is before a jump to that function, not before a call
    """

    def of(inner: Term) -> Term:
        return substitute(inner, state, jumped=jumped)

    if isinstance(term, Const):
        return term
    if isinstance(term, Entry):
        return state.register(term.register)
    if isinstance(term, Incoming):
        return _stored(term, state, jumped)
    if isinstance(term, Sum):
        return add(of(term.base), term.addend)
    if isinstance(term, Masked):
        return mask(of(term.base), term.mask)
    if isinstance(term, Part):
        return part(of(term.base), term.size, term.signed)
    if isinstance(term, Load):
        return Load(of(term.base), term.offset, term.size, term.at, term.signed)
    if isinstance(term, PerCpu):
        base = of(term.base)
        return PerCpu(base, term.offset, term.size, term.at, term.segment, term.signed)
    return UNKNOWN


def _stored(argument: Incoming, state: State, jumped: bool) -> Term:
    # A jump leaves the return address where it is, a call pushes one.
    stack = state.register("rsp")
    if not isinstance(stack, FrameAddress):
        return UNKNOWN
    slot = state.slots.get(stack.offset + (8 if jumped else 0) + argument.offset)
    return slot.term if slot is not None and slot.size == 8 else UNKNOWN
