"""The ``frames`` of a document, with the arguments recovered for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Reason, Unavailable
from crashkit.report.parts import Json, Part, address
from crashkit.report.printed_part import build_printed_frames

if TYPE_CHECKING:
    from crashkit.arguments import Argument, MissingArgument
    from crashkit.crash import Crash
    from crashkit.unwind import Frame


def build_frames(crash: Crash, *, arguments: bool = True) -> list[Json]:
    """Build the ``frames`` list, innermost first.

    Of text alone, and where the stack cannot be unwound, those that the kernel printed.
    """
    frames = crash.frames
    if not frames:
        return build_printed_frames(crash.oops)
    return [build_frame(crash, frame, arguments=arguments) for frame in frames]


def build_frame(crash: Crash, frame: Frame, *, arguments: bool = True) -> Json:
    """Build one frame."""
    known, missing = _arguments(crash, frame) if arguments else ((), ())
    part = Part()
    part.put("index", frame.index)
    part.put_address("pc", frame.pc)
    part.put("function", frame.function, Reason.NO_DEBUGINFO)
    part.put("offset", frame.offset, Reason.NO_DEBUGINFO)
    part.put("size", frame.size, Reason.NO_DEBUGINFO)
    part.put_plain("module", frame.module)
    part.put_plain("source", frame.source)
    part.put("inlined", frame.inlined)
    part.put("segment", frame.segment.value)
    part.put("interrupted", frame.interrupted)
    part.put("exception", frame.exception)
    part.put("how", frame.how)
    part.put_address("sp", frame.sp)
    part.put_address("slot", frame.slot)
    part.put("arguments", [_argument(argument) for argument in known])
    part.put("missing", [_missing(argument) for argument in missing])
    return part.done()


def _arguments(
    crash: Crash, frame: Frame
) -> tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]:
    if frame.function is None:
        return (), ()
    try:
        return crash.arguments(frame)
    except Unavailable:
        return (), ()  # no prototype: nothing is known of its parameters, not even names


def _argument(argument: Argument) -> Json:
    part = Part()
    part.put("name", argument.name)
    part.put("ctype", argument.ctype)
    part.put_address("value", argument.value)
    part.put_address("current", argument.current)
    part.put("origin", argument.origin.value)
    part.put("certainty", argument.certainty.value)
    part.put("corroborated_by", [origin.value for origin in argument.corroborated_by])
    part.put("how", argument.how)
    part.put("identity", argument.identity)
    part.put_plain("conflict", argument.conflict)
    return part.done()


def _missing(argument: MissingArgument) -> Json:
    return {"name": argument.name, "ctype": argument.ctype, "reason": argument.reason.value}


def registers(frame: Frame) -> Json:
    """Write the registers known in a frame."""
    return {name: address(held.value) for name, held in frame.registers.items()}
