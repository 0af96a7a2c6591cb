"""A freed object that was followed: what crashkit says of it is what the guest printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from crashkit.crash import Crash
from crashkit.finding import Finding, Verdict
from crashkit.pipeline import triage
from crashkit.recipe import load_recipes, run_recipe
from tests.samples.conftest import SAMPLES, open_sample, read_toml, required_pages

pytestmark = pytest.mark.sample

NAME = "kind-uaflist"
RECIPE = "freed-object-read"
Sample = Callable[[str], Crash]


@pytest.fixture
def crash(sample: Sample) -> Crash:
    return sample(NAME)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return read_toml(NAME, "expected.toml")


def run(crash: Crash, recipe_id: str = RECIPE) -> Finding | None:
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def test_expected_values_are_those_the_guest_printed(expected: dict[str, Any]) -> None:
    console = (SAMPLES / NAME / "console.txt").read_text()
    printed = expected["printed"]
    for pattern, key in (
        (r"kinds: lease=([0-9a-f]{16})", "lease"),
        (r"RAX: ([0-9a-f]{16})", "next"),
        (r"non-canonical address (0x[0-9a-f]{16})", "address"),
    ):
        found = re.search(pattern, console)
        assert found is not None
        assert int(found[1], 16) == int(printed[key], 16)


def test_the_crash(crash: Crash, expected: dict[str, Any]) -> None:
    report = triage(crash).document
    wanted = expected["panic"]
    panic = report["panic"]
    assert (panic["kind"], panic["title"]) == (wanted["kind"], wanted["title"])
    assert (panic["cpu"], panic["comm"]) == (wanted["cpu"], wanted["comm"])
    assert crash.thread.pid == wanted["pid"]
    fault = report["fault"]
    assert (fault["symbol"], fault["expression"]) == (
        wanted["symbol"],
        expected["fault"]["expression"],
    )
    assert fault["null_or_bad"] == expected["fault"]["bad"]
    values = {
        link["expression"]: int(link["value"], 16) for link in fault["chain"] if link["value"]
    }
    assert values["lease"] == int(expected["printed"]["lease"], 16)
    assert values["lease->next"] == int(expected["printed"]["next"], 16)


def test_the_pointer_is_the_allocators(crash: Crash, expected: dict[str, Any]) -> None:
    lease = int(expected["printed"]["lease"], 16)
    link = crash.prog.read_u64(lease + expected["fault"]["link_offset"])
    assert link == int(expected["printed"]["next"], 16)
    found = run(crash)
    assert found is not None
    assert expected["fault"]["cache"] in " ".join(check.note for check in found.checks)


def test_verdicts(crash: Crash, expected: dict[str, Any]) -> None:
    for recipe_id, verdict in expected["recipes"].items():
        found = run(crash, recipe_id)
        assert found is not None, recipe_id
        assert found.verdict is Verdict(verdict), [(c.id, c.holds, c.why_not) for c in found.checks]
    found = run(crash)
    assert found is not None
    assert list(found.classes) == expected["classes"][RECIPE]


def test_nothing_else_is_confirmed(crash: Crash) -> None:
    findings = [run(crash, recipe.meta.id) for recipe in load_recipes().recipes]
    confirmed = [f.recipe for f in findings if f is not None and f.verdict is Verdict.CONFIRMED]
    assert confirmed == [RECIPE]


def test_no_verdict_survives_the_loss_of_a_page_it_rests_on(crash: Crash) -> None:
    found = run(crash)
    assert found is not None
    pages = required_pages(found)
    assert pages
    for page in pages:
        with open_sample(NAME, (page,)) as without:
            masked = run(without)
        assert masked is None or masked.verdict is Verdict.INCONCLUSIVE, f"{page:#x}"
