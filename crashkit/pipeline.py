"""From a crash to its report: run the recipes, build the document, choose the exit code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crashkit.doctor import climb
from crashkit.errors import Reason, Unavailable
from crashkit.recipe import Recipes, load_recipes, run_recipe
from crashkit.report import build_report, limit_entry, render_json, render_text

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.doctor import Rung
    from crashkit.finding import Finding
    from crashkit.report import Json

NO_SYMBOLS = 4
BROKEN_RECIPE = 1
PARTIAL = 5
INTERRUPTED = 130


class Report(dict[str, Any]):
    """The document of ``architecture.md`` §5, with its exit code and its texts.

    :ivar exit_code: what ``crashkit triage`` ends with
    """

    def __init__(self, document: Json, exit_code: int) -> None:
        super().__init__(document)
        self.exit_code = exit_code

    @property
    def document(self) -> Json:
        """The document as a plain dict."""
        return dict(self)

    def text(self, verbose: int = 0) -> str:
        """Render it as text."""
        return render_text(self, verbose)

    def json(self) -> str:
        """Render it as JSON."""
        return render_json(self)


def triage(
    crash: Crash,
    *,
    recipes: Recipes | None = None,
    reached: Callable[[Rung], None] | None = None,
) -> Report:
    """Explain a crash: everything, as one report.

    :param recipes: those to run; crashkit's own and the installed ones by default
    :param reached: called with each rung of the ladder as soon as it was looked at
    """
    started = time.monotonic()
    ladder = []
    for rung in climb(crash):
        ladder.append(rung)
        if reached is not None:
            reached(rung)
    known = load_recipes() if recipes is None else recipes
    findings, limits, interrupted = _run_all(known, crash)
    errors = [*map(str, known.errors), *(f"recipe {f.error}" for f in findings if f.error)]
    document = build_report(
        crash,
        findings,
        ladder=ladder,
        tried=[recipe.meta.id for recipe in known.recipes],
        limits=limits,
        errors=errors,
        timing={**crash.timing, "recipes": time.monotonic() - started},
    )
    total = crash.timing.get("open", 0.0) + time.monotonic() - started
    document["timing_s"]["total"] = round(total, 3)
    code = INTERRUPTED if interrupted else exit_code(crash, broken=bool(errors))
    return Report(document, code)


def _run_all(known: Recipes, crash: Crash) -> tuple[list[Finding], list[Json], bool]:
    # The findings, what is not known, and whether a person stopped it half way.
    findings: list[Finding] = []
    limits: list[Json] = []
    for recipe in known.recipes:
        try:
            finding = run_recipe(recipe, crash)
        except Unavailable as missing:
            limits.append(limit_entry(missing.what, missing.reason, missing.detail))
            continue
        except KeyboardInterrupt:
            what = f"{recipe.meta.id} and the recipes after it: interrupted"
            limits.append(limit_entry(what, Reason.BUDGET, "run it again and let it end"))
            return findings, limits, True
        if finding is not None:
            findings.append(finding)
    return findings, limits, False


def exit_code(crash: Crash, *, broken: bool = False) -> int:
    """Choose the exit code of a command that could open its dump (``architecture.md`` §4).

    :param broken: a recipe has an error
    """
    partial = crash.target.truncated or crash.target.missing_bytes > 0
    # Of a truncated dump the names went with the lost pages: no debug package would help.
    if crash.types in ("symbols", "none") and crash.target.format != "text" and not partial:
        return NO_SYMBOLS
    if broken:
        return BROKEN_RECIPE
    return PARTIAL if partial else 0
