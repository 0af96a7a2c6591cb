"""A function stopped at one instruction: its terms with their values, names and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from drgn import Program, Type

from crashkit.dataflow import (
    Const,
    Dataflow,
    FrameAddress,
    Parameter,
    Term,
    add,
    parameters_of,
    prototype_of,
    split,
)
from crashkit.dataflow.prototype import source_prototype
from crashkit.dataflow.terms import Entry
from crashkit.decode.slab import slab_identity
from crashkit.errors import Unavailable
from crashkit.fault.chain import Identify
from crashkit.fault.containers import Candidates, Use
from crashkit.fault.given import anytime, as_pointer_to, entered, handed_on
from crashkit.fault.library import library_parameters, meant_by
from crashkit.fault.members import Reading, is_anything
from crashkit.fault.origins import Origins
from crashkit.fault.reading import Reader
from crashkit.fault.values import Values
from crashkit.fault.variables import Local, Scope, Variable, scope_at
from crashkit.registers import ARGUMENT_REGISTERS
from crashkit.symbols import SymbolAt
from crashkit.symbols.btf_structures import module_prototype
from crashkit.value import facts

_MOST_INSTRUCTIONS = 3000


@facts
class Prototype:
    """A function's type as somebody else than its own debug information gives it."""

    type: Type
    unsure: bool = False
    """The pointer that it was called through was itself read by an inference."""


@facts
class Place:
    """Where a function is stopped, and what its parameters are."""

    prog: Program
    function: SymbolAt
    flow: Dataflow
    pc: int
    """Address of the instruction itself; in a caller's frame, of the call."""
    sp: int
    prototype: Prototype | None = None
    """The function's type where a caller of this knows it."""
    passed: Callable[[str], Reading | None] | None = None
    """Reads a register on entry as the function's caller had it, where one is known."""


class Here:
    """What is known at a place; the hints a reader of its terms asks for.

    :ivar parameters: empty, with the reason in ``no_parameters``, where nothing describes them
    """

    def __init__(self, place: Place, values: Values, identify: Identify) -> None:
        self.place = place
        self.values = values
        self.origins: Origins = values.origins
        self.no_parameters: Unavailable | None = None
        self._identify = identify
        self._state = place.flow.state_before(place.pc)
        try:
            self.parameters = _parameters(place, self._entry_scope)
        except Unavailable as missing:
            self.parameters, self.no_parameters = {}, missing
        self._named = self._variables()
        told = place.prototype
        unsure = told is not None and told.unsure
        self.reader = Reader(place.prog, self.parameters, self, unsure=unsure)

    @cached_property
    def scope(self) -> Scope:
        """The variables in sight."""
        return scope_at(self.place.prog, self.place.pc, self.place.sp)

    def _entry_scope(self) -> Scope:
        return scope_at(self.place.prog, self.place.flow.entry, self.place.sp)

    def _variables(self) -> dict[Term, list[Variable]]:
        found: dict[Term, list[Variable]] = {}
        for variable in self.scope.variables:
            raw = add(self._state.register(variable.register), variable.addend)
            if isinstance(raw, (Const, FrameAddress)):
                continue
            for term in dict.fromkeys((raw, self.origins.expand(raw, self.place.pc))):
                found.setdefault(term, []).append(variable)
        return found

    # Hints

    def variables(self, term: Term) -> Sequence[Variable]:
        """See :class:`crashkit.fault.hints.Hints`."""
        return self._named.get(term, ())

    def register_of(self, term: Term) -> str | None:
        """See :class:`crashkit.fault.hints.Hints`."""
        held = self.origins.as_held(term)
        if held is None:
            return None
        for name, other in self._state.registers.items():
            if other == held:
                return f"%{name}"
        for name, other in self._state.registers.items():
            base, addend = split(other)
            if base == held:
                return f"(%{name} {'-' if addend > 0 else '+'} {abs(addend):#x})"
        return None

    def value(self, term: Term) -> int | None:
        """See :class:`crashkit.fault.hints.Hints`."""
        with suppress(Unavailable):
            return self.values.at_fault(term).value
        return None

    def local_at(self, offset: int) -> tuple[Local, int] | None:
        """See :class:`crashkit.fault.hints.Hints`."""
        cfa = self.values.cfa
        if cfa is None:
            return None
        address = cfa + offset
        for local in self.scope.locals:
            if local.address <= address < local.address + local.size:
                return local, address - local.address
        return None

    def expanded(self, term: Term) -> Term:
        """See :class:`crashkit.fault.hints.Hints`."""
        return self.origins.expand(term, self.place.pc)

    def behind(
        self, term: Term, reading: Reading, offset: int, size: int | None
    ) -> Sequence[tuple[Reading, int]]:
        """See :class:`crashkit.fault.hints.Hints`."""
        uses = set(self._uses(term))
        if size is not None:
            uses.add(Use(offset=offset, size=size))
        value = self.value(term)
        identity = self._identify(value) if value else None
        if value and identity and _is_merged(self.place.prog, value):
            identity = None
        found = self._candidates.of(reading, frozenset(uses), identity)
        taken = self._taken_as(term) if reading.bare or is_anything(reading) else None
        return [(as_pointer_to(taken, reading), 0), *found] if taken is not None else found

    def around(self, reading: Reading, distance: int) -> Sequence[Reading]:
        """See :class:`crashkit.fault.hints.Hints`."""
        return self._candidates.around(reading, distance)

    def entered(self, term: Entry) -> Reading | None:
        """See :class:`crashkit.fault.hints.Hints`."""
        place = self.place
        if library_parameters(place.prog, place.function):
            return None  # bytes, whatever lies there
        parameter = self.parameters.get(term)
        meant = meant_by(place.prog, place.function, parameter.name) if parameter else None
        if parameter is not None and meant is not None:
            return Reading(term=term, text=parameter.name, type=meant)
        given = place.passed(term.register) if place.passed is not None else None
        if self.no_parameters is None:
            return given
        return entered(place.prog, term.register, given, self._taken_as(term))

    def _taken_as(self, term: Term) -> Type | None:
        # What the functions that it is handed on to say that it points at.
        held = self.origins.as_held(term)
        return self._handed_on.get(anytime(held)) if held is not None else None

    @cached_property
    def _handed_on(self) -> Mapping[Term, Type]:
        return handed_on(self.place.prog, self.place.flow)

    @cached_property
    def _candidates(self) -> Candidates:
        near = [parameter.type for parameter in self.parameters.values()]
        return Candidates(self.place.prog, self.place.function.module, near, self.scope.structures)

    def _uses(self, term: Term) -> list[Use]:
        # Where else this function reads or writes through the same pointer.
        flow = self.place.flow
        wanted = self.origins.as_held(term)
        if wanted is None or len(flow.instructions) > _MOST_INSTRUCTIONS:
            return []
        found: list[Use] = []
        for instruction in flow.instructions.values():
            for access in instruction.accesses:
                if access.memory.base in (None, "rsp", "rip") or access.memory.index:
                    continue
                base, offset = flow.place_of(instruction, access.memory)
                if split(base)[0] == wanted and access.kind != "address":
                    found.append(Use(offset=offset + split(base)[1], size=access.size))
        return found


