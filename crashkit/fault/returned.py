"""What a function that was called returned: by its own code, where that tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from drgn import Program

from crashkit.arguments.tails import substitute
from crashkit.dataflow import (
    Const,
    Dataflow,
    Entry,
    Load,
    Masked,
    Part,
    Result,
    State,
    Sum,
    Term,
    analyse_function,
    prototype_of,
    signed64,
    split,
)
from crashkit.disasm import Flow
from crashkit.errors import Unavailable
from crashkit.fault.origins import OneOf, Origins
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import SymbolAt, symbol_at

_DEEPEST = 4
_MOST_INSTRUCTIONS = 3000
_SHORT = 40
_MAX_ERRNO = 4095
"""MAX_ERRNO of include/linux/err.h."""
_U64 = 1 << 64


def function_at(prog: Program, address: int | None) -> SymbolAt | None:
    """The function that begins at an address; None where none does."""
    symbol = symbol_at(prog, address) if address is not None else None
    return symbol if symbol is not None and symbol.address == address else None


def of_arguments(prog: Program, result: Result, state: State) -> Term | None:
    """What a short function that nothing describes made of its arguments.

    A clone of an accessor, say: its source's name and types are not its own.

    :param state: of the caller, before the call
    :returns: in terms of the caller; None where the code does more, or is described
    """
    function = function_at(prog, result.target)
    if function is None or _is_described(prog, function):
        return None
    with suppress(Unavailable):
        flow = analyse_function(prog, function)
        if not flow.complete or len(flow.instructions) > _SHORT or _goes_elsewhere(flow):
            return None
        made = list(_returns(flow))
        if len(made) == 1 and isinstance(made[0], (Sum, Load)) and _of_arguments(made[0]):
            return substitute(made[0], state)
    return None


def _is_described(prog: Program, function: SymbolAt) -> bool:
    try:
        prototype_of(prog, function)
    except Unavailable:
        return False
    return True


def _goes_elsewhere(flow: Dataflow) -> bool:
    return any(
        i.flow is Flow.CALL
        or (i.flow in (Flow.JUMP, Flow.BRANCH) and i.target not in flow.instructions)
        for i in flow.instructions.values()
    )


def _returns(flow: Dataflow) -> Iterator[Term]:
    # On each way out; a jump to another function is a call of it.
    for instruction in flow.instructions.values():
        at = instruction.address
        if instruction.flow is Flow.RETURN:
            term = Origins(flow, at).register("rax")
            yield from term.alternatives if isinstance(term, OneOf) else (term,)
        elif instruction.flow is Flow.JUMP and instruction.target not in flow.instructions:
            yield Result(at, instruction.target)


def _of_arguments(term: Term) -> bool:
    while isinstance(term, (Sum, Load, Masked, Part)):
        term = term.base
    return isinstance(term, Entry) and term.register in ARGUMENT_REGISTERS


def how_made(prog: Program, term: Term, value: int) -> str | None:
    """Say whether a small negative number is an error or a container of NULL, by the code.

    :param term: where it came from
    :param value: unsigned 64 bit
    :returns: ``error`` where a function on the way returns errors as numbers, ``container``
        where one subtracts just that from a pointer; None where neither is seen, or both
    """
    found = set(_ways(prog, term, value, 0, set()))
    return found.pop() if len(found) == 1 else None


def _ways(prog: Program, term: Term, value: int, deep: int, seen: set[int]) -> Iterator[str]:
    match term:
        case OneOf(alternatives=alternatives):
            for way in alternatives:
                yield from _ways(prog, way, value, deep, seen)
        case Const(value=number):
            if 0 < _U64 - number <= _MAX_ERRNO:
                yield "error"
        case Sum(base=base):
            if not isinstance(split(base)[0], Const) and split(term)[1] == signed64(value):
                yield "container"
        case Result(target=target):
            for way in _ways_out(prog, target, deep, seen):
                yield from _ways(prog, way, value, deep + 1, seen)


def _ways_out(prog: Program, target: int | None, deep: int, seen: set[int]) -> tuple[Term, ...]:
    function = function_at(prog, target)
    if function is None or deep == _DEEPEST or function.address in seen:
        return ()
    seen.add(function.address)
    with suppress(Unavailable):
        flow = analyse_function(prog, function)
        if len(flow.instructions) <= _MOST_INSTRUCTIONS:
            return tuple(_returns(flow))
    return ()


def returned_by(prog: Program, target: int | None) -> tuple[str, ...]:
    """Name the function at an address, and those whose result is all that it returns.

    :returns: the one called first; empty where none begins there
    """
    names: dict[str, None] = {}
    while (function := function_at(prog, target)) is not None and function.name not in names:
        names[function.name] = None
        try:
            flow = analyse_function(prog, function)
        except Unavailable:
            break
        large = len(flow.instructions) > _MOST_INSTRUCTIONS or not flow.complete
        ways = set() if large else set(_returns(flow))
        targets = {way.target if isinstance(way, Result) else None for way in ways}
        target = targets.pop() if len(targets) == 1 else None
        if len(names) == _DEEPEST:
            break
    return tuple(names)
