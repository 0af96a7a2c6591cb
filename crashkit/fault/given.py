"""What a function without a prototype was entered with: a type and words for its registers.

A clone's parameters are not those of its source, and many static functions are described
nowhere. Where a parameter would be passed is therefore never asked. A register has a type
if the caller's own value in it has one, else if this function hands it on to a function
that is described.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from drgn import Program, Type

from crashkit.arguments.edges import Edge
from crashkit.arguments.tails import terms_through
from crashkit.dataflow import (
    UNKNOWN,
    Const,
    Dataflow,
    Entry,
    Load,
    Result,
    Term,
    analyse_function,
    parameters_of,
    prototype_of,
)
from crashkit.disasm import Flow
from crashkit.errors import Unavailable
from crashkit.fault.members import Reading, is_anything, is_followed, is_same, operand
from crashkit.layout import COMPOUND, pointee, strip
from crashkit.symbols import SymbolAt, symbol_at

_MOST_CALLS = 60
_MOST_INSTRUCTIONS = 3000
_DEEPEST = 3
_LONGEST = 120
_LONGEST_PLAIN = 60


def lent(readings: Collection[Reading], register: str) -> Reading | None:
    """Read a register on entry by what its caller had in it.

    :param readings: of the caller's values, on each way that leads from its call
    :returns: None where they have no type in common
    """
    texts = {reading.text for reading in readings}
    if not readings or "" in texts:
        return None
    first = next(iter(readings))
    if not all(is_same(first.type, reading.type) for reading in readings):
        return None
    found = replace(
        first,
        term=Entry(register),
        parent=None,
        member=None,
        lent=True,
        unsure=any(reading.unsure for reading in readings),
    )
    described = is_followed(first.type)
    short = len(first.text) <= (_LONGEST if described else _LONGEST_PLAIN)
    if len(texts) == 1 and short and "%" not in first.text:  # its registers are not ours
        return found
    if not described:
        void = first.type.prog.pointer_type(first.type.prog.void_type())
        return replace(found, text=on_entry(register), type=void, place=None, bare=False)
    return _came_in(found, register)


def entered(prog: Program, register: str, given: Reading | None, handed: Type | None) -> Reading:
    """Read a register on entry by all that is known of it; at the least, as an address.

    :param given: what the caller had in it
    :param handed: what the function that it is handed on to takes
    """
    if given is not None and is_followed(given.type):
        return given
    if given is None:
        void = prog.pointer_type(prog.void_type())
        text = on_entry(register)
        given = Reading(term=Entry(register), text=text, type=void, unsure=True, lent=True)
    if handed is None:
        return given
    return replace(as_pointer_to(handed, given), parent=None)


def type_on_the_way(prog: Program, edge: Edge, register: str) -> Type | None:
    """The type of a register that a function on the way of a call took and passed on.

    :returns: None where the way is not known, or none of its functions tells
    """
    if len(edge.chains) != 1 or edge.others:
        return None
    for first in reversed(range(len(edge.chains[0]))):
        way = edge.chains[0][first:]
        terms, complete = terms_through(prog, way, edge.callee, register, edge.jumps)
        if not complete or len(terms) != 1:
            return None
        with suppress(Unavailable):
            parameters = parameters_of(prototype_of(prog, way[0]))
            parameter = parameters.get(next(iter(terms)))
            if parameter is not None and is_followed(parameter.type):
                return parameter.type
    return None


def kthread_data(prog: Program) -> Reading:
    """What a kernel thread was made with: the argument of its function."""
    void = prog.pointer_type(prog.void_type())
    return Reading(term=Entry("rdi"), text="kthread_data(current)", type=void, lent=True)


def needs_callers(parameter: Reading) -> bool:
    """Whether a parameter has no name, as in a pointer's type, or may point at anything."""
    return not parameter.text.isidentifier() or is_anything(parameter)


def in_callers_terms(parameter: Reading, given: Reading | None) -> Reading:
    """Read a parameter by the caller's name and type, where it has none of its own.

    :param given: what the caller had in its register
    """
    named = parameter.text.isidentifier()
    if given is None and isinstance(parameter.term, Entry) and not named:
        return _came_in(parameter, parameter.term.register)
    if given is None:
        return parameter
    unsure = parameter.unsure or given.unsure
    target = pointee(given.type)
    is_typed = target is not None and strip(target).kind in COMPOUND and is_followed(given.type)
    if is_anything(parameter) and is_typed:
        if not named:
            return given
        text = f"(({given.type.type_name()}){parameter.text})"
        return replace(parameter, text=text, type=given.type, unsure=unsure)
    if named:
        return parameter
    if is_same(given.type, parameter.type):
        return replace(parameter, text=given.text, place=given.place, lent=True, unsure=unsure)
    text = f"(({parameter.type.type_name()}){operand(given.text)})"
    return replace(parameter, text=text, lent=True, unsure=unsure)


