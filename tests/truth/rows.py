"""The rows of one dump's score: each parameter and argument register of each frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Type, TypeKind

from crashkit.arguments import Argument
from crashkit.crash import Crash
from crashkit.dataflow.prototype import prototype_of, source_prototype
from crashkit.errors import Unavailable
from crashkit.layout import strip
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols.dwarf_frame import parameter_locations
from crashkit.symbols.lookup import SymbolAt
from crashkit.unwind import Frame
from crashkit.value import Certainty
from tests.truth.comparators import DrgnReader, EntryValueReader, scan_linearly
from tests.truth.events import Event, EventLog, read_events
from tests.truth.stacks import TaskStack, for_each_stack, function_of
from tests.truth.tally import Row
from tests.truth.truths import Place, places_of, truths_of

Named = tuple[tuple[str, Place], ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One frame, and what it is asked with."""

    stack: TaskStack
    position: int
    function: SymbolAt
    event: Event | None
    base: Row

    @property
    def frame(self) -> Frame:
        """The frame itself."""
        return self.stack.frames[self.position]

    @property
    def caller(self) -> Frame | None:
        """The next frame outward."""
        outer = self.stack.frames[self.position + 1 :]
        return outer[0] if outer else None


def for_each_row(crash: Crash, name: str, log: EventLog | None = None) -> Iterator[Row]:
    """Score every frame of every stack of a dump.

    :param log: its events, if they have been read
    """
    log = log or read_events(crash.prog)
    dwarf = crash.types in ("dwarf", "hybrid")
    for stack in for_each_stack(crash):
        readers = (DrgnReader(crash, stack), EntryValueReader(crash, stack)) if dwarf else None
        events = truths_of(crash, stack, log)
        for position, frame in enumerate(stack.frames):
            function = function_of(crash, frame)
            if function is None or frame.offset is None:
                continue
            scene = Scene(
                stack=stack,
                position=position,
                function=function,
                event=events.get(position),
                base=_base(crash, name, stack, frame),
            )
            yield from _parameters(crash, scene, readers)
            if scene.event is not None:
                yield from _registers(crash, scene, scene.event)


def _base(crash: Crash, name: str, stack: TaskStack, frame: Frame) -> Row:
    return Row(
        dump=name,
        kernel=crash.target.release or "?",
        types="dwarf" if crash.types == "hybrid" else crash.types,
        comm=stack.comm,
        running=stack.running,
        interrupted=frame.interrupted,
        function=frame.function or "?",
        offset=frame.offset or 0,
        parameter="",
        pointer=False,
        tier="",
        value=None,
        truth=None,
    )


def _parameters(
    crash: Crash, scene: Scene, readers: tuple[DrgnReader, EntryValueReader] | None
) -> Iterator[Row]:
    found, missing = crash.arguments(scene.frame)
    answers: dict[str, Argument | str] = {m.name: m.reason.value for m in missing}
    answers |= {a.name: a for a in found}
    for name, place in _named(crash, scene.function):
        answer = answers.get(name, "not answered")
        row = dataclasses.replace(
            scene.base,
            parameter=name,
            ctype=place.type.type_name(),
            on_stack=place.word is not None,
            pointer=strip(place.type).kind is TypeKind.POINTER,
            truth=place.passed(scene.event) if scene.event else None,
            tier=answer if isinstance(answer, str) else answer.certainty.value,
        )
        if isinstance(answer, Argument):
            row = dataclasses.replace(row, value=answer.value, how=answer.how)
        yield _compared(crash, scene, row, place, readers)


def _compared(
    crash: Crash,
    scene: Scene,
    row: Row,
    place: Place,
    readers: tuple[DrgnReader, EntryValueReader] | None,
) -> Row:
    linear = None
    if place.register is not None:
        linear = scan_linearly(crash.prog, scene.frame, scene.caller, place.register)
    drgn = readers[0].value(scene.frame, row.parameter) if readers else None
    entry = readers[1].value(scene.position, row.parameter) if readers else None
    return dataclasses.replace(
        row,
        linear=None if linear is None else linear & place.mask,
        drgn=drgn,
        entry=None if entry is None else entry & place.mask,
    )


def _named(crash: Crash, function: SymbolAt) -> Named:
    try:
        prototype = prototype_of(crash.prog, function)
    except Unavailable:
        return _of_clone(crash, function)
    return tuple(_with_names(prototype))


def _with_names(prototype: Type) -> Iterator[tuple[str, Place]]:
    for number, place in enumerate(places_of(prototype)):
        yield prototype.parameters[number].name or f"argument {number}", place


# Where the parameters of a clone are passed is only in DWARF, at its entry.
def _of_clone(crash: Crash, function: SymbolAt) -> Named:
    try:
        source = source_prototype(crash.prog, function)
    except Unavailable:
        return ()
    types = {parameter.name: parameter.type for parameter in source.parameters}
    locations = parameter_locations(crash.prog, function.address, function.address)
    return tuple(
        (name, Place(type=types[name], register=location.register))
        for name, location in locations.items()
        if location.kind == "register" and location.register in ARGUMENT_REGISTERS and name in types
    )


def _registers(crash: Crash, scene: Scene, event: Event) -> Iterator[Row]:
    for register in ARGUMENT_REGISTERS:
        row = dataclasses.replace(
            scene.base, parameter=f"%{register}", truth=event.register(register)
        )
        try:
            answer = crash.register_at_entry(scene.frame, register)
        except Unavailable as missing:
            yield dataclasses.replace(row, tier=missing.reason.value)
            continue
        tier = Certainty.PROVED if answer.proved else Certainty.INFERRED
        yield dataclasses.replace(row, tier=tier.value, value=answer.value, how=answer.how)
