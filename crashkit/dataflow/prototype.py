"""Which parameter a register or stack slot holds when a function is entered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drgn import BadDataError, Object, Program, Type, TypeKind

from crashkit.dataflow.terms import Entry, FrameAddress, Term
from crashkit.errors import Reason, Unavailable
from crashkit.layout import COMPOUND, size_of, strip
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import SymbolAt

# Copies the compiler made with other parameters than the source has (gcc -fipa-*).
_CLONE = re.compile(r"\.(isra|constprop|part)\b")
_COLD = re.compile(r"\.cold\b.*$")
_ONE_REGISTER = (TypeKind.INT, TypeKind.BOOL, TypeKind.ENUM, TypeKind.POINTER)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter as the source declares it."""

    name: str
    type: Type


def prototype_of(prog: Program, function: SymbolAt) -> Type:
    """Find the function's type, by name and address.

    :raises Unavailable: nothing describes it; it is a clone whose parameters the
        compiler changed; or only another function of its name is described
    """
    name = _COLD.sub("", function.name)
    what = f"prototype of {name}"
    if _CLONE.search(name):
        raise Unavailable(what, Reason.OPTIMIZED_OUT, "the compiler changed a clone's parameters")
    return _described(prog, function, name, what)


def source_prototype(prog: Program, function: SymbolAt) -> Type:
    """Find the type that the source gives the function a clone was made from.

    Where its parameters are passed does not follow from it.

    :raises Unavailable: nothing describes it, or ``function`` is no clone
    """
    name, clone, _ = _COLD.sub("", function.name).partition(".")
    what = f"prototype of {name}"
    if not clone:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "the function is no clone")
    try:
        found = prog.function(name)
    except (LookupError, BadDataError) as unknown:  # the latter: DWARF that drgn cannot read
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    if found.type_.kind is not TypeKind.FUNCTION:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "its type is no function type")
    return found.type_


def _described(prog: Program, function: SymbolAt, name: str, what: str) -> Type:
    try:
        found = prog.function(name)
    except (LookupError, BadDataError) as unknown:  # the latter: DWARF that drgn cannot read
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    is_cold = name != function.name
    if not is_cold and not _is_at(found, function.address):
        found = _of_same_file(prog, name, function.address, what)
    if found.type_.kind is not TypeKind.FUNCTION:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "its type is no function type")
    return found.type_


def _is_at(found: Object, address: int) -> bool:
    return found.address_ is None or found.address_ == address


def _of_same_file(prog: Program, name: str, address: int, what: str) -> Object:
    # Static functions share names; the source file tells them apart.
    try:
        for location in prog.source_location(address):
            found = prog.function(name, filename=location.filename)
            if _is_at(found, address):
                return found
    except (LookupError, BadDataError):
        pass
    raise Unavailable(what, Reason.AMBIGUOUS, "another function of that name is described")


def parameters_of(prototype: Type) -> Mapping[Term, Parameter]:
    """Map where each parameter is on entry to the parameter.

    Keys are ``Entry(register)``, and ``FrameAddress(offset)`` of a stack slot's address.
    Integers and pointers take rdi, rsi, rdx, rcx, r8 and r9 in order, then the stack
    (psABI 3.2.3). A structure, a floating-point number or a 128-bit integer by value
    is classed otherwise, and so nothing is said of it and of those after it.

    :raises Unavailable: the function returns a structure in memory, which takes rdi
    """
    result = strip(prototype.type)
    if result.kind in COMPOUND and (size_of(result) or 0) > 16:
        raise Unavailable("parameters", Reason.UNSUPPORTED, "the result is returned in memory")
    found: dict[Term, Parameter] = {}
    for number, parameter in enumerate(prototype.parameters):
        bare = strip(parameter.type)
        if bare.kind not in _ONE_REGISTER or (size_of(bare) or 0) > 8:
            break
        place: Term
        if number < len(ARGUMENT_REGISTERS):
            place = Entry(ARGUMENT_REGISTERS[number])
        else:
            place = FrameAddress(8 * (number - len(ARGUMENT_REGISTERS)))
        name = parameter.name or f"argument {number}"
        found[place] = Parameter(name=name, type=parameter.type)
    return found
