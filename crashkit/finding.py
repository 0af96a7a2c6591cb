"""Checks, findings and the verdict that folds them.

A recipe lists checks; each is evaluated on its own, so that a value which is not in
the dump makes one check "not read" and leaves the others standing. The verdict is
never stated by a recipe: it is the fold of the necessary and excluding checks
(``architecture.md`` §3).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from drgn import FaultError, ObjectAbsentError, ObjectNotFoundError

from crashkit.errors import Reason, Unavailable
from crashkit.value import Value, facts


class Role(enum.Enum):
    """What a check does to the verdict."""

    NECESSARY = "necessary"
    """All must hold to confirm; one that fails refutes."""
    EXCLUDING = "excluding"
    """One that holds refutes."""
    SUPPORTING = "supporting"
    """Shown; never changes the verdict."""


class Verdict(enum.Enum):
    """What the dump says of a recipe's claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


@facts
class Observation:
    """What one look at the dump gave: whether the statement holds, and the values seen."""

    holds: bool
    """Whether the check's statement is true of these values."""
    values: tuple[Value, ...]
    """The values it rests on; never empty."""
    note: str = ""
    """A few words shown beside the values; may be empty."""


@facts
class CheckSpec:
    """A check as a recipe yields it: not evaluated yet."""

    id: str
    """Short and stable within the recipe, e.g. ``ct-differs``."""
    role: Role
    statement: str
    """One clause that is true or false of the dump."""
    observe: Callable[[], Observation]
    """Reads the values and decides; may raise :class:`Unavailable`."""


@facts
class Check:
    """A check after it was evaluated."""

    id: str
    role: Role
    statement: str
    holds: bool | None
    """None: a value it needs could not be had."""
    values: tuple[Value, ...] = ()
    note: str = ""
    why_not: str | None = None
    """Why ``holds`` is None, in one phrase."""
    reason: Reason | None = None
    """The class of that reason."""


@facts
class Fix:
    """The commit that fixes a bug, and whether the running binary has it."""

    upstream: str
    """Abbreviated commit id in Linus' tree, 12 digits."""
    title: str
    release: str
    """First mainline release that has it, e.g. ``v5.19``."""
    stable: tuple[str, ...] = ()
    """Stable releases that carry it, newest series first."""
    distributions: tuple[str, ...] = ()
    """What is known of distribution builds, a phrase each."""
    in_this_binary: bool | None = None
    """Seen in the binary's instructions; None when not decided."""
    how_seen: str | None = None
    """The instructions that decided, or why nothing did."""


@facts
class Finding:
    """A recipe's result on one dump."""

    recipe: str
    verdict: Verdict
    claim: str
    checks: tuple[Check, ...]
    classes: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    """What led to the states, always inferred; never part of the verdict."""
    told_apart_from: tuple[str, ...] = ()
    fix: Fix | None = None
    advice: str | None = None
    to_settle: tuple[str, ...] = ()
    """What would turn an inconclusive verdict into one."""
    error: str | None = None
    """A recipe's own bug; the verdict is then inconclusive."""


def necessary(id_: str, statement: str, observe: Callable[[], Observation]) -> CheckSpec:
    """Make a check that must hold for the claim to be confirmed."""
    return CheckSpec(id=id_, role=Role.NECESSARY, statement=statement, observe=observe)


def excluding(id_: str, statement: str, observe: Callable[[], Observation]) -> CheckSpec:
    """Make a check that refutes the claim when it holds."""
    return CheckSpec(id=id_, role=Role.EXCLUDING, statement=statement, observe=observe)


def supporting(id_: str, statement: str, observe: Callable[[], Observation]) -> CheckSpec:
    """Make a check that is shown and never changes the verdict."""
    return CheckSpec(id=id_, role=Role.SUPPORTING, statement=statement, observe=observe)


def seen(holds: bool, *values: Value, note: str = "") -> Observation:
    """Make an observation; at least one value is required, or nothing was observed.

    :raises ValueError: no value was given
    """
    if not values:
        raise ValueError("an observation needs the values it rests on")
    return Observation(holds=holds, values=values, note=note)


@contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn drgn's words for "not there" into :class:`Unavailable`.

    A plain ``LookupError`` is drgn's for a type or member; its children ``KeyError`` and
    ``IndexError`` are bugs and pass through, but for drgn's own ``ObjectNotFoundError``.

    :raises Unavailable: a page is missing, or nothing describes a name
    """
    try:
        yield
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except ObjectNotFoundError as unknown:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    except ObjectAbsentError as absent:
        raise Unavailable(what, Reason.OPTIMIZED_OUT, str(absent)) from absent
    except LookupError as unknown:
        if type(unknown) is not LookupError:
            raise
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown


def evaluate(spec: CheckSpec) -> Check:
    """Evaluate one check.

    A page that is not in the dump or a type nobody describes makes it null with
    ``why_not``; any other exception is the recipe's bug and passes through.
    """
    try:
        with unavailable(spec.id):
            observation = spec.observe()
    except Unavailable as missing:
        return _not_read(spec, _words(spec, missing), missing.reason)
    return Check(
        id=spec.id,
        role=spec.role,
        statement=spec.statement,
        holds=observation.holds,
        values=observation.values,
        note=observation.note,
    )


def _words(spec: CheckSpec, missing: Unavailable) -> str:
    return missing.detail if missing.what == spec.id and missing.detail else str(missing)


def _not_read(spec: CheckSpec, why_not: str, reason: Reason) -> Check:
    return Check(
        id=spec.id,
        role=spec.role,
        statement=spec.statement,
        holds=None,
        why_not=why_not,
        reason=reason,
    )


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Fold checks into a verdict (``architecture.md`` §3).

    An excluding check that holds, or a necessary one that fails, refutes; all
    necessary ones holding confirms; anything else is inconclusive.
    """
    if any(c.role is Role.EXCLUDING and c.holds is True for c in checks):
        return Verdict.REFUTED
    required = [c for c in checks if c.role is Role.NECESSARY]
    if any(c.holds is False for c in required):
        return Verdict.REFUTED
    if required and all(c.holds is True for c in required):
        return Verdict.CONFIRMED
    return Verdict.INCONCLUSIVE


def count_required(checks: Sequence[Check]) -> tuple[int, int, int]:
    """Count the necessary checks that hold, fail and were not read."""
    required = [c for c in checks if c.role is Role.NECESSARY]
    holding = sum(1 for c in required if c.holds is True)
    failing = sum(1 for c in required if c.holds is False)
    return holding, failing, len(required) - holding - failing
