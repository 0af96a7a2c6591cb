"""What recovering an argument gives."""

from __future__ import annotations

from crashkit.errors import Reason
from crashkit.value import Certainty, Origin, facts


@facts
class Argument:
    """A recovered argument: the value that was passed."""

    name: str
    ctype: str
    value: int
    """Unsigned, of the parameter's size."""
    current: int | None = None
    """Value of the parameter's variable now, where that is another."""
    origin: Origin
    certainty: Certainty
    corroborated_by: tuple[Origin, ...] = ()
    """Ways that gave the same value without using ``origin``'s."""
    how: str
    """The proof, as an expert would write it."""
    identity: str | None = None
    conflict: str | None = None
    """The ways that should agree and do not; ``value`` is then one of theirs, not proved."""


@facts
class MissingArgument:
    """A parameter whose value cannot be had, and why."""

    name: str
    ctype: str
    reason: Reason
    detail: str = ""


@facts
class Holder:
    """A frame that has a value: in a register, a slot, or as an argument."""

    stack: str
    """The name given to the stack."""
    index: int
    function: str | None
    place: str
    """``argument skb``, ``r13``, ``slot ffff…8a0``."""
    certainty: Certainty
