"""The questions of :mod:`crashkit.symbols.dwarf_frame`, put to one debug file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from crashkit.symbols.dwarf_abbrev import Attribute
from crashkit.symbols.dwarf_expressions import (
    NotUnderstoodError,
    Said,
    read_expression,
    read_value,
)
from crashkit.symbols.dwarf_functions import Function, Functions, entry_pc
from crashkit.symbols.dwarf_lists import Expression, inline_expression, locations
from crashkit.symbols.dwarf_sections import DAMAGED, MappedFile
from crashkit.symbols.dwarf_units import (
    ABSTRACT_ORIGIN,
    LOCATION,
    NAME,
    Entry,
    described_by,
    name_of,
    size_of,
)
from crashkit.symbols.dwarf_values import (
    CallSite,
    Constant,
    EntryValue,
    FrameAddress,
    FrameVariable,
    Kind,
    LoadValue,
    Location,
    RegisterValue,
    Value,
)

_CONST_VALUE, _EXTERNAL, _LINKAGE_NAME = 0x1C, 0x3F, 0x6E
_CALL_VALUE, _CALL_ORIGIN, _CALL_TAIL_CALL = 0x7E, 0x7F, 0x82
_GNU_CALL_SITE_VALUE, _GNU_TAIL_CALL = 0x2111, 0x2115
_CALL_SITE_PARAMETERS = (0x49, 0x410A)
_U64 = 0xFFFF_FFFF_FFFF_FFFF

Variables = tuple[FrameVariable, ...]


def open_reader(path: Path, bias: int, places: Mapping[str, int]) -> Reader | None:
    """Open a debug file; None when it cannot be read or has no DWARF.

    :param bias: run-time address minus the file's, unless it is relocatable
    :param places: run-time addresses of a relocatable file's sections
    """
    try:
        return Reader(MappedFile(path, bias, places))
    except (OSError, *DAMAGED):
        return None


class Reader:
    """Answers questions about the functions of one debug file."""

    def __init__(self, file: MappedFile) -> None:
        """Take an open file.

        :raises DwarfError: it has no ``.debug_info``
        """
        self._functions = Functions(file)
        self._variables: dict[int, Variables | None] = {}
        self._call_sites: dict[int, CallSite | None] = {}

    def frame_variables(self, address: int) -> Variables | None:
        """See :func:`crashkit.symbols.dwarf_frame.frame_variables`."""
        if address not in self._variables:
            try:
                function = self._functions.at(address)
                self._variables[address] = _frame_variables(function) if function else None
            except DAMAGED:
                self._variables[address] = None
        return self._variables[address]

    def parameter_locations(self, address: int, pc: int) -> Mapping[str, Location]:
        """See :func:`crashkit.symbols.dwarf_frame.parameter_locations`."""
        try:
            function = self._functions.at(address)
            return _parameter_locations(function, pc) if function else {}
        except DAMAGED:
            return {}

    def call_site(self, return_pc: int, address_of: Callable[[str], int | None]) -> CallSite | None:
        """See :func:`crashkit.symbols.dwarf_frame.call_site`.

        :param address_of: finds the one global function of a name
        """
        if return_pc not in self._call_sites:
            try:
                self._call_sites[return_pc] = self._read_call_site(return_pc, address_of)
            except DAMAGED:
                self._call_sites[return_pc] = None
        return self._call_sites[return_pc]

    def _read_call_site(
        self, return_pc: int, address_of: Callable[[str], int | None]
    ) -> CallSite | None:
        # A call that does not return may be the last instruction of its function.
        function = self._functions.at(return_pc - 1)
        entries = function.call_sites.get(return_pc, []) if function else []
        if function is None or len(entries) != 1:
            return None
        (entry,) = entries
        values = entry.attributes()
        origin = values.get(_CALL_ORIGIN) or values.get(ABSTRACT_ORIGIN)
        callee = entry.unit.reference(origin) if origin else None
        tail = values.get(_CALL_TAIL_CALL) or values.get(_GNU_TAIL_CALL)
        passed = list(_passed(function, entry))
        return CallSite(
            return_pc=return_pc,
            tail=entry.unit.flag(tail),
            target=self._target(callee, address_of) if callee else None,
            name=name_of(callee) if callee else None,
            values={place: value for place, value in passed if isinstance(place, str)},
            stack={place: value for place, value in passed if isinstance(place, int)},
        )

    def _target(self, callee: Entry, address_of: Callable[[str], int | None]) -> int | None:
        bodies = self._functions.bodies(callee)
        if bodies:
            # A clone bears the origin of the function it was made from: with one beside
            # the other it cannot be told which of them is called.
            return entry_pc(bodies[0]) if len(bodies) == 1 else None
        external = described_by(callee, _EXTERNAL)
        if external is None or not external[0].unit.flag(external[1]):
            return None
        found = described_by(callee, _LINKAGE_NAME) or described_by(callee, NAME)
        name = found[0].unit.text(found[1]) if found else None
        return address_of(name) if name is not None else None


def _frame_variables(function: Function) -> Variables | None:
    if not function.understood or function.frame.base != FrameAddress(0):
        return None
    found: list[FrameVariable] = []
    for entry in function.located:
        found += _in_frame(function, entry)
    return tuple(dict.fromkeys(found))


def _in_frame(function: Function, entry: Entry) -> Iterator[FrameVariable]:
    value = entry.attributes()[LOCATION]
    expression = inline_expression(entry.unit, value)
    if expression is not None:
        said = read_expression(expression, function.frame)
        for part, _ in [(said, 0), *said.pieces]:
            known = isinstance(part.value, Constant) or _is_in_frame(part, listed=False)
            if part.form == "memory" and not known:
                raise NotUnderstoodError("a variable in memory that is found at run time")
        yield from _memory(said, entry, listed=False)
        return
    for listed in locations(entry.unit, value):
        said = read_expression(listed.expression, function.frame)
        yield from _memory(said, entry, listed=True)


def _memory(said: Said, entry: Entry, *, listed: bool) -> Iterator[FrameVariable]:
    for part, size in said.pieces:
        yield from _variable(part, entry, size, listed)
    if _is_in_frame(said, listed):
        whole = size_of(entry)
        if whole is None:
            raise NotUnderstoodError("a variable of unknown size")
        yield from _variable(said, entry, whole, listed)


def _variable(said: Said, entry: Entry, size: int, listed: bool) -> Iterator[FrameVariable]:
    if not _is_in_frame(said, listed):
        return
    if isinstance(said.value, FrameAddress):
        yield FrameVariable(name_of(entry), said.value.offset, size, listed)
    elif isinstance(said.value, RegisterValue):
        yield FrameVariable(name_of(entry), said.value.offset, size, listed, "rsp")


def _is_in_frame(said: Said, listed: bool) -> bool:
    # What a list says of the stack pointer need not be meant of the one in the body.
    if said.form != "memory":
        return False
    return isinstance(said.value, FrameAddress) or (
        not listed and _is_from_stack_pointer(said.value)
    )


def _is_from_stack_pointer(value: Value | None) -> bool:
    return isinstance(value, RegisterValue) and value.register == "rsp"


def _parameter_locations(function: Function, pc: int) -> dict[str, Location]:
    found: dict[str, Location] = {}
    for entry in function.parameters:
        name = name_of(entry)
        if name is not None:
            found[name] = _locate(function, entry, pc)
    return found


def _locate(function: Function, entry: Entry, pc: int) -> Location:
    size = size_of(entry)
    values = entry.attributes()
    if LOCATION not in values:
        constant = described_by(entry, _CONST_VALUE)
        number = constant[0].unit.constant(constant[1]) if constant else None
        if number is None:
            return Location("absent", size=size)
        return Location("constant", value=Constant(number & _U64), size=size)
    said = _expressions_at(entry, values[LOCATION], pc)
    if not said:
        return Location("absent", size=size)
    if len(said) > 1:
        return Location("expression", size=size)  # at several places at once
    try:
        return _location(read_expression(said[0], function.frame), size)
    except NotUnderstoodError:
        return Location("expression", size=size)


def _expressions_at(entry: Entry, value: Attribute, pc: int) -> list[Expression]:
    expression = inline_expression(entry.unit, value)
    if expression is not None:
        return [expression]
    listed = locations(entry.unit, value)
    found = [at.expression for at in listed if at.covers(pc) and not at.is_default]
    return found or [at.expression for at in listed if at.is_default]


def _location(said: Said, size: int | None) -> Location:
    value = said.value
    if said.form == "nothing":
        return Location("absent", size=size)
    if said.form == "register" and isinstance(value, RegisterValue):
        return Location("register", value.register, value=value, size=size)
    if said.form == "memory" and value is not None:
        offset = value.offset if isinstance(value, FrameAddress) else 0
        kind: Kind = "frame" if isinstance(value, FrameAddress) else "expression"
        loaded = LoadValue(value, size) if size else None
        return Location(kind, offset=offset, value=loaded, size=size)
    if isinstance(value, Constant):
        return Location("constant", value=value, size=size)
    if isinstance(value, EntryValue):
        return Location("entry-value", value.register, value.offset, value, size)
    return Location("expression", value=value, size=size)


def _passed(function: Function, call: Entry) -> Iterator[tuple[str | int, Value]]:
    # Register, or offset from the callee's CFA, and what is passed in it.
    for entry in call.children():
        if entry.shape.tag not in _CALL_SITE_PARAMETERS:
            continue
        values = entry.attributes()
        given = values.get(_CALL_VALUE) or values.get(_GNU_CALL_SITE_VALUE)
        if given is None or LOCATION not in values:
            continue
        place = _place(function, entry, values[LOCATION])
        value = _given(function, entry, given)
        if place is not None and value is not None:
            yield place, value


def _place(function: Function, entry: Entry, value: Attribute) -> str | int | None:
    expression = inline_expression(entry.unit, value)
    said = read_expression(expression, function.frame) if expression else None
    if said and isinstance(said.value, RegisterValue):
        if said.form == "register":
            return said.value.register
        if said.value.register == "rsp":  # before the call pushes the return address
            return said.value.offset
    return None


def _given(function: Function, entry: Entry, value: Attribute) -> Value | None:
    expression = inline_expression(entry.unit, value)
    if expression is not None:
        return read_value(expression, function.frame)
    number = entry.unit.constant(value)
    return None if number is None else Constant(number & _U64)
