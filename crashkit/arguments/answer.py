"""A value that was found, how strong the ground is, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crashkit.dataflow import (
    Const,
    Entry,
    FrameAddress,
    Incoming,
    Load,
    Masked,
    Part,
    Sum,
    Term,
)
from crashkit.value import Origin

_U64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A value one way of looking gave."""

    value: int
    """Unsigned 64 bit; of it only as many low bytes count as were asked for."""
    proved: bool
    origin: Origin
    how: str
    """Where it is now, in words."""

    def moved(self, distance: int) -> Answer:
        """Return the answer for a value ``distance`` further."""
        return replace(self, value=(self.value + distance) & _U64) if distance else self

    def weaker(self, proved: bool) -> Answer:
        """Return the answer, not proved unless ``proved`` too."""
        return self if proved else replace(self, proved=False)


def short(term: Term) -> str:
    """Write a term as a person does: ``rsi``, ``0x10(rdi)``, ``CFA-0x30``."""
    if isinstance(term, Entry):
        return f"its own {term.register}"
    if isinstance(term, Incoming):
        return f"its argument at CFA{term.offset:+#x}"
    if isinstance(term, Const):
        return f"{term.value:#x}"
    if isinstance(term, FrameAddress):
        return f"the address CFA{term.offset:+#x}"
    if isinstance(term, Sum):
        return f"{short(term.base)}{term.addend:+#x}"
    if isinstance(term, Part):
        return f"{term.size} bytes of {short(term.base)}"
    if isinstance(term, Masked):
        return f"{short(term.base)} & {term.mask:#x}"
    if isinstance(term, Load):
        return f"{term.offset:#x}({short(term.base)})"
    return "a value it computed"
