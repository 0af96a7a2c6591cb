"""The mutation check can still be made: what it replaces is there, once."""

from __future__ import annotations

import ast

import pytest

from tests.soundness.mutants import MUTANTS, Mutant
from tests.soundness.mutate import ROOT, anchors


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_is_there(mutant: Mutant) -> None:
    assert anchors(mutant) == 1
    text = (ROOT / mutant.path).read_text()
    ast.parse(text.replace(mutant.before, mutant.after, 1))


def test_the_table_lists_every_mutant() -> None:
    table = (ROOT / "docs" / "soundness.md").read_text()
    assert [mutant.name for mutant in MUTANTS if f"| {mutant.name} |" not in table] == []
    assert "**none**" not in table
