"""Recovered arguments against the truth that a guest's kprobes logged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crashkit.crash import open_crash
from tests.truth.rows import for_each_row
from tests.truth.tally import Row, describe, score, wrong_rows

pytestmark = pytest.mark.lab

#: Dump of .ci/lab-cores → least proved answers that were checked, in all frames.
DUMPS = {"truth-6.1": 600, "truth-6.12": 400}


@pytest.fixture(scope="module", params=DUMPS)
def scored(request: pytest.FixtureRequest) -> tuple[str, list[Row]]:
    folder = os.environ.get("CRASHKIT_LAB_CORES")
    if not folder:
        pytest.skip(
            "CRASHKIT_LAB_CORES does not name dumps of samples/lab; .ci/lab-cores makes them"
        )
    path = Path(folder, request.param, "vmcore")
    if not path.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"there is no {path}, and CI skips nothing")
        pytest.skip(f"there is no {path}")
    with open_crash(path, types="btf") as crash:
        return request.param, list(for_each_row(crash, request.param))


def test_nothing_proved_is_wrong(scored: tuple[str, list[Row]]) -> None:
    _, rows = scored
    assert [describe(row) for row in wrong_rows(rows)] == []


def test_enough_was_checked(scored: tuple[str, list[Row]]) -> None:
    name, rows = scored
    found = score(row for row in rows if not row.is_register)
    assert found.activations.right >= DUMPS[name]


def test_pointers_are_recovered_without_debug_info(scored: tuple[str, list[Row]]) -> None:
    _, rows = scored
    pointers = score(row for row in rows if row.pointer)
    assert pointers.proved.total >= 0.8 * pointers.sites
    assert pointers.proved.right > pointers.linear.right
    assert pointers.linear.wrong > 0  # the comparison can tell wrong from right