def _is_merged(prog: Program, value: int) -> bool:
    # Whether its slab cache has other caches' objects, too: then its name tells no type.
    with suppress(Unavailable):
        return slab_identity(prog, value, aliases=False).aliases is None
    return False


def _parameters(place: Place, entry_scope: Callable[[], Scope]) -> dict[Term, Parameter]:
    told = _of_scope(place, entry_scope())
    try:
        found = dict(parameters_of(_prototype(place)))
        # Assembly functions are declared as taking nothing, where they are at all.
        found = found or library_parameters(place.prog, place.function)
    except Unavailable:
        found = told or library_parameters(place.prog, place.function)
        if not found:
            raise
        return found
    # A debug file's own entry for these instructions: a type found by name may be another's.
    names = {parameter.name for parameter in found.values()}
    return found if all(p.name in names for p in told.values()) else told


def _prototype(place: Place) -> Type:
    # The kernel's or another module's function may have the name, too.
    if place.prototype is not None:
        return place.prototype.type
    function = place.function
    found = None
    if function.module is not None:
        found = module_prototype(place.prog, function.module, function.name)
    return found or prototype_of(place.prog, function)


def _of_scope(place: Place, scope: Scope) -> dict[Term, Parameter]:
    # Debug files say where a function has its parameters when it is entered, a clone too.
    named: dict[str, Variable] = {}
    taken: set[str] = set()
    for v in scope.variables:  # parameters come before the variables they were copied to
        is_parameter = not v.inlined and not v.addend and v.register in ARGUMENT_REGISTERS
        if is_parameter and v.register not in taken:
            named[v.name] = v
            taken.add(v.register)
    with suppress(Unavailable):
        source = source_prototype(place.prog, place.function)
        kept = {parameter.name for parameter in source.parameters}
        named = {name: variable for name, variable in named.items() if name in kept}
    return {Entry(v.register): Parameter(name=v.name, type=v.type) for v in named.values()}
