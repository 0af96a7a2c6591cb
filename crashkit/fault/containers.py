"""Structures that a pointer may lead into though its type does not say so.

``container_of()`` and ``void *`` leave no trace in types. What is left is where the code
reads: a structure fits if it has a member at each such place, and the pointer's own type
where the pointer is. Every one that fits is a reading, an inferred one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from drgn import Program, Type, TypeKind

from crashkit.errors import Unavailable
from crashkit.fault.members import Reading, operand
from crashkit.layout import COMPOUND, members_at, pointee, size_of, strip
from crashkit.symbols.btf_structures import module_structures
from crashkit.value import facts

_MOST = 4
_DEEPEST = 6
_MOST_PLACES = 400
_OF_SLAB = re.compile(r"slab object (\w+?)(?:_cachep?)?(?:\+(0x[0-9a-f]+))?$")
_ANYTHING = (TypeKind.VOID, TypeKind.INT)


@facts
class Use:
    """Bytes that code reads or writes at a distance from a pointer."""

    offset: int
    size: int


Guess = tuple[Reading, int]
"""A pointer to a structure, and the distance into it of the pointer it was made from."""
_Where = Sequence[tuple[Sequence[Type], bool]]
# Structures to look among, and whether one of them counts only if no other fits.


class Candidates:
    """The structures that one function may be about."""

    def __init__(
        self,
        prog: Program,
        module: str | None,
        parameters: Sequence[Type],
        structures: Sequence[Type],
    ) -> None:
        self._prog = prog
        self._module = module
        self._parameters = parameters
        self._structures = structures

    def of(self, pointer: Reading, uses: frozenset[Use], identity: str | None) -> list[Guess]:
        """List what a pointer may lead into, the most plausible first; at most four.

        :param uses: where the code reads through it
        :param identity: what is at its value
        """
        target = pointee(pointer.type)
        bare = strip(target) if target is not None else None
        is_word = strip(pointer.type).kind is TypeKind.INT and size_of(pointer.type) == 8
        if not uses or pointer.unsure or (bare is None and not is_word):
            return []
        if bare is not None and bare.kind in COMPOUND:
            return self._containers(pointer, bare, uses)
        if bare is None or bare.kind in _ANYTHING:
            return self._anything(pointer, uses, identity)
        return []

    def _containers(self, pointer: Reading, inner: Type, uses: frozenset[Use]) -> list[Guess]:
        if pointer.head_in is not None:
            return self._entries(pointer, inner, uses)
        both = (*self._near_first, *self._own_alone)
        return self._ranked(pointer, inner, both, lambda s, _, at: _fits(s, uses, at))

    def _entries(self, pointer: Reading, inner: Type, uses: frozenset[Use]) -> list[Guess]:
        # Read from a list head, it leads to an entry; from an entry's node, to the next one,
        # by the same member. By another member to one of the same is an inference at most.
        head = pointer.head_in
        own = pointer.member[1].rpartition(".")[0] if pointer.member is not None else None

        def ranked(where: _Where, is_meant: Callable[[str, str], bool]) -> list[Guess]:
            def fits(structure: Type, path: str, at: int) -> bool:
                return is_meant(structure.type_name(), path) and _fits(structure, uses, at)

            return self._ranked(pointer, inner, where, fits)

        both = (*self._near_first, *self._own_alone)
        found = [
            *ranked(self._near_first, lambda name, _: name != head),
            *ranked(both, lambda name, path: name == head and path == own),
        ] or ranked(self._own_alone, lambda name, _: name != head)
        if not found and self._is_fit(inner, uses):
            return []
        last = ranked(both, lambda name, path: name == head and path != own)
        return [*found, *last][:_MOST]

    def _is_fit(self, inner: Type, uses: frozenset[Use]) -> bool:
        # Several of the module's structures fit: then it is none of them for sure.
        return any(_fits(s, uses, at) for s in self._own for _, at in _places(s, inner))

    def around(self, pointer: Reading, distance: int) -> list[Reading]:
        """List the structures that have what is pointed at as a member at a distance."""
        target = pointee(pointer.type)
        inner = strip(target) if target is not None else None
        if inner is None or inner.kind not in COMPOUND:
            return []
        both = (*self._near_first, *self._own_alone)
        found = self._ranked(pointer, inner, both, lambda _, __, at: at == distance)
        return [reading for reading, _ in found]

    @property
    def _near_first(self) -> _Where:
        return ((self._near, False),)

    @property
    def _own_alone(self) -> _Where:
        return ((self._own, True),)

    def _ranked(
        self, pointer: Reading, inner: Type, where: _Where, fits: Callable[[Type, str, int], bool]
    ) -> list[Guess]:
        # Own members before those of what is embedded: a list of timers is rarely walked.
        for structures, alone in where:
            found = sorted(
                (
                    (path.count("."), structure.type_name(), path, distance, structure)
                    for structure in structures
                    for path, distance in _places(structure, inner)
                    if fits(structure, path, distance)
                ),
                key=lambda one: one[:4],
            )
            best = [one for one in found if one[0] == found[0][0]]
            if found and (len(best) == 1 or not alone):
                return [
                    (self._container(pointer, structure, path), distance)
                    for _, _, path, distance, structure in found[:_MOST]
                ]
        return []

    def _container(self, pointer: Reading, structure: Type, path: str) -> Reading:
        name = structure.type_name()
        return Reading(
            term=pointer.term,
            text=f"container_of({pointer.text}, {name}, {path})",
            type=self._prog.pointer_type(structure),
            parent=pointer,
            unsure=True,
        )

    def _anything(
        self, pointer: Reading, uses: frozenset[Use], identity: str | None
    ) -> list[Guess]:
        slab = self._of_slab(identity)
        if slab is not None and _fits(slab[0], uses, slab[1]):
            return [(self._cast(pointer, slab[0]), slab[1])] if not slab[1] else []
        # What another parameter points at says nothing of this one.
        taken = {strip(t).type_name() for p in self._parameters if (t := pointee(p)) is not None}
        near = [s for s in self._structures if s.type_name() not in taken]
        for structures in (near, self._own):
            found = [s for s in structures if s.kind in COMPOUND and _fits(s, uses, 0)]
            if len(found) == 1:
                return [(self._cast(pointer, found[0]), 0)]
            if found:
                break  # one of several: that is no reading
        return []

    def _cast(self, pointer: Reading, structure: Type) -> Reading:
        type_ = self._prog.pointer_type(structure)
        return Reading(
            term=pointer.term,
            text=f"(({type_.type_name()}){operand(pointer.text)})",
            type=type_,
            parent=pointer,
            unsure=True,
        )

    def _of_slab(self, identity: str | None) -> tuple[Type, int] | None:
        found = _OF_SLAB.search(identity or "")
        if found is None:
            return None
        try:
            structure = self._prog.type(f"struct {found[1]}")
        except LookupError:
            return None  # most caches are not named after a structure
        return structure, int(found[2] or "0", 16)

    @cached_property
    def _near(self) -> list[Type]:
        # What the function's variables and parameters are or point at, and what those hold.
        first = [*self._structures]
        for type_ in self._parameters:
            target = pointee(type_)
            if target is not None:
                first.append(strip(target))
        named = {s.type_name(): s for s in first if s.kind in COMPOUND and s.is_complete()}
        return list(named.values())

    @cached_property
    def _own(self) -> list[Type]:
        # Those that the function's module defines.
        if self._module is None:
            return []
        known = {structure.type_name() for structure in self._near}
        own = module_structures(self._prog, self._module)
        return [structure for structure in own if structure.type_name() not in known]


def _places(structure: Type, inner: Type) -> Iterator[tuple[str, int]]:
    # Members of that type, with their distances.
    for path, type_, offset in islice(_members(structure, "", 0, _DEEPEST), _MOST_PLACES):
        if type_ == inner or (
            type_.kind is inner.kind and type_.tag and type_.tag == getattr(inner, "tag", None)
        ):
            yield path, offset


def _members(type_: Type, path: str, offset: int, depth: int) -> Iterator[tuple[str, Type, int]]:
    if depth == 0 or not type_.is_complete():
        return
    for member in type_.members:
        bare = strip(member.type)
        if member.bit_field_size is not None or bare.kind not in COMPOUND:
            continue
        name = ".".join(filter(None, (path, member.name)))
        at = offset + member.offset
        if member.name is not None:
            yield name, bare, at
        yield from _members(bare, name, at, depth - 1)


def _fits(structure: Type, uses: Iterable[Use], distance: int) -> bool:
    size = size_of(structure) or 0
    for use in uses:
        at = use.offset + distance
        if not 0 <= at < size:
            return False
        try:
            (path, *_) = members_at(structure, at, use.size or None)
        except Unavailable:
            return False
        if use.size and (not path.complete or path.bit_field):
            return False
    return True
