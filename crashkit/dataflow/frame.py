"""What debug information says of a function's frame and of the pointers it passes."""

from __future__ import annotations

from drgn import Program, TypeKind

from crashkit.dataflow.extents import Extent, Variables
from crashkit.dataflow.prototype import parameters_of, prototype_of
from crashkit.dataflow.terms import Entry, FrameAddress
from crashkit.errors import Unavailable
from crashkit.layout import size_of, strip
from crashkit.symbols import SymbolAt, symbol_at
from crashkit.symbols.dwarf_frame import frame_variables

_CACHE_KEY = "crashkit.pointee"


def variables_of(prog: Program, address: int) -> Variables | None:
    """Which parts of its frame the function at ``address`` keeps variables in.

    One with a location list is in memory for a while only, as a register is that is
    spilled: no address of it was taken.

    :returns: None when no debug information tells
    """
    found = frame_variables(prog, address)
    if found is None:
        return None
    extents: dict[str, list[Extent]] = {"cfa": [], "rsp": []}
    for variable in found:
        if not variable.listed:
            extents[variable.base].append((variable.offset, variable.offset + variable.size))
    return Variables.of(extents["cfa"], extents["rsp"])


def incoming_bytes(prog: Program, function: SymbolAt) -> int:
    """Bytes of the arguments that a function takes on the stack.

    :returns: 0 when nothing describes it
    """
    try:
        places = parameters_of(prototype_of(prog, function))
    except Unavailable:
        return 0
    return max((place.offset + 8 for place in places if isinstance(place, FrameAddress)), default=0)


def pointee_size(prog: Program, address: int, register: str) -> int | None:
    """Bytes of what the function at ``address`` takes a pointer to in a register.

    :returns: None when nothing describes it, or it is a pointer to anything
    """
    key = (_CACHE_KEY, address)
    if key not in prog.cache:
        prog.cache[key] = _pointees(prog, address)
    sizes: dict[str, int] = prog.cache[key]
    return sizes.get(register)


def _pointees(prog: Program, address: int) -> dict[str, int]:
    function = symbol_at(prog, address)
    if function is None or function.address != address:
        return {}
    try:
        parameters = parameters_of(prototype_of(prog, function))
    except Unavailable:
        return {}  # the address is then a pointer to anything
    sizes: dict[str, int] = {}
    for place, parameter in parameters.items():
        bare = strip(parameter.type)
        if isinstance(place, Entry) and bare.kind is TypeKind.POINTER:
            size = size_of(strip(bare.type))
            if size:
                sizes[place.register] = size
    return sizes
