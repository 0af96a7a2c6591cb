"""Which member of which object an address is, by the arguments on the crashed stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, TypeKind

from crashkit.decode.fields import resolve
from crashkit.errors import Unavailable
from crashkit.layout import COMPOUND, members_at, size_of
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.unwind import Frame

_FRAMES = 8


@facts
class Containing:
    """An argument whose object contains an address."""

    function: str
    argument: str
    ctype: str
    object: int
    member: str
    """Designator of the member at the address; empty: it is the object's first byte."""
    certainty: str


def containing(crash: Crash, address: int) -> tuple[Containing, ...]:
    """Find arguments of the crashed stack's frames whose objects contain an address.

    The innermost frame that has one is enough: outer ones have the objects around it.
    """
    frames = [frame for frame in crash.outer_frames if frame.function][:_FRAMES]
    for frame in frames:
        found = tuple(_in_frame(crash, frame, address))
        if found:
            return found
    return ()


def _in_frame(crash: Crash, frame: Frame, address: int) -> Iterator[Containing]:
    try:
        arguments, _missing = crash.arguments(frame)
    except Unavailable:
        return
    for argument in arguments:
        if argument.value == 0 or not argument.value <= address:
            continue
        try:
            type_ = resolve(Object(crash.prog, argument.ctype, argument.value).type_)
        except LookupError:
            continue
        if type_.kind is not TypeKind.POINTER or resolve(type_.type).kind not in COMPOUND:
            continue
        target = resolve(type_.type)
        size = size_of(target)
        offset = address - argument.value
        # The counter's own type says nothing of the object that it counts.
        if size is None or offset >= size or size <= _SMALLEST:
            continue
        paths = members_at(target, offset)
        yield Containing(
            function=frame.function or "?",
            argument=argument.name,
            ctype=target.type_name(),
            object=argument.value,
            member=paths[0].text if paths else "",
            certainty=argument.certainty.value,
        )


_SMALLEST = 8
