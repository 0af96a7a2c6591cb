"""Which parts of a frame a pointer that is known elsewhere may lead to.

A C pointer points into one object or one past it, so whoever has a local's address can
change that local only. Debug information lists the variables a function keeps in memory.

What it does not list: compound literals, temporaries for structures, ``alloca``. The
compiler may put such a nameless object where a variable of another scope lies, and all that
share a place begin at one offset (gcc's ``union_stack_vars()`` and
``expand_stack_vars()``, clang's ``StackColoring``). So

- an address in no variable, nor just behind one, leads everywhere;
- any other leads from where its variable begins to where the next one does, for a nameless
  object in the same place may be larger than the variable, or follow it;
- spilled registers share nothing with objects whose address is taken.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Extent: TypeAlias = tuple[int, int]
"""First byte and the one after the last, as offsets from the CFA."""
Extents: TypeAlias = frozenset[Extent]

_FAR = 1 << 64
_RETURN_ADDRESS = -8
NOTHING: Extents = frozenset()
EVERYTHING: Extents = frozenset({(-_FAR, _FAR)})
"""All of the frame but the registers saved in it."""


def both(left: Extents, right: Extents) -> Extents:
    """What either leads to; the same object as ``left`` when that is all."""
    if right <= left or left == EVERYTHING:
        return left
    return EVERYTHING if right == EVERYTHING else left | right


def overlaps(extents: Extents, offset: int, size: int) -> bool:
    """Whether a byte of ``offset`` and the ``size`` from it is in one of them."""
    return any(first < offset + size and offset < end for first, end in extents)


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables that a function keeps in its frame."""

    extents: tuple[Extent, ...]
    """Of each, in order."""
    unplaced: frozenset[Extent] = NOTHING
    """Those whose distance is known from the stack pointer in the function's body only."""

    @classmethod
    def of(cls, extents: Iterable[Extent], unplaced: Iterable[Extent] = ()) -> Variables:
        """Make them from the variables' extents, in any order."""
        return cls(
            tuple(sorted({extent for extent in extents if extent[0] < extent[1]})),
            frozenset(extent for extent in unplaced if extent[0] < extent[1]),
        )

    def placed(self, stack_pointer: int | None) -> Variables | None:
        """Place all of them.

        :param stack_pointer: of the function's body, as an offset from the CFA
        :returns: None when it is not known, or one of them would not be in the frame
        """
        if not self.unplaced:
            return self
        if stack_pointer is None:
            return None
        moved = {(first + stack_pointer, end + stack_pointer) for first, end in self.unplaced}
        if any(first < stack_pointer or end > _RETURN_ADDRESS for first, end in moved):
            return None
        return Variables.of({*self.extents, *moved})

    def covers(self, offset: int, size: int) -> bool:
        """Whether one variable has all of these bytes."""
        return any(first <= offset and offset + size <= end for first, end in self.extents)

    def reached_from(self, offset: int, size: int | None = None) -> Extents:
        """What a C pointer of the value CFA plus ``offset`` may lead to.

        :param size: bytes of what it is declared to point at, where that is known. One that
            no variable there holds is a nameless object's, or lies outside of its object
            as the head of a list does when it is taken for an element
        """
        near = [(first, end) for first, end in self.extents if first <= offset <= end]
        if not near or (size and all(offset + size > end for _, end in near)):
            return EVERYTHING
        return frozenset((first, self._end_of(first, end)) for first, end in near)

    def _end_of(self, first: int, end: int) -> int:
        following = bisect_right(self.extents, (first, _FAR))
        if following == len(self.extents):
            return _FAR
        return max(end, self.extents[following][0])
