"""Each parameter of a frame's function: its value, with the proof, or why not."""

from __future__ import annotations

from drgn import Program, Type, TypeKind

from crashkit.arguments.entry import frame_state
from crashkit.arguments.parts import Argument, MissingArgument
from crashkit.dataflow import Dataflow, Entry, State, Term, analyse_function
from crashkit.dataflow.prototype import parameters_of, prototype_of
from crashkit.errors import Reason, Unavailable
from crashkit.layout import size_of, strip
from crashkit.memory import read_u64
from crashkit.registers import CALLEE_SAVED, CALLER_SAVED
from crashkit.symbols import SymbolAt
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin

Recovered = tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]


def recover_arguments(prog: Program, frame: Frame) -> Recovered:
    """Recover what the frame's function was called with.

    :returns: arguments, and the parameters whose value cannot be had; both empty when
        nothing describes the function
    """
    if frame.function is None or frame.offset is None or frame.size is None or frame.inlined:
        return (), ()
    symbol = SymbolAt(frame.function, frame.pc - frame.offset, frame.size, frame.module)
    try:
        prototype = prototype_of(prog, symbol)
    except Unavailable:
        return (), ()  # no parameter is known, so none is missing
    names = [(p.name or f"argument {n}", p.type) for n, p in enumerate(prototype.parameters)]
    try:
        places = {parameter.name: term for term, parameter in parameters_of(prototype).items()}
        state = frame_state(prog, symbol, frame.pc, frame.interrupted)
        flow = analyse_function(prog, symbol)
    except Unavailable as missing:
        return (), tuple(_missing(name, type_, missing.reason) for name, type_ in names)
    found: list[Argument] = []
    lost: list[MissingArgument] = []
    for name, type_ in names:
        try:
            found.append(_argument(prog, frame, flow, state, name, type_, places.get(name)))
        except Unavailable as missing:
            lost.append(_missing(name, type_, missing.reason))
    return tuple(found), tuple(lost)


def _missing(name: str, type_: Type, reason: Reason) -> MissingArgument:
    return MissingArgument(name=name, ctype=type_.type_name(), reason=reason)


def _argument(
    prog: Program,
    frame: Frame,
    flow: Dataflow,
    state: State,
    name: str,
    type_: Type,
    place: Term | None,
) -> Argument:
    what = f"{name} of {frame.function}()"
    if not isinstance(place, Entry):
        raise Unavailable(what, Reason.UNSUPPORTED, "not passed in a register")
    for register in CALLEE_SAVED + (CALLER_SAVED if frame.interrupted else ()):
        held = frame.registers.get(register)
        if held is not None and state.registers.get(register) == place:
            how = f"{frame.function} keeps {place.register} in {register}{_where(held)}"
            if register == place.register:
                how = f"{frame.function} has not changed {register} at +{frame.offset:#x}"
            origin = Origin.SAVED_REGISTER if held.saved_by else Origin.REGISTER
            return _made(name, type_, held.value, origin, held.certainty, how)
    for offset, slot in state.slots.items():
        if slot.term != place or slot.size != 8 or frame.cfa is None:
            continue
        if not slot.saved and offset not in flow.loaded_slots:
            continue  # may be a callee's stack argument, which the callee owns
        address = frame.cfa + offset
        how = f"{frame.function} keeps {place.register} at {address:016x}"
        value = read_u64(prog, address, what)
        return _made(name, type_, value, Origin.MEMORY, Certainty.PROVED, how)
    raise Unavailable(what, Reason.OPTIMIZED_OUT, "no register or slot keeps it")


def _where(held: RegisterValue) -> str:
    if held.saved_by is None or held.slot is None:
        return ""
    return f"; {held.saved_by} pushed it at {held.slot:016x}"


def _made(
    name: str, type_: Type, value: int, origin: Origin, certainty: Certainty, how: str
) -> Argument:
    bare = strip(type_)
    size = 8 if bare.kind is TypeKind.POINTER else size_of(bare) or 8
    return Argument(
        name=name,
        ctype=type_.type_name(),
        value=value & ((1 << 8 * size) - 1),
        origin=origin,
        certainty=certainty,
        how=how,
    )
