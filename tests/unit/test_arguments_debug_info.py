"""What the debug file says of a call and of a variable, held against the code."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from crashkit.arguments import debug_info, recover
from crashkit.symbols.dwarf_values import (
    CallSite,
    Constant,
    EntryValue,
    FrameAddress,
    LoadValue,
    Location,
    RegisterValue,
    Value,
)
from crashkit.value import Certainty, Origin
from tests.unit.arguments_doubles import CALLEE, CALLER, MIDDLE, PASSED, SP, Stacked, call, jump

KEEP = bytes.fromhex("53 48 89 fb")  # push %rbx; mov %rdi,%rbx
RESTORE = bytes.fromhex("5b c3")  # pop %rbx; ret
LOSE = bytes.fromhex("5f")  # pop %rdi: what it passes is not followed


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    return Says(monkeypatch)


class Says:
    """Stands for the debug file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sites: dict[int, CallSite] = {}
        self.locations: dict[str, Location] = {}
        monkeypatch.setattr(recover, "has_debug_file", lambda _: True)
        monkeypatch.setattr(debug_info, "call_site", lambda _, pc: self.sites.get(pc))
        monkeypatch.setattr(debug_info, "parameter_locations", self._locations)

    def _locations(self, _prog: object, _address: int, _pc: int) -> Mapping[str, Location]:
        return self.locations

    def passes(self, stack: Stacked, tail: bool = False, **values: Value) -> None:
        """Of the call in the second frame."""
        pc = stack.frames[1].pc
        self.sites[pc] = site(pc, tail, values)


def site(pc: int, tail: bool, values: Mapping[str, Value]) -> CallSite:
    return CallSite(return_pc=pc, tail=tail, target=None, name=None, values=values, stack={})


def called(before: bytes = KEEP, *, rbx: int = PASSED, rsi: int = 0) -> Stacked:
    stack = Stacked()
    stack.caller(before, RESTORE, depth=16, rbx=rbx, rsi=rsi)
    return stack


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (RegisterValue("rbx"), PASSED),
        (RegisterValue("rbx", -8), PASSED + 8),
        (Constant(PASSED), PASSED),
        (FrameAddress(PASSED - SP - 16), PASSED),
    ],
)
def test_agreement_corroborates(says: Says, value: Value, held: int) -> None:
    stack = called()
    before = stack.recover()[0]["a"]
    assert Origin.CALL_SITE not in before.corroborated_by
    if held != PASSED:  # rbx is 8 more than what is passed: lea -8(%rbx),%rdi
        stack = called(KEEP + bytes.fromhex("48 8d 7b f8"), rbx=held)
    says.passes(stack, rdi=value)
    after = stack.recover()[0]["a"]
    assert (after.value, after.certainty) == (PASSED, Certainty.PROVED)
    assert Origin.CALL_SITE in after.corroborated_by
    assert after.conflict is None


def test_disagreement_is_said_and_nothing_is_proved(says: Says) -> None:
    stack = called()
    says.passes(stack, rdi=Constant(0xBAD))
    found = stack.recover()[0]["a"]
    assert found.certainty is Certainty.INFERRED
    assert found.conflict is not None
    assert "0xbad" in found.conflict
    assert f"{PASSED:#x}" in found.conflict


def test_alone_it_is_inferred(says: Says) -> None:
    stack = called(KEEP + LOSE)
    assert "a" not in stack.recover()[0]
    says.passes(stack, rdi=RegisterValue("rbx"))
    found = stack.recover()[0]["a"]
    assert (found.value, found.origin) == (PASSED, Origin.CALL_SITE)
    assert found.certainty is Certainty.INFERRED


@pytest.mark.parametrize(
    "value",
    [RegisterValue("rsi"), RegisterValue("r12"), EntryValue("rdi"), LoadValue(Constant(SP), 8)],
)
def test_what_does_not_outlive_the_call_is_not_used(says: Says, value: Value) -> None:
    stack = called(KEEP + LOSE, rbx=PASSED, rsi=PASSED)
    says.passes(stack, rdi=value)
    assert "a" not in stack.recover()[0]


def test_a_tail_calls_site_describes_another_function(says: Says) -> None:
    stack = Stacked()
    one = bytes.fromhex("bf 01 00 00 00")  # mov $1,%edi
    stack.put("middle", MIDDLE, one + jump(MIDDLE + len(one), CALLEE))
    stack.caller(KEEP, RESTORE, depth=16, target=MIDDLE, rbx=PASSED)
    says.passes(stack, rdi=RegisterValue("rbx"))
    found = stack.recover()[0]["a"]
    assert (found.value, found.conflict) == (1, None)
    assert Origin.CALL_SITE not in found.corroborated_by


def test_a_jumps_site_is_not_the_calls(says: Says) -> None:
    stack = called(KEEP + LOSE)
    says.passes(stack, tail=True, rdi=RegisterValue("rbx"))
    assert "a" not in stack.recover()[0]


def test_the_value_on_entry_is_followed_to_the_callers_caller(says: Says) -> None:
    stack = called(KEEP + LOSE, rbx=0)
    stack.put("outer", MIDDLE, call(MIDDLE, CALLER) + b"\xc3")
    stack.stop("outer", 5, sp=SP + 16, cfa=SP + 64, rbx=PASSED)
    says.passes(stack, rdi=EntryValue("rdi"))
    pc = stack.frames[2].pc
    said: dict[str, Value] = {"rdi": RegisterValue("rbx")}
    says.sites[pc] = site(pc, False, said)
    assert stack.recover()[0]["a"].value == PASSED


def test_the_variable_now_is_shown_beside_what_was_passed(says: Says) -> None:
    stack = called()
    stack.words(SP - 16, 0x1234)
    says.locations = {"a": Location("frame", None, -16, LoadValue(FrameAddress(-16), 8), 8)}
    found = stack.recover()[0]["a"]
    assert (found.value, found.current) == (PASSED, 0x1234)


def test_a_variable_that_still_has_it_is_not_shown_twice(says: Says) -> None:
    stack = called()
    stack.words(SP - 16, PASSED)
    says.locations = {"a": Location("frame", None, -16, LoadValue(FrameAddress(-16), 8), 8)}
    assert stack.recover()[0]["a"].current is None


def test_a_clones_parameters_are_where_the_debug_file_says(says: Says) -> None:
    stack = Stacked()
    stack.kernel._symbols.clear()
    stack.put("callee.isra.0", CALLEE, bytes.fromhex("31 ff 31 f6 90 c3 90"))
    stack.frames.clear()
    stack.stop("callee.isra.0", 6, sp=SP - 8, cfa=SP, interrupted=True)
    stack.caller(KEEP, RESTORE, depth=16, rbx=PASSED)
    assert not stack.recover()[0]
    says.locations = {"b": Location("register", "rdi", 0, RegisterValue("rdi"), 8)}
    found, missing = stack.recover()
    assert found["b"].value == PASSED
    assert "a" in missing
