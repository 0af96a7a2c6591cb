"""The verdict is the fold of the checks, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from drgn import FaultError

from crashkit.errors import Reason, Unavailable
from crashkit.finding import (
    Check,
    Observation,
    Role,
    Verdict,
    count_required,
    evaluate,
    excluding,
    necessary,
    seen,
    supporting,
    verdict_of,
)
from crashkit.value import Origin, Value

VALUE = Value(name="ct->ct_net", value=0, origin=Origin.REGISTER)


def check(role: Role, holds: bool | None) -> Check:
    return Check(id="c", role=role, statement="s", holds=holds)


FOLD = [
    # necessary checks, excluding checks, verdict
    ((True, True), (False,), Verdict.CONFIRMED),
    ((True, True), (None,), Verdict.CONFIRMED),
    ((True, True), (), Verdict.CONFIRMED),
    ((True, None), (False,), Verdict.INCONCLUSIVE),
    ((True, False), (False,), Verdict.REFUTED),
    ((None, False), (), Verdict.REFUTED),
    ((None, None), (), Verdict.INCONCLUSIVE),
    ((True, True), (True,), Verdict.REFUTED),
    ((None, None), (True,), Verdict.REFUTED),
    ((), (False,), Verdict.INCONCLUSIVE),
    ((), (), Verdict.INCONCLUSIVE),
]


@pytest.mark.parametrize(("required", "excluded", "expected"), FOLD)
def test_fold(
    required: tuple[bool | None, ...], excluded: tuple[bool | None, ...], expected: Verdict
) -> None:
    checks = [check(Role.NECESSARY, holds) for holds in required]
    checks += [check(Role.EXCLUDING, holds) for holds in excluded]
    for order in itertools.permutations(checks):
        assert verdict_of(order) is expected


@pytest.mark.parametrize("holds", [True, False, None])
def test_supporting_never_changes_the_verdict(holds: bool | None) -> None:
    for required, excluded, expected in FOLD:
        checks = [check(Role.NECESSARY, each) for each in required]
        checks += [check(Role.EXCLUDING, each) for each in excluded]
        assert verdict_of([*checks, check(Role.SUPPORTING, holds)]) is expected


def test_counts_only_necessary_checks() -> None:
    checks = [check(Role.NECESSARY, holds) for holds in (True, True, False, None)]
    checks += [check(Role.EXCLUDING, True), check(Role.SUPPORTING, False)]
    assert count_required(checks) == (2, 1, 1)


def test_an_unavailable_value_makes_the_check_null_with_its_reason() -> None:
    def look() -> Observation:
        raise Unavailable("skb", Reason.NOT_SAVED, "nobody pushed it")

    result = evaluate(necessary("skb", "the skb is there", look))
    assert result.holds is None
    assert result.reason is Reason.NOT_SAVED
    assert result.why_not is not None
    assert "nobody pushed it" in result.why_not


def test_a_missing_page_makes_the_check_null() -> None:
    def look() -> Observation:
        raise FaultError("filtered", 0xFFFF888000001000)

    result = evaluate(excluding("page", "it is there", look))
    assert (result.holds, result.reason) == (None, Reason.NOT_IN_DUMP)
    assert result.why_not is not None
    assert "0xffff888000001000" in result.why_not


def test_a_bug_in_a_check_is_not_swallowed() -> None:
    def look() -> Observation:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(supporting("bug", "s", look))


def test_an_observation_needs_values() -> None:
    with pytest.raises(ValueError, match="values"):
        seen(True)
    assert seen(False, VALUE).values == (VALUE,)
