"""Crashes of every kind, of objects whose truth the guest printed; .ci/full makes all of them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

import crashkit
from tests.lab.conftest import full_folder, lab_folder
from tests.lab.kinds_score import EVERY, KERNELS, Answer, expected_of, load_expected, score

pytestmark = pytest.mark.lab

TABLE = load_expected()
# What of a hundred answers is right at least, over all dumps of both kernels.
FLOORS = {"kind": 97, "function": 97, "access": 97, "address": 97, "expression": 95, "bad": 95}

every = pytest.mark.parametrize("kernel", KERNELS)
each = pytest.mark.parametrize("name", TABLE)


def there(kernel: str) -> list[Path]:
    """The folders of those that were made: some by .ci/run, all by .ci/full."""
    folders = [lab_folder() / f"kind-{name}-{kernel}" for name in TABLE]
    return [folder for folder in folders if folder.is_dir()]


@cache
def scored(folder: Path) -> tuple[Answer, ...]:
    """Triage a dump once for all tests of it, by the types in the dump itself."""
    name, _, kernel = folder.name.removeprefix("kind-").rpartition("-")
    return tuple(score(folder, expected_of(TABLE, name, kernel), "btf"))


@every
@each
def test_nothing_that_triage_says_is_wrong(name: str, kernel: str) -> None:
    answers = scored(full_folder(f"kind-{name}-{kernel}"))
    assert answers, "nothing was asked"
    assert [answer for answer in answers if answer.state == "wrong"] == []


@every
def test_a_threads_argument_is_what_its_own_structure_has(kernel: str) -> None:
    folder = full_folder(f"kind-thread-{kernel}")
    with crashkit.open(folder / "vmcore", types="btf") as crash:
        fault = crash.fault
        assert fault is not None
        (step,) = [one for one in fault.origins if one.expression == "kthread_data(current)"]
    assert (step.value, step.now) == (fault.chain[0].value, fault.chain[0].value)
    assert step.address is not None


@every
@pytest.mark.skipif(not os.environ.get("CI"), reason="only CI has to have any")
def test_some_kinds_are_there(kernel: str) -> None:
    assert len(there(kernel)) >= 8


@every
@pytest.mark.parametrize("aspect", FLOORS)
def test_enough_is_said(aspect: str, kernel: str) -> None:
    asked = [
        answer for folder in there(kernel) for answer in scored(folder) if answer.aspect == aspect
    ]
    right = [answer for answer in asked if answer.state in ("right", "shallow")]
    if not asked:
        pytest.skip("no dump that is there is asked for it")
    assert len(right) * 100 >= FLOORS[aspect] * len(asked), [a for a in asked if a not in right]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_asks_only_what_can_be_answered(name: str) -> None:
    keys = {key for key in TABLE[name] if not key[0].isdigit()}
    assert keys <= set(EVERY)
    assert "kind" in keys
