"""Which parameter a register or stack slot holds when a function is entered."""

from __future__ import annotations

import re
from collections.abc import Mapping

from drgn import BadDataError, Object, Program, Type, TypeKind, alignof

from crashkit.dataflow.terms import Entry, FrameAddress, Term
from crashkit.errors import Reason, Unavailable
from crashkit.layout import COMPOUND, size_of, strip
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import SymbolAt, find_symbols
from crashkit.symbols.btf_structures import has_btf, module_prototype
from crashkit.value import facts

# Copies the compiler made with other parameters than the source has (gcc -fipa-*).
_CLONE = re.compile(r"\.(isra|constprop|part)\b")
_COLD = re.compile(r"\.cold\b.*$")
_MOST_WORDS = 2
_NAMESAKES_KEY = "crashkit.namesakes"
_ONE_REGISTER = (TypeKind.INT, TypeKind.BOOL, TypeKind.ENUM, TypeKind.POINTER)


@facts
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
    if found.address_ is None and function.module is not None:
        # One that only exists inlined: which of that name it is, no address tells.
        own = module_prototype(prog, function.module, name)
        if own is None:
            detail = "a function of that name is described, maybe another file's"
            raise Unavailable(what, Reason.AMBIGUOUS, detail)
        return own
    if not _is_of(prog, found, function, name):
        found = _of_same_file(prog, function, name, what)
    if found.type_.kind is not TypeKind.FUNCTION:
        raise Unavailable(what, Reason.NO_DEBUGINFO, "its type is no function type")
    return found.type_


def _is_of(prog: Program, found: Object, function: SymbolAt, name: str) -> bool:
    # A cold part has an address of its own. BTF has no addresses, and of several functions
    # one name maybe once: the address is then that of the name's first symbol.
    is_cold = name != function.name
    if not is_cold and not _is_at(found, function.address):
        return False
    if found.address_ is None or not (is_cold or has_btf(prog)):
        return True
    return len(_namesakes(prog, function, name)) < 2


def _is_at(found: Object, address: int) -> bool:
    return found.address_ is None or found.address_ == address


def _namesakes(prog: Program, function: SymbolAt, name: str) -> frozenset[int]:
    # Addresses of the functions of that name in the kernel, or in the function's module.
    key = (_NAMESAKES_KEY, name, function.module)
    if key not in prog.cache:
        prog.cache[key] = frozenset(
            symbol.address
            for symbol in find_symbols(prog, name)
            if symbol.module == function.module
        )
    found: frozenset[int] = prog.cache[key]
    return found


def _of_same_file(prog: Program, function: SymbolAt, name: str, what: str) -> Object:
    # Static functions share names; the source file tells them apart.
    is_cold = name != function.name
    try:
        locations = prog.source_location(function.address)
        # A cold part may begin in what was inlined: the last one is the function itself.
        for location in locations[-1:] if is_cold else locations:
            found = prog.function(name, filename=location.filename)
            if is_cold or _is_at(found, function.address):
                return found
    except (LookupError, BadDataError):
        pass
    raise Unavailable(what, Reason.AMBIGUOUS, "several functions have that name")


def parameters_of(prototype: Type) -> Mapping[Term, Parameter]:
    """Map where each parameter is on entry to the parameter.

    Keys are ``Entry(register)``, and ``FrameAddress(offset)`` of a stack slot's address.
    Integers and pointers take rdi, rsi, rdx, rcx, r8 and r9 in order, then the stack
    (psABI 3.2.3). So does a structure of up to eight bytes of such; one of up to sixteen
    takes two registers, or two words of the stack if there is but one left, and is left out,
    as is a larger one, which is on the stack. A floating-point number, a 128-bit integer and a
    packed structure are classed otherwise: nothing is said of them and of those after them.

    :raises Unavailable: the function returns a structure in memory, which takes rdi
    """
    result = strip(prototype.type)
    if result.kind in COMPOUND and (size_of(result) or 0) > 16:
        raise Unavailable("parameters", Reason.UNSUPPORTED, "the result is returned in memory")
    found: dict[Term, Parameter] = {}
    registers = list(ARGUMENT_REGISTERS)
    above = 0
    for number, parameter in enumerate(prototype.parameters):
        words = _words(parameter.type)
        if words is None:
            break
        place: Term | None = None
        if words <= _MOST_WORDS and words <= len(registers):
            taken, registers = registers[:words], registers[words:]
            place = Entry(taken[0]) if words == 1 else None
        else:
            place = FrameAddress(above) if words == 1 else None
            above += 8 * words
        if place is not None:
            name = parameter.name or f"argument {number}"
            found[place] = Parameter(name=name, type=parameter.type)
    return found


def _words(type_: Type) -> int | None:
    # Words a parameter takes, more than two on the stack; None: how is not known here.
    bare = strip(type_)
    if bare.kind in _ONE_REGISTER:
        return 1 if (size_of(bare) or 0) <= 8 else None
    size = size_of(bare) or 0
    if bare.kind not in COMPOUND or not size or (alignof(bare) or 16) > 8:
        return None
    return -(-size // 8) if size > 16 or _is_whole(bare) else None


def _is_whole(type_: Type) -> bool:
    # Of integers and pointers alone, each where its own alignment puts it.
    bare = strip(type_)
    if bare.kind is TypeKind.ARRAY:
        return _is_whole(bare.type)
    if bare.kind not in COMPOUND:
        return bare.kind in _ONE_REGISTER
    return bare.members is not None and all(
        _is_whole(member.type)
        and (member.bit_field_size is not None or member.offset % alignof(strip(member.type)) == 0)
        for member in bare.members
    )
