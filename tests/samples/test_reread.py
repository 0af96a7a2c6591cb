"""Every ``reread`` expression, evaluated in drgn, gives the number that was shown."""

from __future__ import annotations

import drgn
import pytest

import crashkit.decode
from crashkit.finding import Finding
from crashkit.layout import offset_of
from crashkit.recipe import load_recipes, run_recipe
from crashkit.value import Value
from tests.samples.conftest import NAMES, open_sample

pytestmark = pytest.mark.sample

# How many values a sample's findings have; 10 where it is not named.
FEWEST = {"clash-el7": 5, "kind-uaflist": 3}


def plain(result: object, value: Value) -> object:
    """A drgn result in the form the report shows."""
    if isinstance(result, bool):
        return "yes" if result else "no"
    if isinstance(result, drgn.Object) and isinstance(value.value, int):
        return int(result) & ((1 << 64) - 1)
    return result


def values(found: Finding) -> list[Value]:
    return [value for check in found.checks for value in check.values]


@pytest.mark.parametrize("name", NAMES)
def test_rereads_give_the_numbers_shown(name: str) -> None:
    with open_sample(name) as crash:
        scope = {
            **{key: getattr(crashkit.decode, key) for key in crashkit.decode.__all__},
            "crash": crash,
            "prog": crash.prog,
            "Object": drgn.Object,
            "offset_of": offset_of,
        }
        checked = 0
        for recipe in load_recipes().recipes:
            found = run_recipe(recipe, crash)
            for value in values(found) if found else ():
                if value.reread is None or value.reread.crashkit is None:
                    continue
                result = eval(value.reread.crashkit, scope)  # the expression a person would type
                assert plain(result, value) == value.value, value.reread.crashkit
                checked += 1
        assert checked >= FEWEST.get(name, 10)
