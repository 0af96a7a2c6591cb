"""Titles and kinds against syzkaller's own expectations."""

from __future__ import annotations

import pytest

from crashkit.oops import Oops, parse_oops, parse_reports
from tests.corpus.syzkaller import (
    Sample,
    corpus,
    is_comparable,
    is_same_kind,
    is_same_title,
    read_samples,
)

TITLES = 0.90
KINDS = 0.95

if not corpus().is_dir():
    pytest.skip(
        f"{corpus()} is not there: it holds syzkaller's test reports; set CRASHKIT_CORPUS",
        allow_module_level=True,
    )

Pair = tuple[Sample, Oops | None]


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return [
        (sample, next(iter(parse_reports(sample.log)), None)) for sample in read_samples(corpus())
    ]


def share(good: int, all_: int, what: str) -> float:
    print(f"{what}: {good} of {all_} = {good / all_:.1%}")  # noqa: T201
    return good / all_


def test_titles_are_equal(pairs: list[Pair]) -> None:
    known = [pair for pair in pairs if pair[0].title is not None and is_comparable(pair[0])]
    exact = sum(found is not None and found.title == sample.title for sample, found in known)
    share(exact, len(known), "titles, letter by letter")
    equal = sum(is_same_title(*pair) for pair in known)
    assert share(equal, len(known), "titles, but for the differences listed") >= TITLES


def test_kinds_are_equal(pairs: list[Pair]) -> None:
    known = [pair for pair in pairs if pair[0].type is not None and is_comparable(pair[0])]
    assert share(sum(is_same_kind(*pair) for pair in known), len(known), "kinds") >= KINDS


def test_logs_without_a_crash_give_none(pairs: list[Pair]) -> None:
    found = [(sample.name, oops.title) for sample, oops in pairs if sample.title is None and oops]
    assert found == []


def test_the_first_cause_is_the_title_of_a_log(pairs: list[Pair]) -> None:
    known = [pair for pair in pairs if pair[1] is not None]
    chosen = [(parse_oops(sample.log, first_cause=True), first) for sample, first in known]
    same = sum(oops is not None and oops.title == first.title for oops, first in chosen if first)
    assert share(same, len(known), "first report chosen") >= TITLES


def test_titles_do_not_change_from_reading_to_reading(pairs: list[Pair]) -> None:
    for sample, found in pairs[::7]:
        again = next(iter(parse_reports(sample.log)), None)
        assert (again and again.title, again and again.stack_key) == (
            found and found.title, found and found.stack_key)  # fmt: skip
