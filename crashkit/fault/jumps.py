"""A call or jump through a bad pointer, explained where it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from drgn import Program

from crashkit.arguments.tails import follow_trampoline, indirect_tail_jumps
from crashkit.dataflow import Const, Dataflow, Entry, Term, analyse_function
from crashkit.disasm import Flow, ImmediateOperand, Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.callers import Callers, Passed, target_of
from crashkit.fault.chain import links, steps
from crashkit.fault.draft import EXPRESSION, UNEXPLAINED, Draft
from crashkit.fault.here import Here, Place
from crashkit.fault.operand import alternatives, narrowed, plain
from crashkit.fault.origins import OneOf
from crashkit.fault.values import Values
from crashkit.memory import read_u64
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.unwind import RegisterValue
from crashkit.value import Certainty

_U64 = (1 << 64) - 1


def explain_jump(draft: Draft, callers: Callers) -> None:
    """Explain an instruction fetch that failed: the pointer is the calling frame's."""
    draft.access = "exec"
    target = draft.frame.pc if draft.at_target else None
    if target is not None:
        draft.diagnose("the address jumped to", target)
    for key in UNEXPLAINED:  # that no code is there is not why
        draft.missing.pop(key, None)
    try:
        here, jump, position = _made(draft, callers)
        _explain(draft, here, jump)
        if draft.bad is not None and position is not None:
            passed = callers.trace(draft.bad, here.values, position)
            draft.origins = tuple(step for one in passed for step in one.steps)
            _in_callers_words(draft, passed)
    except Unavailable as missing:
        draft.lacks(missing, *EXPRESSION)
        draft.lacks(missing, *UNEXPLAINED[1:])


def _made(draft: Draft, callers: Callers) -> tuple[Here, Instruction, int | None]:
    # Where the jump was made: a place, the instruction, and its frame's position.
    own = draft.instruction
    if not draft.at_target and own is not None and draft.function is not None:
        made_here = "thunk" not in draft.function.name
        if made_here:
            flow = analyse_function(draft.prog, draft.function)
            jump = flow.instructions.get(draft.frame.pc, own)
            return _here(draft, draft.function, flow, jump, 0, (callers, 0)), jump, 0
    function, flow, call, taken = _call(draft, callers)
    if call.target is None:
        is_frames = [frame.pc for frame in callers.frames[1:2]] == [call.end]
        if not is_frames:
            return _here(draft, function, flow, call, taken), call, None
        return _here(draft, function, flow, call, taken, (callers, 1)), call, 1
    return _tail_jump(draft, call)


def _call(draft: Draft, callers: Callers) -> tuple[SymbolAt, Dataflow, Instruction, int]:
    # The call before the return address on top of the stack, and what lies above that.
    what = "the call that led there"
    outward = callers.frames[1:2]
    for taken in (8, 16):
        address = read_u64(draft.prog, draft.frame.sp + taken - 8, what)
        if taken == 16 and (not outward or outward[0].pc != address):
            break  # below a thunk's target only a frame's return address counts
        function = symbol_at(draft.prog, address - 1)
        if function is None:
            continue
        flow = analyse_function(draft.prog, function)
        call = flow.call_before(address)
        if call is not None:
            return function, flow, call, taken
    raise Unavailable(what, Reason.CORRUPTED, "no call returns to what is on top of the stack")


def _tail_jump(draft: Draft, call: Instruction) -> tuple[Here, Instruction, int | None]:
    # The function called ended in a jump through a pointer: its frame is gone.
    what = "the jump that led there"
    target = follow_trampoline(draft.prog, call.target or 0)
    function = symbol_at(draft.prog, target)
    if function is None or function.address != target:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "no function is called there")
    flow = analyse_function(draft.prog, function)
    jumps = list(indirect_tail_jumps(flow))
    if len(jumps) != 1:
        detail = f"{function.name}() has {len(jumps)} jumps through pointers at its end"
        raise Unavailable(what, Reason.AMBIGUOUS, detail)
    return _here(draft, function, flow, jumps[0], 0), jumps[0], None