def _came_in(reading: Reading, register: str) -> Reading:
    text = f"(({reading.type.type_name()})({on_entry(register)}))"
    return replace(reading, text=text, place=None, lent=True)


def as_pointer_to(structure: Type, reading: Reading) -> Reading:
    """Read a value as a pointer to a structure, which is an inference."""
    pointer = structure.prog.pointer_type(structure)
    return replace(
        reading,
        text=f"(({pointer.type_name()}){operand(reading.text)})",
        type=pointer,
        place=None,
        parent=reading,
        unsure=True,
        bare=False,
    )


def on_entry(register: str) -> str:
    """Name a value by the register it came in."""
    return f"%{register} on entry"


def handed_on(prog: Program, flow: Dataflow) -> Mapping[Term, Type]:
    """List the values that a function passes to functions that say what they point at.

    :returns: term to the structure; without those that are passed as several
    """
    found: dict[Term, list[Type]] = {}
    calls = [
        instruction
        for instruction in flow.instructions.values()
        if instruction.flow in (Flow.CALL, Flow.JUMP, Flow.BRANCH)
        and instruction.target is not None
        and instruction.target not in flow.instructions
    ]
    if len(calls) > _MOST_CALLS or len(flow.instructions) > _MOST_INSTRUCTIONS:
        return {}
    for call in calls:
        taken = _structures_taken(prog, call.target or 0)
        state = flow.state_before(call.address) if taken else None
        for register, structure in taken.items():
            term = state.register(register) if state is not None else UNKNOWN
            if term != UNKNOWN:
                found.setdefault(anytime(term), []).append(structure)
    return {
        term: first
        for term, (first, *others) in found.items()
        if all(is_same(first, other) for other in others)
    }


def anytime(term: Term) -> Term:
    """A global variable's value whenever it is read; any other term as it is."""
    if isinstance(term, Load) and isinstance(term.base, Const):
        return replace(term, at=0)
    return term


def _structures_taken(prog: Program, target: int) -> dict[str, Type]:
    # Argument registers of a function by the structures that they point at.
    symbol = symbol_at(prog, target)
    if symbol is None or symbol.address != target:
        return {}
    try:
        parameters = parameters_of(prototype_of(prog, symbol))
    except Unavailable:
        return {}
    found = {}
    for place, parameter in parameters.items():
        target_type = pointee(parameter.type)
        bare = strip(target_type) if target_type is not None else None
        if not isinstance(place, Entry) or bare is None or bare.kind not in COMPOUND:
            continue
        if bare.is_complete():
            found[place.register] = bare
    return found


def result_type(prog: Program, function: SymbolAt, deep: int = 0) -> Type | None:
    """What a function that nothing describes returns: what it returns of one that is.

    :returns: None where its ways out give several types, or one that is not known
    """
    with suppress(Unavailable):
        return prototype_of(prog, function).type
    if deep == _DEEPEST:
        return None
    found: list[Type] = []
    with suppress(Unavailable):
        flow = analyse_function(prog, function)
        if not flow.complete or len(flow.instructions) > _MOST_INSTRUCTIONS:
            return None
        for target in _results(flow):
            symbol = symbol_at(prog, target) if target is not None else None
            if symbol is None or symbol.address != target:
                return None
            type_ = result_type(prog, symbol, deep + 1)
            if type_ is None:
                return None
            found.append(type_)
    return found[0] if found and all(is_same(found[0], other) for other in found) else None


def _results(flow: Dataflow) -> list[int | None]:
    # What is returned on each way out: the function it was got from, None for anything else.
    found: list[int | None] = []
    for instruction in flow.instructions.values():
        if instruction.flow is Flow.RETURN:
            term = flow.state_before(instruction.address).register("rax")
            found.append(term.target if isinstance(term, Result) else None)
        elif instruction.flow is Flow.JUMP and instruction.target not in flow.instructions:
            found.append(instruction.target)
        elif instruction.flow is Flow.BRANCH and instruction.target not in flow.instructions:
            found.append(None)
    return found
