"""Running a recipe on a crash: each check on its own, its bugs shown as bugs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from crashkit.errors import Reason, Unavailable, in_brief
from crashkit.finding import (
    Check,
    CheckSpec,
    Finding,
    Fix,
    Role,
    Verdict,
    evaluate,
    unavailable,
    verdict_of,
)
from crashkit.recipe.loading import Recipe, describe, where

if TYPE_CHECKING:
    from crashkit.crash import Crash

T = TypeVar("T")

MAX_CHECKS = 200
"""Checks of one recipe; a generator that yields more does not end."""


@dataclass
class _Run:
    # One recipe on one crash: the checks so far and the first thing that went wrong.
    recipe: Recipe
    crash: Crash
    error: str | None = None
    checks: list[Check] = field(default_factory=list)

    def blame(self, bug: BaseException) -> None:
        if self.error is None:
            self.error = f"{where(self.recipe.source, bug)}: {describe(bug)}"

    def guard(self, call: Callable[[], T], fallback: T) -> T:
        try:
            return call()
        except Exception as bug:  # noqa: BLE001 - a recipe's own bug is shown as its error
            self.blame(bug)
            return fallback


def run_recipe(recipe: Recipe, crash: Crash) -> Finding | None:
    """Run a recipe.

    A recipe's own exception makes the finding inconclusive and is its ``error``.

    :returns: None when its symptom does not fit this crash
    :raises Unavailable: what ``applies`` looks at cannot be had, so nobody knows
    """
    run = _Run(recipe, crash)
    try:
        with unavailable("its symptom"):
            applies = bool(recipe.applies(crash))
    except Unavailable as missing:
        raise _unknown(recipe, missing) from missing
    except Exception as bug:  # noqa: BLE001 - a recipe's own bug is shown as its error
        run.blame(bug)
        return _finding(run)
    if not applies:
        return None
    for spec in _specs(run):
        run.checks.append(run.guard(lambda spec=spec: evaluate(spec), _broken(spec)))  # type: ignore[misc]
    return _finding(run)


def _unknown(recipe: Recipe, missing: Unavailable) -> Unavailable:
    return Unavailable(f"whether {recipe.meta.id} applies", missing.reason, str(missing))


def _specs(run: _Run) -> Iterator[CheckSpec]:
    none: Iterator[CheckSpec] = iter(())
    specs = run.guard(lambda: iter(run.recipe.checks(run.crash)), none)
    end = object()
    for _ in range(MAX_CHECKS):
        spec: object = run.guard(lambda: next(specs, end), end)
        if spec is end:
            return
        if not isinstance(spec, CheckSpec):
            run.blame(TypeError(f"checks() yielded {type(spec).__name__}, not a check"))
            return
        yield spec
    run.blame(RuntimeError(f"checks() yields more than {MAX_CHECKS} checks"))


def _broken(spec: CheckSpec) -> Check:
    return Check(
        id=spec.id,
        role=spec.role,
        statement=spec.statement,
        holds=None,
        why_not="the recipe has an error",
        reason=Reason.UNSUPPORTED,
    )


def _finding(run: _Run) -> Finding:
    meta = run.recipe.meta
    checks = tuple(run.checks)
    fix = _fix(run)
    history = _texts(run, run.recipe.history, meta.history)
    verdict = _verdict(run, checks)
    classes = _classes(run, checks)
    advice = _advice(run, checks)
    to_settle: tuple[str, ...] = ()
    if verdict is Verdict.INCONCLUSIVE:
        to_settle = _to_settle(run, checks)
    # A part that raised after the checks makes the finding inconclusive as well.
    verdict = _verdict(run, checks)
    return Finding(
        recipe=meta.id,
        verdict=verdict,
        claim=meta.claim,
        checks=checks,
        classes=() if verdict is Verdict.REFUTED else classes,
        history=() if verdict is Verdict.REFUTED else history,
        told_apart_from=meta.told_apart_from,
        fix=fix,
        advice=advice,
        to_settle=to_settle,
        error=run.error,
    )


def _advice(run: _Run, checks: Sequence[Check]) -> str | None:
    tell = run.recipe.advice
    if tell is None:
        return run.recipe.meta.advice
    clauses = _texts(run, lambda crash: tell(crash, checks), ())
    return "; ".join(clauses) or run.recipe.meta.advice


def _classes(run: _Run, checks: Sequence[Check]) -> tuple[str, ...]:
    tell = run.recipe.classes
    if tell is None:
        return run.recipe.meta.classes
    return _texts(run, lambda crash: tell(crash, checks), ())


def _verdict(run: _Run, checks: Sequence[Check]) -> Verdict:
    verdict = Verdict.INCONCLUSIVE if run.error else verdict_of(checks)
    if verdict is Verdict.CONFIRMED and run.crash.target.format == "text":
        return Verdict.INCONCLUSIVE  # text can refute; it never confirms
    return verdict


def _fix(run: _Run) -> Fix | None:
    meta_fix, look = run.recipe.meta.fix, run.recipe.fix
    if look is None or run.error is not None:
        return meta_fix

    def ask() -> Fix | None:
        try:
            with unavailable("the fix in this binary"):
                return look(run.crash)
        except Unavailable as missing:
            return meta_fix and replace(meta_fix, in_this_binary=None, how_seen=str(missing))

    return run.guard(ask, meta_fix)


def _texts(
    run: _Run, tell: Callable[[Crash], Sequence[str]] | None, otherwise: tuple[str, ...]
) -> tuple[str, ...]:
    if tell is None or run.error is not None:
        return otherwise

    def ask() -> tuple[str, ...]:
        try:
            with unavailable("this recipe's words"):
                return tuple(tell(run.crash))
        except Unavailable:
            return otherwise

    return run.guard(ask, otherwise)


def _missing(checks: Sequence[Check]) -> tuple[str, ...]:
    # Each value that could not be had, with the checks that wait for it.
    waiting: dict[str, list[str]] = {}
    for check in checks:
        if check.holds is None and check.role is not Role.SUPPORTING:
            value = in_brief(check.why_not or "")
            waiting.setdefault(value, []).append(check.id)
    return tuple(f"{value} ({', '.join(ids)})" for value, ids in waiting.items())


def _to_settle(run: _Run, checks: Sequence[Check]) -> tuple[str, ...]:
    tell = run.recipe.to_settle
    # Of text alone nothing in memory can be read: that there is no dump says it all.
    text = run.crash.target.format == "text"
    unread = ("the vmcore of this crash",) if text else _missing(checks)
    if tell is None:
        return unread
    return _texts(run, lambda crash: tell(crash, checks), unread)
