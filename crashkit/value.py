"""Value: a number or text read from a dump, with where it came from."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Origin(enum.Enum):
    """Where a value was taken from."""

    MEMORY = "memory"
    REGISTER = "register"
    CFI = "cfi"
    DWARF = "dwarf"
    CALL_SITE = "call-site"
    ENTRY_VALUE = "entry-value"
    SAVED_REGISTER = "saved-register"
    DATAFLOW = "dataflow"
    TEXT = "text"


class Certainty(enum.Enum):
    """How a value follows from the dump."""

    PROVED = "proved"
    """Follows from the dump's bytes and the ABI."""
    INFERRED = "inferred"
    """Anything weaker; the text report marks it with ``~``."""


@dataclass(frozen=True, kw_only=True)
class Reread:
    """How a person reads a value again."""

    crash: str | None = None
    """A command for the ``crash>`` prompt."""
    crashkit: str | None = None
    """An expression for ``crashkit shell``, with ``prog`` and ``crash`` in scope."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A named number or text with its origin and certainty."""

    name: str
    """What it is, in the kernel's words, e.g. ``ct->ct_net``."""
    value: int | str
    """The number (unsigned) or the text."""
    origin: Origin
    """Where it was taken from."""
    certainty: Certainty = Certainty.PROVED
    """Whether it follows from the dump and the ABI."""
    ctype: str | None = None
    """The C type, e.g. ``struct net *``; None for text."""
    address: int | None = None
    """Where in memory it was read; None for registers and text."""
    identity: str | None = None
    """What a pointer points at: ``init_net``, ``slab object nf_conntrack``."""
    corroborated_by: tuple[Origin, ...] = ()
    """Other origins that independently gave the same value."""
    reread: Reread | None = None
    """How to read it again; None for text input."""
