"""A value that is one of several, by what all of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from drgn import Type, TypeKind

from crashkit.dataflow import Term
from crashkit.errors import Reason, Unavailable
from crashkit.fault.members import Reading, is_anything
from crashkit.fault.nodes import begins_with
from crashkit.fault.variables import Variable
from crashkit.layout import pointee, strip


def called(reading: Reading, name: str) -> Reading:
    """Name a reading by its variable, which says more than the register that it is in."""
    if "%" not in reading.text:
        return reading
    return replace(reading, text=name, place=None)


def as_entry(found: Sequence[Reading], variables: Sequence[Variable]) -> Reading | None:
    """Read a node as the entry whose first member it is, where a variable says so."""
    for variable in variables:
        if any(begins_with(variable.type, reading.type) for reading in found):
            name, type_ = variable.name, variable.type
            return replace(found[0], text=name, type=type_, place=None, head_in=None)
    return None


def of_one_type(term: Term, found: list[Reading], register: str | None) -> Reading:
    """Read a value by the one type that its origins have.

    :param found: readings of the origins
    :param register: where it is, as written
    :raises Unavailable: they have several types, or none is known
    """
    described = [r for r in found if not (r.bare or is_anything(r))]
    unsure = any(reading.unsure for reading in found) or len(described) < len(found)
    if found and not described and register is not None:
        void = found[0].type.prog.void_type()
        return Reading(term=term, text=register, type=void.prog.pointer_type(void), unsure=True)
    types = {type_.type_name(): type_ for type_ in (_of_element(r.type) for r in described)}
    if len(types) != 1 or register is None:
        raise Unavailable("expression", Reason.AMBIGUOUS, "it comes from one of several places")
    ((name, type_),) = types.items()
    head_in = next((r.head_in for r in described if r.head_in is not None), None)
    return Reading(
        term=term, text=f"(({name}){register})", type=type_, unsure=unsure, head_in=head_in
    )


def _of_element(type_: Type) -> Type:
    # What walks over an array points at one of its elements.
    bare = strip(type_)
    target = pointee(bare)
    if target is None or strip(target).kind is not TypeKind.ARRAY:
        return bare
    return type_.prog.pointer_type(strip(target).type)
