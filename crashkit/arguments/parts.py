"""What recovering an argument gives."""

from __future__ import annotations

from dataclasses import dataclass

from crashkit.errors import Reason
from crashkit.value import Certainty, Origin


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A recovered argument: the value that was passed."""

    name: str
    ctype: str
    value: int
    current: int | None = None
    """Value of the parameter's variable now, where that is another."""
    origin: Origin
    certainty: Certainty
    corroborated_by: tuple[Origin, ...] = ()
    how: str
    """The proof, as an expert would write it."""
    identity: str | None = None
    conflict: str | None = None


@dataclass(frozen=True, kw_only=True)
class MissingArgument:
    """A parameter whose value cannot be had, and why."""

    name: str
    ctype: str
    reason: Reason
