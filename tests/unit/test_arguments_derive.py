"""Values that nothing holds, from what they were made of."""

from __future__ import annotations

import pytest

from crashkit.arguments.arithmetic import Flags, calculate
from crashkit.value import Certainty
from tests.unit.arguments_doubles import CALLEE, CALLER, PASSED, SP, Stacked, call

KEEP = "53 48 89 fb"  # push %rbx; mov %rdi,%rbx
RESTORE = bytes.fromhex("5b c3")
_U64 = (1 << 64) - 1


def passed(before: str, rbx: int = PASSED) -> tuple[int, Certainty] | None:
    """What a caller passes in rdi that ran these instructions after it had kept its own in rbx."""
    stack = Stacked()
    stack.caller(bytes.fromhex(KEEP + before), RESTORE, depth=16, rbx=rbx)
    found, _ = stack.recover()
    return (found["a"].value, found["a"].certainty) if "a" in found else None


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("48 c1 e7 04", PASSED << 4 & _U64),  # shl $4,%rdi
        ("48 c1 ff 04", PASSED >> 4 | 0xF << 60),  # sar $4,%rdi
        ("c1 ef 04", (PASSED & 0xFFFF_FFFF) >> 4),  # shr $4,%edi
        ("48 8d 7c fb 08", PASSED * 9 + 8 & _U64),  # lea 8(%rbx,%rdi,8),%rdi
        ("48 01 df", PASSED * 2 & _U64),  # add %rbx,%rdi
        ("48 f7 df", -PASSED & _U64),  # neg %rdi
        ("48 69 ff 64 00 00 00", PASSED * 100 & _U64),  # imul $100,%rdi,%rdi
        ("b8 64 00 00 00 48 39 c7 48 0f 47 f8", 100),  # mov $100,%eax; cmp; cmova %rax,%rdi
        ("b8 64 00 00 00 48 39 c7 48 0f 42 f8", PASSED),  # the same, cmovb
        ("48 83 ff 01 19 ff", 0),  # cmp $1,%rdi; sbb %edi,%edi
    ],
)
def test_what_was_calculated_from_what_it_keeps(code: str, value: int) -> None:
    assert passed(code) == (value, Certainty.PROVED)


@pytest.mark.parametrize(
    "code",
    [
        "48 03 3e",  # add (%rsi),%rdi
        "48 01 f7",  # add %rsi,%rdi
        "48 0f c7 f7",  # rdrand %rdi
        "b8 01 00 00 00 48 39 f7 48 0f 47 f8",  # mov $1,%eax; cmp %rsi,%rdi; cmova %rax,%rdi
        "48 3b 3e b8 01 00 00 00 48 0f 47 f8",  # cmp (%rsi),%rdi; …
        "48 83 ff 01 48 ff c8 b8 01 00 00 00 48 0f 47 f8",  # cmp $1,%rdi; dec %rax; …
        "e8 00 00 00 00 b8 01 00 00 00 48 0f 47 f8",  # flags after a call
        "65 48 8d 3c 3b 48 d1 e7 48 01 f7",  # with something that is not known
    ],
)
def test_what_was_calculated_from_something_else_too(code: str) -> None:
    assert passed(code) is None


def test_ways_that_bring_the_same() -> None:
    # test %esi,%esi; je 1f; mov %rbx,%rax; shl %rax; mov %rax,%rdi; jmp 2f;
    # 1: lea (%rbx,%rbx),%rdi; 2: call
    code = "85 f6 74 0b 48 89 d8 48 d1 e0 48 89 c7 eb 04 48 8d 3c 1b"
    assert passed(code.replace("48 d1 e0", "48 01 d8")) == (PASSED * 2 & _U64, Certainty.PROVED)


def test_ways_that_bring_different_values() -> None:
    code = "85 f6 74 0b 48 89 d8 48 01 d8 48 89 c7 eb 04 48 8d 3c 5b"  # … lea (%rbx,%rbx,2)
    assert passed(code) is None


def test_what_a_round_of_a_loop_made_is_not_made_of_this_rounds_counter() -> None:
    # push %rbx; 1: inc %rbx; call; lea (%rbx,%rbx),%rdi; jmp 1b: in the second round rdi is
    # twice what rbx was in the first. The one that called it passed just twice what it is now.
    start = bytes.fromhex("53 48 ff c3")
    stack = Stacked()
    code = start + call(CALLER + len(start), CALLEE)
    stack.put("caller", CALLER, code + bytes.fromhex("48 8d 3c 1b eb f2"))
    stack.stop("caller", len(code), sp=SP, cfa=SP + 16, rbx=6)
    outer = CALLER + 0x400
    before = bytes.fromhex("48 83 ec 08 bf 0c 00 00 00")  # sub $8,%rsp; mov $12,%edi
    stack.put("outer", outer, before + call(outer + len(before), CALLER) + b"\xc3")
    stack.stop("outer", len(before) + 5, sp=SP + 16, cfa=SP + 32)
    found, _ = stack.recover()
    assert "a" not in found


# Numbers


@pytest.mark.parametrize(
    ("operation", "size", "left", "right", "result", "met"),
    [
        ("sub", 4, 1, 2, 0xFFFF_FFFF, {"b", "be", "l", "le", "ne", "s"}),
        ("sub", 4, 0x8000_0000, 1, 0x7FFF_FFFF, {"a", "ae", "l", "le", "ne", "ns"}),
        ("sub", 8, 5, 5, 0, {"e", "be", "le", "ae", "ge", "ns"}),
        ("add", 4, 0x7FFF_FFFF, 1, 0x8000_0000, {"ae", "a", "ne", "s", "ge", "g"}),
        ("add", 1, 0xFF, 1, 0, {"b", "be", "e", "ge", "le", "ns"}),
        ("and", 4, 6, 3, 2, {"a", "ae", "g", "ge", "ne", "ns"}),
    ],
)
def test_flags_and_results(
    operation: str, size: int, left: int, right: int, result: int, met: set[str]
) -> None:
    value, flags = calculate(operation, size, left, right)
    assert value == result
    assert flags is not None
    conditions = ("a", "ae", "b", "be", "e", "g", "ge", "l", "le", "ne", "ns", "s")
    assert {condition for condition in conditions if flags.holds(condition)} == met
    assert Flags.unpacked(flags.packed()) == flags


def test_flags_that_are_not_known() -> None:
    shifted = calculate("shl", 8, 1, 3)[1]
    assert shifted is not None
    assert (shifted.holds("e"), shifted.holds("b"), shifted.holds("le")) == (False, None, None)
    assert Flags.unpacked(shifted.packed()) == shifted
    assert calculate("shr", 8, 1, 64) == (1, None)  # by nothing: no flag changes
    assert shifted.holds("p") is None
