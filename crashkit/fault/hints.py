"""What tells of a function's terms besides its code and prototype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crashkit.dataflow import Entry, Term
from crashkit.fault.members import Reading
from crashkit.fault.variables import Local, Variable


class Hints(Protocol):
    """Asked by a reader where a term's own definition does not tell its name or type."""

    def variables(self, term: Term, /) -> Sequence[Variable]:
        """Local variables that are the term's value, the outermost function's first."""

    def register_of(self, term: Term, /) -> str | None:
        """The register that holds the term's value at the place, as ``%rbx``, ``(%rbx - 0x8)``."""

    def value(self, term: Term, /) -> int | None:
        """The term's value there, unsigned 64 bit; None where it is not known."""

    def local_at(self, offset: int, /) -> tuple[Local, int] | None:
        """The local variable in memory at an offset from the CFA, and the distance into it."""

    def expanded(self, term: Term, /) -> Term:
        """The term with what the search back from the place found."""

    def behind(
        self, term: Term, reading: Reading, offset: int, size: int | None, /
    ) -> Sequence[tuple[Reading, int]]:
        """What a pointer may point into that its own type does not say.

        :param offset: where it is read from the pointer
        :param size: bytes that are read there; None: only the address is taken
        :returns: readings as a pointer to a structure, and the pointer's distance from its
            start, the most plausible first
        """

    def around(self, reading: Reading, distance: int, /) -> Sequence[Reading]:
        """The structures that a pointer may be a member of, at a distance from their start."""

    def entered(self, term: Entry, /) -> Reading | None:
        """A register on entry to a function that nothing describes, or whose names are lost.

        None where the function is described and the register is no parameter of it.
        """


class _NoHints:
    def variables(self, _term: Term) -> Sequence[Variable]:
        return ()

    def register_of(self, _term: Term) -> str | None:
        return None

    def value(self, _term: Term) -> int | None:
        return None

    def local_at(self, _offset: int) -> tuple[Local, int] | None:
        return None

    def expanded(self, term: Term) -> Term:
        return term

    def behind(
        self, _term: Term, _reading: Reading, _offset: int, _size: int | None
    ) -> Sequence[tuple[Reading, int]]:
        return ()

    def around(self, _reading: Reading, _distance: int) -> Sequence[Reading]:
        return ()

    def entered(self, _term: Entry) -> Reading | None:
        return None


NO_HINTS: Hints = _NoHints()
