"""The full connection table, from what text alone tells, and where there is no conntrack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crashkit.finding import Verdict
from crashkit.recipe import Recipe, load_recipes, run_recipe
from tests.unit.report_doubles import FakeCrash, as_crash, empty

PRINTED = (
    "[ 9.1] nf_conntrack: nf_conntrack: table full, dropping packet",
    "nf_conntrack: table full, dropping packet",
    "<4>ip_conntrack: table full, dropping packet.",
    "nf_conntrack: nf_conntrack: table full in netns 4026531840, dropping packet",
)


@pytest.fixture
def recipe() -> Recipe:
    found = load_recipes().find("nf-conntrack-table-full")
    assert found is not None
    return found


def with_log(log: str, target_format: str) -> FakeCrash:
    crash = empty()
    return replace(crash, log_=log, target=replace(crash.target, format=target_format))


@pytest.mark.parametrize("log", PRINTED)
def test_text_says_that_it_happened_and_asks_for_the_rest(recipe: Recipe, log: str) -> None:
    found = run_recipe(recipe, as_crash(with_log(f"before\n{log}\nafter\n", "text")))
    assert found is not None
    assert found.error is None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.classes == ()
    holding = {check.id for check in found.checks if check.holds}
    assert holding == {"message"}
    asked = " ".join(found.to_settle)
    for word in ("nf_conntrack_count", "nf_conntrack_max", "conntrack -L", "conntrack -S"):
        assert word in asked


@pytest.mark.parametrize("target_format", ["text", "kdump"])
@pytest.mark.parametrize("log", ["", "conncount: table full of numbers", "nf_conntrack: full"])
def test_nothing_to_say_without_the_message(recipe: Recipe, log: str, target_format: str) -> None:
    assert run_recipe(recipe, as_crash(with_log(log, target_format))) is None


def test_a_lost_log_is_not_a_quiet_one_but_no_reason_either(recipe: Recipe) -> None:
    crash = empty()
    assert crash.log_ is None
    assert run_recipe(recipe, as_crash(crash)) is None
