"""A function again with what one call of it was passed: branches that go one way only."""

from __future__ import annotations

import pytest

from crashkit.arguments.answer import Answer
from crashkit.arguments.pt_regs import UserRegisters
from crashkit.arguments.resolve import Resolver
from crashkit.errors import Unavailable
from tests.unit.arguments_doubles import CALLEE, CALLER, SP, Stacked, call

OUTER = CALLER + 0x400
LEAVE = bytes.fromhex("48 83 c4 18 c3")
# sub $0x18,%rsp; test %rsi,%rsi; je 1f; lea 8(%rsp),%rdi; jmp 2f; 1: xor %edi,%edi; 2: call
CHOOSES = "48 83 ec 18 48 85 f6 74 07 48 8d 7c 24 08 eb 02 31 ff"
THERE = SP + 8


def chosen(
    before: str, outer: str, *, user: dict[int, str] | None = None, after: str = ""
) -> Answer | None:
    """What is passed in rdi by a function that chooses, called by one that sets its argument."""
    stack = Stacked()
    code = bytes.fromhex(before)
    made = code + call(CALLER + len(code), CALLEE)
    stack.put("caller", CALLER, made + LEAVE + bytes.fromhex(after))
    stack.stop("caller", len(made), sp=SP, cfa=SP + 32)
    sets = bytes.fromhex("48 83 ec 08" + outer)
    stack.put("outer", OUTER, sets + call(OUTER + len(sets), CALLER) + b"\xc3")
    stack.stop("outer", len(sets) + 5, sp=SP + 32, cfa=SP + 48)
    stack.words(SP + 0x100, 0)
    registers = UserRegisters(members=user or {})
    resolver = Resolver(prog=stack.kernel.prog, frames=stack.frames, user=registers)
    try:
        return resolver.passed(0, "rdi")
    except Unavailable:
        return None


def worth(found: Answer | None) -> tuple[int, bool] | None:
    return (found.value, found.proved) if found else None


@pytest.mark.parametrize(
    ("outer", "value"),
    [
        ("31 f6", 0),  # xor %esi,%esi
        ("be 01 00 00 00", THERE),  # mov $1,%esi
    ],
)
def test_a_branch_on_an_argument_goes_one_way(outer: str, value: int) -> None:
    assert worth(chosen(CHOOSES, outer)) == (value, True)


def test_an_argument_that_is_not_known_chooses_nothing() -> None:
    assert chosen(CHOOSES, "90") is None


def test_an_argument_that_is_not_proved_chooses_nothing() -> None:
    # mov $address,%rsi; mov (%rsi),%rsi: read again from memory, which may have changed
    outer = "48 be" + (SP + 0x100).to_bytes(8, "little").hex() + "48 8b 36"
    assert chosen(CHOOSES, outer) is None


# mov $address,%rsi; mov (%rsi),%rax; test %rax,%rax; je 1f; lea 8(%rsp),%rdi; jmp 2f; 1: …
_READS = "48 83 ec 18 48 8b 06 48 85 c0 74 07 48 8d 7c 24 08 eb 02 31 ff"
_THAT = "48 be" + (SP + 0x100).to_bytes(8, "little").hex()


def test_memory_that_does_not_change_chooses() -> None:
    assert worth(chosen(_READS, _THAT, user={SP + 0x100: "si"})) == (0, True)


def test_memory_that_may_have_changed_chooses_nothing() -> None:
    assert chosen(_READS, _THAT) is None


@pytest.mark.parametrize(
    "between",
    [
        "48 ff c8",  # dec %rax: other flags than those of the test
        "f3 48 0f b8 c0",  # popcnt %rax,%rax
        "48 3b 02",  # cmp (%rdx),%rax
    ],
)
def test_flags_are_those_of_the_last_operation(between: str) -> None:
    code = CHOOSES.replace("48 85 f6", "48 85 f6" + between)
    assert chosen(code, "31 f6") is None


def test_a_call_leaves_no_flags() -> None:
    # test %rsi,%rsi; call …; je
    code = bytes.fromhex("48 83 ec 18 48 85 f6")
    code += call(CALLER + len(code), CALLEE) + bytes.fromhex("74 07 48 8d 7c 24 08 eb 02 31 ff")
    assert chosen(code.hex(), "31 f6") is None


def test_a_way_it_cannot_have_gone_is_a_contradiction() -> None:
    # sub $0x18,%rsp; test %rsi,%rsi; jne 1f; …; ret; 1: …; call: but rsi was zero
    code = "48 83 ec 18 48 85 f6 75 05 48 83 c4 18 c3 48 d3 e7"
    assert chosen(code, "31 f6") is None


def test_code_that_is_not_known_in_full_is_not_gone_through_again() -> None:
    assert worth(chosen(CHOOSES, "31 f6", after="cc")) == (0, True)
    # test %ecx,%ecx; jne to the int3 behind
    code = "85 c9 75 1c" + CHOOSES
    assert chosen(code, "31 f6", after="cc") is None
