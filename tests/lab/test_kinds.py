"""Crashes of every kind, of objects whose truth the guest printed; only .ci/full makes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.lab.conftest import lab_folder
from tests.lab.kinds_score import EVERY, KERNELS, Answer, expected_of, load_expected, score

pytestmark = pytest.mark.lab

TABLE = load_expected()
# What of a hundred answers is right at least, over all dumps of both kernels.
FLOORS = {"kind": 97, "function": 97, "access": 97, "address": 97, "expression": 95, "bad": 95}

every = pytest.mark.parametrize("kernel", KERNELS)
each = pytest.mark.parametrize("name", TABLE)


def made(name: str, kernel: str) -> Path:
    """The folder of a dump of .ci/full; skips, saying so, where only .ci/run has run."""
    folder = lab_folder() / f"kind-{name}-{kernel}"
    if not folder.is_dir():
        pytest.skip(f"kind-{name}-{kernel} is made by .ci/full")
    return folder


@cache
def scored(folder: Path) -> tuple[Answer, ...]:
    """Triage a dump once for all tests of it, by the types in the dump itself."""
    name, _, kernel = folder.name.removeprefix("kind-").rpartition("-")
    return tuple(score(folder, expected_of(TABLE, name, kernel), "btf"))


@every
@each
def test_nothing_that_triage_says_is_wrong(name: str, kernel: str) -> None:
    answers = scored(made(name, kernel))
    assert answers, "nothing was asked"
    assert [answer for answer in answers if answer.state == "wrong"] == []


@every
@pytest.mark.parametrize("aspect", FLOORS)
def test_enough_is_said(aspect: str, kernel: str) -> None:
    folders = [lab_folder() / f"kind-{name}-{kernel}" for name in TABLE]
    there = [folder for folder in folders if folder.is_dir()]
    if not there:
        pytest.skip("the kinds of crashes are made by .ci/full")
    asked = [answer for folder in there for answer in scored(folder) if answer.aspect == aspect]
    right = [answer for answer in asked if answer.state in ("right", "shallow")]
    assert len(right) * 100 >= FLOORS[aspect] * len(asked), [a for a in asked if a not in right]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_asks_only_what_can_be_answered(name: str) -> None:
    keys = {key for key in TABLE[name] if not key[0].isdigit()}
    assert keys <= set(EVERY)
    assert "kind" in keys
