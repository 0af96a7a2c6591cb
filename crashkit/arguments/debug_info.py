"""What DWARF says of arguments: a source that owes nothing to the analysis of the code.

A compiler describes, beside each call, what it passes in terms of registers that outlive
the call (``DW_TAG_call_site_parameter``), and for each pc where a parameter's variable is.
The first is what was passed; the second is the variable now, which the function may have
given another value.
"""

from __future__ import annotations

from drgn import Program

from crashkit.arguments.answer import Answer
from crashkit.arguments.resolve import Resolver
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.registers import CALLEE_SAVED
from crashkit.symbols.dwarf_frame import (
    Constant,
    EntryValue,
    FrameAddress,
    Location,
    RegisterValue,
    Value,
    call_site,
    parameter_locations,
)
from crashkit.unwind import Frame
from crashkit.value import Certainty, Origin

_U64 = (1 << 64) - 1
_DEEPEST = 8


def passed_by_call_site(resolver: Resolver, position: int, register: str, deep: int = 0) -> Answer:
    """What the caller's call site passes in ``register`` to the frame's function.

    Alone it is not proved: it says what the compiler meant the code to do.

    :raises Unavailable: DWARF has no such call, or it went on to another function
    """
    what = f"{register} at the call of {resolver.frames[position].function}"
    edge = resolver.edge(position)
    if edge.chains != ((),) or edge.others:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "it was entered by a tail call")
    if not edge.verified:
        raise Unavailable(what, Reason.AMBIGUOUS, "the call may have been another function's")
    caller = resolver.frames[position + 1]
    site = call_site(resolver.prog, caller.pc)
    value = site.values.get(register) if site is not None and not site.tail else None
    if value is None:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "DWARF has no value for it")
    found, words = _value(resolver, position + 1, value, deep)
    how = f"DWARF: {caller.function}+{edge.call_offset:#x} calls with {register} = {words}"
    return Answer(value=found & _U64, proved=False, origin=Origin.CALL_SITE, how=how)


def _value(resolver: Resolver, position: int, value: Value, deep: int) -> tuple[int, str]:
    frame = resolver.frames[position]
    what = "DWARF's value"
    if isinstance(value, Constant):
        return value.value, f"{value.value:#x}"
    if isinstance(value, FrameAddress):
        if frame.cfa is None:
            raise Unavailable(what, Reason.NOT_SAVED, f"the frame of {frame.function}")
        return frame.cfa + value.offset, f"CFA{value.offset:+#x}"
    if isinstance(value, RegisterValue):
        held = frame.registers.get(value.register)
        if value.register not in CALLEE_SAVED or held is None:
            raise Unavailable(what, Reason.NOT_SAVED, f"{value.register} of {frame.function}")
        return held.value + value.offset, _plus(value.register, value.offset)
    if isinstance(value, EntryValue) and deep < _DEEPEST:
        entered = passed_by_call_site(resolver, position, value.register, deep + 1)
        words = _plus(f"its own {value.register} on entry", value.offset)
        return entered.value + value.offset, words
    raise Unavailable(what, Reason.UNSUPPORTED, "read from memory, which may have changed")


def _plus(name: str, offset: int) -> str:
    return f"{name}{offset:+#x}" if offset else name


def entry_registers(prog: Program, address: int) -> dict[str, str]:
    """Which parameter is in which register when the function at ``address`` is entered.

    For clones: they take other parameters than their source has.

    :returns: parameters in one register each; empty when no DWARF describes the function
    """
    found = parameter_locations(prog, address, address)
    return {
        name: location.register
        for name, location in found.items()
        if location.kind == "register" and location.register and not location.offset
    }


def current_value(prog: Program, frame: Frame, name: str, address: int) -> int | None:
    """What the parameter's variable holds now; None where DWARF or the dump does not say.

    :param address: of the frame's function
    """
    pc = frame.pc if frame.interrupted else frame.pc - 1
    location = parameter_locations(prog, address, pc).get(name)
    if location is None or not location.size or location.size > 8:
        return None
    value = _current(prog, frame, location, location.size)
    return None if value is None else value & ((1 << 8 * location.size) - 1)


def _current(prog: Program, frame: Frame, location: Location, size: int) -> int | None:
    if location.kind == "constant" and isinstance(location.value, Constant):
        return location.value.value
    if location.kind == "register" and location.register:
        held = frame.registers.get(location.register)
        if held is None or held.certainty is not Certainty.PROVED:
            return None
        if location.register not in CALLEE_SAVED and not frame.interrupted:
            return None
        return held.value
    if location.kind == "frame" and frame.cfa is not None:
        try:
            data = read_bytes(prog, frame.cfa + location.offset, size)
        except Unavailable:
            return None
        return int.from_bytes(data, "little")
    return None
