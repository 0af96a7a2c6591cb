"""A bad value that was passed: the expression in the words of the caller that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drgn import TypeKind

from crashkit.dataflow import Entry, Sum, Term, split
from crashkit.disasm import Access
from crashkit.errors import Reason, Unavailable
from crashkit.fault.callers import Passed
from crashkit.fault.draft import Draft
from crashkit.fault.here import Here
from crashkit.fault.members import (
    Reading,
    as_number,
    dereference,
    indexed,
    is_followed,
    operand,
    word_of,
)
from crashkit.fault.operand import plain
from crashkit.fault.origins import Element
from crashkit.layout import pointee, strip
from crashkit.value import Certainty


def in_callers_words(draft: Draft, here: Here, access: Access, passed: Sequence[Passed]) -> None:
    """Say what a parameter that was bad itself was in the nearest caller that computed it.

    The steps stay in the function's own words.
    """
    bad = draft.bad
    if bad is None or not isinstance(bad.term, Entry):
        return
    for one in passed:
        given = one.reading
        if given is None or not given.text:
            return
        if isinstance(given.term, Entry):
            continue  # it only handed it on
        if given.parent is None and not given.place:
            return  # a variable's name says no more than the parameter's
        if "%" in given.text:
            return  # its registers are not this function's
        _reword(draft, here, access, bad, one, given)
        return


def _reword(
    draft: Draft, here: Here, access: Access, bad: Reading, one: Passed, given: Reading
) -> None:
    pointer = draft.pointer
    if pointer is None:
        return
    typed = given if is_followed(given.type) else replace(given, type=bad.type)
    try:
        made = _read(here, typed, pointer, bad, access.size)
    except Unavailable:
        return
    draft.expressions = (made,)
    if isinstance(given.term, Sum) and given.parent is not None:
        draft.bad = plain(given.parent)
    else:
        draft.bad = plain(given)
    draft.chain = tuple(
        link for link in one.links if link.expression != given.text or given is draft.bad
    )
    known = next((x for x in one.links if x.expression == draft.bad.text), None)
    if known is not None and known.value is not None:
        draft.diagnose(draft.bad.text, known.value)
    if one.step.certainty is not Certainty.PROVED or made.unsure:
        draft.certainty = Certainty.INFERRED


def _read(here: Here, base: Reading, pointer: Term, passed: Reading, size: int) -> Reading:
    # A function that takes a pointer to anything copies or sets the object as a whole.
    if here.place.flow.instructions[here.place.pc].repeats or _takes_anything(here, passed):
        text = base.place or f"*{operand(base.text)}"
        return replace(base, term=pointer, text=text, place=None, parent=base)
    place, offset = split(pointer)
    if isinstance(place, Element) and place.base == passed.term:
        number = here.reader.number(place.index)
        return indexed(base, number, place.scale, offset, size, pointer)[0]
    if place != passed.term:
        raise Unavailable("expression", Reason.UNSUPPORTED, "more is added to the parameter")
    try:
        return dereference(base, offset, size, pointer)[0]
    except Unavailable:
        return as_number(base, offset, size, pointer, word_of(here.place.prog, size))


def _takes_anything(here: Here, passed: Reading) -> bool:
    # By its own declaration, whatever its caller had there.
    parameter = here.parameters.get(passed.term)
    target = pointee(parameter.type) if parameter is not None else None
    return target is not None and strip(target).kind is TypeKind.VOID
