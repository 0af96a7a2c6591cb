"""No verdict survives the loss of the values it rests on."""

from __future__ import annotations

import pytest

from crashkit.finding import Finding, Role, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.samples.conftest import PAGE, open_sample, read_toml

pytestmark = pytest.mark.sample

NAME = "clash-ct-net"


def verdict(*masked: int) -> Finding | None:
    """Run the recipe with these addresses' pages taken out of the dump."""
    (recipe,) = (r for r in load_recipes().recipes if NAME in r.meta.matches)
    with open_sample(NAME, masked) as crash:
        found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def is_confirmed(found: Finding | None) -> bool:
    return found is not None and found.verdict is Verdict.CONFIRMED


def test_unmasked_is_confirmed() -> None:
    assert is_confirmed(verdict())


def test_every_page_a_required_value_was_read_from_matters() -> None:
    found = verdict()
    assert found is not None
    pages = {
        value.address & ~(PAGE - 1)
        for check in found.checks
        if check.role is Role.NECESSARY
        for value in check.values
        if value.address is not None
    }
    assert len(pages) >= 3
    for page in pages:
        masked = verdict(page)
        assert not is_confirmed(masked), f"page {page:#x} did not matter"
        assert masked is None or masked.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("table", "key", "unread"),
    [
        ("ct", "address", "winner-confirmed"),
        ("skb", "address", "ct-differs"),
    ],
)
def test_masked_object_makes_its_check_unread(table: str, key: str, unread: str) -> None:
    expected = read_toml(NAME, "expected.toml")
    found = verdict(int(expected[table][key], 0))
    assert found is not None
    check = next(c for c in found.checks if c.id == unread)
    assert check.holds is None
    assert check.why_not
    assert found.verdict is Verdict.INCONCLUSIVE


def test_masked_code_leaves_the_expression_unknown() -> None:
    pc = int(read_toml(NAME, "expected.toml")["panic"]["pc"], 0)
    found = verdict(pc)
    assert found is not None
    assert found.verdict is Verdict.INCONCLUSIVE
    assert next(c for c in found.checks if c.id == "net-null").holds is None
