"""Elements of arrays, with their indexes, and this CPU's copies, as C expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from crashkit.dataflow import Const, PerCpu, Term
from crashkit.errors import Reason, Unavailable
from crashkit.fault.members import Reading, dereference, indexed, operand
from crashkit.fault.origins import Element
from crashkit.fault.statics import object_at
from crashkit.fault.tries import any_of, quietly
from crashkit.layout import COMPOUND, pointee, size_of, strip
from crashkit.symbols import find_symbol

if TYPE_CHECKING:
    from crashkit.fault.reading import Reader


class Elements:
    """Reads a pointer plus an index; asks the reader for both."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def value(self, term: Element) -> tuple[Reading, ...]:
        """Read it as the address of an element, else as a sum.

        :raises Unavailable: neither is known
        """
        try:
            return self.address(term, 0, term)
        except Unavailable:
            left = self._reader.readings(term.base)[0]
            if pointee(left.type) is not None:
                raise
        number = operand(self._reader.number(term.index))
        right = number if term.scale == 1 else f"{number} * {term.scale}"
        text = f"{operand(left.text)} + {right}"
        return (Reading(term=term, text=text, type=left.type, parent=left, unsure=left.unsure),)

    def through(self, place: Element, offset: int, size: int, term: Term) -> tuple[Reading, ...]:
        """Read ``size`` bytes at a distance from an element.

        :raises Unavailable: no array is known that has them
        """

        def read(base: Reading, number: str, scale: int) -> tuple[Reading, ...]:
            return indexed(base, number, scale, offset, size, term)

        own = self._this_cpu_pointers(place)
        if own:
            return any_of(own, lambda base: dereference(base, offset, size, term))
        try:
            return self._any_order(place, read)
        except Unavailable:
            found = self._by_value(place, offset, size, term)
            if not found:
                raise
            return found

    def _by_value(self, place: Element, offset: int, size: int, term: Term) -> tuple[Reading, ...]:
        # An index that counts bytes names no element, but where it was at the fault does.
        for base, index in ((place.base, place.index), (place.index, place.base)):
            moved = self._reader.hints.value(index)
            for reading in quietly(lambda: self._array(base)):  # noqa: B023
                if moved is None or place.scale != 1 or not _is_within(reading, moved + offset):
                    continue
                found = quietly(lambda: dereference(reading, moved + offset, size, term))  # noqa: B023
                if found:
                    return tuple(replace(one, unsure=True) for one in found)
        return ()

    def address(self, place: Element, addend: int, term: Term) -> tuple[Reading, ...]:
        """Read the address at a distance from an element.

        :raises Unavailable: no array is known that has it
        """

        def read(base: Reading, number: str, scale: int) -> tuple[Reading, ...]:
            return tuple(
                replace(
                    found, text=f"&{found.text}", place=found.text,
                    type=self._reader.prog.pointer_type(found.type),
                )
                for found in indexed(base, number, scale, addend, None, term)
            )  # fmt: skip

        return self._any_order(place, read)

    def _any_order(
        self, place: Element, read: Callable[[Reading, str, int], tuple[Reading, ...]]
    ) -> tuple[Reading, ...]:
        # Without a scale, either may be the pointer and the other the index.
        orders = [(place.base, place.index, place.scale)]
        if place.scale == 1:
            orders.append((place.index, place.base, 1))
        failure: Unavailable | None = None
        for base, index, scale in orders:
            try:
                bases = self._array(base)
                number = self._reader.number(index)
                return any_of(bases, lambda r: read(r, number, scale))  # noqa: B023
            except Unavailable as missing:
                failure = failure or missing
        raise failure or Unavailable("expression", Reason.NO_DEBUGINFO, "no array is known")

    def _this_cpu_pointers(self, place: Element) -> tuple[Reading, ...]:
        # A per-CPU pointer and this CPU's distance: this_cpu_ptr().
        for base, index in ((place.base, place.index), (place.index, place.base)):
            if place.scale != 1 or not isinstance(index, PerCpu):
                continue
            if isinstance(index.base, Const) and self._is_offset(index.base.value + index.offset):
                return tuple(
                    replace(r, text=f"this_cpu_ptr({r.text})", place=None, parent=r)
                    for r in self._array(base)
                )
        return ()

    def _is_offset(self, address: int) -> bool:
        symbol = find_symbol(self._reader.prog, "this_cpu_off")
        return symbol is not None and symbol.address == address

    def _array(self, base: Term) -> tuple[Reading, ...]:
        if isinstance(base, Const):
            reading, rest = object_at(self._reader.prog, base.value)
            return (reading,) if not rest else self._reader.moved(reading, rest, base)
        return self._reader.readings(base)


def this_cpu(reading: Reading) -> Reading:
    """Read what this CPU has of a variable."""
    return replace(reading, text=f"this_cpu({reading.text})", place=None)


def _is_within(pointer: Reading, offset: int) -> bool:
    target = pointee(pointer.type)
    if target is None or strip(target).kind not in COMPOUND:
        return False
    return 0 <= offset < (size_of(target) or 0)
