"""Readings of memory that a pointer's own type does not describe."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from crashkit.dataflow import Defined, Load, Result, Term, split
from crashkit.errors import Unavailable
from crashkit.fault.members import Reading, as_element, as_number, dereference, word_of
from crashkit.fault.tries import MOST_READINGS, quietly

if TYPE_CHECKING:
    from crashkit.fault.reading import Reader


def guessed(
    reader: Reader, pointer: Term, offset: int, size: int, term: Term
) -> tuple[Reading, ...]:
    """Read through a pointer to anything, or to a member of what is meant."""
    found: list[Reading] = []
    for reading in _untyped(reader, pointer):
        for guess in reader.hints.behind(pointer, reading, offset, size):
            found += quietly(lambda g=guess: dereference(g[0], g[1] + offset, size, term))  # type: ignore[misc]
    return tuple(found[:MOST_READINGS])


def as_plain_memory(
    reader: Reader, pointer: Term, offset: int, size: int, term: Term
) -> tuple[Reading, ...]:
    """Read a further element behind a pointer, else plain bytes."""
    try:
        readings = reader.readings(pointer)
    except Unavailable:
        return ()
    found = [
        r
        for reading in readings
        for r in quietly(lambda p=reading: as_element(p, offset, size, term))  # type: ignore[misc]
    ]
    if not found:
        with suppress(Unavailable):
            found = [as_number(readings[0], offset, size, term, word_of(reader.prog, size))]
    return tuple(found)


def beside_register(reader: Reader, term: Load) -> tuple[Reading, ...]:
    """Read plain bytes beside what a register still holds, of which no more is known."""
    pointer, offset = split(term.base)
    if not isinstance(pointer, (Defined, Result)) or quietly(lambda: reader.readings(pointer)):
        return ()
    found: list[Reading] = []
    for base in _untyped(reader, pointer):
        with suppress(Unavailable):
            word = word_of(reader.prog, term.size)
            found.append(as_number(base, offset + term.offset, term.size, term, word))
    return tuple(found)


def _untyped(reader: Reader, pointer: Term) -> tuple[Reading, ...]:
    try:
        return reader.readings(pointer)
    except Unavailable:
        register = reader.hints.register_of(pointer)
        if register is None:
            return ()
        void = reader.prog.pointer_type(reader.prog.void_type())
        return (Reading(term=pointer, text=register, type=void, unsure=True),)
