"""One frame of a stack beside what its function's code says at that point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drgn import Program

from crashkit.dataflow import Dataflow, State, alignment_of, analyse_function, state_at
from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt
from crashkit.unwind import Frame

_CACHE_KEY = "crashkit.activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A function stopped at one instruction; the same for every frame that is there."""

    function: SymbolAt
    flow: Dataflow
    call: Instruction | None
    """The call under way; None in an interrupted frame."""
    before: State
    """State before that call, or at the interrupted instruction."""
    now: State
    """What of it still holds while the callee runs."""


def function_of(frame: Frame) -> SymbolAt:
    """Return the function a frame is in.

    :raises Unavailable: nothing names it, or the frame is an inlined function's
    """
    if frame.function is None or frame.offset is None or frame.size is None or frame.inlined:
        raise Unavailable(f"function at {frame.pc:#x}", Reason.NO_DEBUGINFO, "no symbol is there")
    return SymbolAt(frame.function, frame.pc - frame.offset, frame.size, frame.module)


def stopped_at(prog: Program, frame: Frame) -> Stopped:
    """Analyse a frame's function at its pc; cached in ``prog.cache``.

    :raises Unavailable: its bytes are not in the dump, or ``pc`` is no instruction of it
    """
    # The same for every frame that is there, unless the function aligns its stack pointer.
    aligned = None if frame.cfa is None else alignment_of(prog, function_of(frame), frame.cfa)
    key = (_CACHE_KEY, frame.pc, frame.interrupted, aligned)
    found = prog.cache.get(key)
    if isinstance(found, Unavailable):
        raise found
    if not isinstance(found, Stopped):
        try:
            found = prog.cache[key] = _stopped_at(prog, frame)
        except Unavailable as missing:
            prog.cache[key] = missing
            raise
    return found


def _stopped_at(prog: Program, frame: Frame) -> Stopped:
    function = function_of(frame)
    flow = analyse_function(prog, function, frame.cfa)
    if frame.interrupted:
        state = state_at(flow, frame.pc)
        return Stopped(function=function, flow=flow, call=None, before=state, now=state)
    call = flow.call_before(frame.pc)
    if call is None:
        what = f"call before {frame.pc:#x}"
        if not flow.covers(frame.pc - 1):
            raise Unavailable(what, Reason.NOT_IN_DUMP, "the code there is not")
        raise Unavailable(what, Reason.CORRUPTED, "no call returns to that address")
    return Stopped(
        function=function,
        flow=flow,
        call=call,
        before=flow.state_before(call.address),
        now=flow.state_during(call),
    )


def physical(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Leave out the inlined frames: those that have no frame of their own on the stack."""
    return tuple(frame for frame in frames if not frame.inlined)
