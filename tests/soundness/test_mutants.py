"""The mutation check can still be made: what it replaces is there, once."""

from __future__ import annotations

import ast

import pytest

from tests.soundness.mutants import MUTANTS, Mutant
from tests.soundness.mutate import ROOT, anchors, dropped, main


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_is_there(mutant: Mutant) -> None:
    assert anchors(mutant) == 1
    text = (ROOT / mutant.path).read_text()
    assert ast.dump(ast.parse(dropped(mutant, text))) != ast.dump(ast.parse(text))


def test_names_are_not_repeated() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names))


def test_a_mutant_that_cannot_be_made_is_named_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = Mutant("a rule that moved", MUTANTS[0].path, "no such text", "")
    monkeypatch.setattr("tests.soundness.mutate.MUTANTS", (moved,))
    monkeypatch.setattr("tests.soundness.mutate.run_tests", pytest.fail)
    assert main([]) == 1
    assert "GONE      a rule that moved" in capsys.readouterr().out
    assert main(["no such rule"]) == 1
    assert "NO MUTANT no such rule" in capsys.readouterr().out
    with pytest.raises(ValueError, match="a rule that moved"):
        dropped(moved, "some text")


def test_the_table_lists_every_mutant() -> None:
    table = (ROOT / "docs" / "soundness.md").read_text()
    assert [mutant.name for mutant in MUTANTS if f"| {mutant.name} |" not in table] == []
    assert "**none**" not in table
