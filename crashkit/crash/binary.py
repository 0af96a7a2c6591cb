"""What this very binary does, seen in its instructions: is a value read again after a call?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drgn import Program

from crashkit.dataflow import Dataflow, Entry, Load, Term, analyse, analyse_function
from crashkit.dataflow.terms import lineage
from crashkit.disasm import Flow, Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.registers import CALLEE_SAVED
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.value import facts


@facts
class Reload:
    """Whether a function reads a member again between two of its calls."""

    function: str
    reloads: bool
    how: str
    """The instructions that decided, as a person would point at them."""


def reloads_between(
    prog: Program, function: SymbolAt, first: str, second: tuple[str, ...], offset: int
) -> Reload:
    """Tell whether the argument of the call ``second`` was loaded after the call ``first``.

    Looks at the first argument (rdi) of ``second``: derived from a load at ``offset``
    that only runs after ``first`` returned, or from a value kept across that call.

    :param first: function whose call makes the old value stale
    :param second: functions whose first argument is asked about
    :param offset: bytes of the member within its structure, from type information
    :raises Unavailable: the calls are not both there, or the code does not decide
    """
    flow = analyse_function(prog, function)
    what = f"{function.name}() of this kernel"
    if not flow.complete:
        raise Unavailable(what, Reason.UNSUPPORTED, "a jump's targets are not known")
    made = next(_calls(prog, flow.instructions.values(), (first,)), None)
    if made is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, f"it does not call {first}")
    # Only what can run after that call, starting from the state it left.
    rest = analyse(_reachable(flow, made.end))
    used = next(_calls(prog, rest.instructions.values(), second), None)
    if used is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, f"no {' or '.join(second)} after {first}")
    passed = rest.state_before(used.address).registers.get("rdi")
    call = f"{first} at +{made.address - function.address:#x}"
    if isinstance(passed, Entry) and passed.register in CALLEE_SAVED:
        kept = f"{function.name} keeps it in {passed.register} across {call}"
        how = f"{kept} and does not load it again"
        return Reload(function=function.name, reloads=False, how=how)
    load = _load_at(passed, offset)
    if load is None:
        raise Unavailable(what, Reason.AMBIGUOUS, "where the argument comes from is not decided")
    how = f"{function.name}+{load.at - function.address:#x} loads it again after {call}"
    return Reload(function=function.name, reloads=True, how=how)


def _reachable(flow: Dataflow, start: int) -> list[Instruction]:
    # The instructions that can run from ``start`` on, that one first.
    found: dict[int, Instruction] = {}
    waiting = [start]
    while waiting:
        instruction = flow.instructions.get(waiting.pop())
        if instruction is None or instruction.address in found:
            continue
        found[instruction.address] = instruction
        if instruction.flow in (Flow.NEXT, Flow.BRANCH, Flow.CALL):
            waiting.append(instruction.end)
        if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target is not None:
            waiting.append(instruction.target)
    first = found.pop(start)
    return [first, *(found[address] for address in sorted(found))]


def _calls(
    prog: Program, instructions: Iterable[Instruction], names: tuple[str, ...]
) -> Iterator[Instruction]:
    for instruction in instructions:
        if instruction.flow is not Flow.CALL or instruction.target is None:
            continue
        callee = symbol_at(prog, instruction.target)
        if callee is not None and callee.name in names and callee.address == instruction.target:
            yield instruction


def _load_at(term: Term | None, offset: int) -> Load | None:
    if term is None:
        return None
    return next((t for t in lineage(term) if isinstance(t, Load) and t.offset == offset), None)