def _here(
    draft: Draft,
    function: SymbolAt,
    flow: Dataflow,
    jump: Instruction,
    taken: int,
    frame_of: tuple[Callers, int] | None = None,
) -> Here:
    # Neither a call nor a jump changes another register than rsp.
    sp = (draft.frame.sp + taken) & _U64
    registers = dict(draft.frame.registers)
    if "rsp" in registers:
        held: RegisterValue = registers["rsp"]
        registers["rsp"] = replace(held, value=sp)
    frame = replace(
        draft.frame, pc=jump.address, sp=sp, cfa=None, registers=registers,
        function=function.name, offset=jump.address - function.address, size=function.size,
    )  # fmt: skip
    values = Values(draft.prog, frame, flow)
    place = Place(prog=draft.prog, function=function, flow=flow, pc=jump.address, sp=sp)
    if frame_of is not None:
        callers, position = frame_of
        prototype = callers.prototype_of(function, position)
        place = replace(place, prototype=prototype, passed=partial(callers.passed, position))
    return Here(place, values, draft.identify)


def _explain(draft: Draft, here: Here, jump: Instruction) -> None:
    function = here.place.function
    module = f" [{function.module}]" if function.module else ""
    draft.called_from = f"{function.name}+{jump.address - function.address:#x}{module}"
    target = _pointer(here, jump)
    if jump.via is not None:
        draft.bad_register = jump.via
    else:
        why = "the pointer was read from memory by the call itself"
        draft.lacks(Unavailable("bad register", Reason.NOT_APPLICABLE, why), "bad_register")
    target = narrowed(here, target)
    value = here.value(target)
    if draft.address is None:
        draft.address = draft.frame.pc if draft.at_target else value
    if isinstance(target, OneOf):
        draft.one_of = tuple(alternatives(here, target))
    if target == Const(0):
        why = "the code before the jump has set it to 0 itself"
        raise Unavailable("the pointer", Reason.NOT_APPLICABLE, why)
    agrees = _went_there(draft, here, target)
    readings = here.reader.readings(target)
    draft.bad = plain(readings[0])
    draft.expressions = readings
    sure = agrees and here.place.flow.complete and len(readings) == 1 and not readings[0].unsure
    draft.certainty = Certainty.PROVED if sure else Certainty.INFERRED
    draft.chain = links(draft.bad, here.values, draft.identify)
    bad = draft.frame.pc if draft.at_target else value
    if bad is not None:
        draft.diagnose(draft.bad.text, bad)
    *before, last = steps(
        draft.chain, _root(draft), here.place.flow, here.place.function.address, jump,
        readings[0].text,
    )  # fmt: skip
    draft.steps = (*before, replace(last, instruction=jump.text + _thunk(draft.prog, jump)))


def _thunk(prog: Program, jump: Instruction) -> str:
    # As a disassembler writes it: the address alone does not say that it goes on.
    to = jump.arguments[0] if jump.arguments else None
    if jump.via is None or not isinstance(to, ImmediateOperand):
        return ""
    symbol = symbol_at(prog, to.value & _U64)
    return f" <{symbol.name}>" if symbol and symbol.address == to.value & _U64 else ""


def _went_there(draft: Draft, here: Here, target: Term) -> bool:
    # Whether the jump is known to have gone where the fetch failed.
    if not draft.at_target:
        return True
    try:
        known = here.values.at_fault(target)
    except Unavailable:
        return False
    if known.value == draft.frame.pc:
        return True
    if known.certainty is Certainty.PROVED:
        detail = f"{draft.called_from} went to {known.value:#x}"
        raise Unavailable("the jump that led there", Reason.CORRUPTED, detail)
    return False


def _in_callers_words(draft: Draft, passed: Sequence[Passed]) -> None:
    # A function pointer that was a parameter itself: what the caller read it from.
    bad = draft.bad
    if bad is None or not isinstance(bad.term, Entry):
        return
    for one in passed:
        given = one.reading
        if given is None or not given.text:
            return
        if isinstance(given.term, Entry) or given.parent is None:
            continue
        draft.bad, draft.expressions = given, (given,)
        draft.chain = one.links
        if draft.bad_value is not None:
            draft.diagnose(given.text, draft.bad_value.value)
        return


def _pointer(here: Here, jump: Instruction) -> Term:
    if jump.flow is Flow.JUMP and jump.target is None and jump.via is None and jump.memory is None:
        raise Unavailable("the pointer", Reason.NOT_APPLICABLE, "the jump names no pointer")
    target = target_of(here, jump)
    if target is None:
        raise Unavailable("the pointer", Reason.NOT_APPLICABLE, "the jump has a fixed target")
    return target


def _root(draft: Draft) -> Term | None:
    reading = draft.bad
    while reading is not None and reading.parent is not None:
        reading = reading.parent
    return reading.term if reading is not None else None
