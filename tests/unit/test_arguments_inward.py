"""What a function passed on, by the function that it called; arguments on the stack."""

from __future__ import annotations

import pytest

from crashkit.value import Certainty
from tests.unit.arguments_doubles import (
    CALL_RAX,
    CALLEE,
    CALLER,
    KEEPS,
    MIDDLE,
    PASSED,
    SHIFTS,
    SP,
    Stacked,
    jump,
    known,
)

ROOM = "48 83 ec 08"  # sub $8,%rsp
LEAVE = bytes.fromhex("48 83 c4 08 c3")  # add $8,%rsp; ret
EIGHT = ("unsigned long",) * 8
FORGETS = bytes.fromhex("31 ff 31 f6 31 d2 90 c3")  # xor of edi, esi, edx; nop; ret


def passing_on(before: str = ROOM, after: bytes = LEAVE, target: int = CALLEE) -> Stacked:
    """A caller that gives its own argument on, and a callee that still has it in rdi."""
    stack = Stacked(KEEPS)
    stack.change(0, registers=known({"rdi": PASSED}))
    stack.caller(bytes.fromhex(before), after, depth=16, target=target)
    stack.describe("caller", "unsigned long")
    return stack


def test_what_it_passed_on_is_what_it_was_passed() -> None:
    found, _ = passing_on().recover(1)
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)
    assert "what it passed to callee, which has its own rdi in rdi" in found["a"].how


def test_what_it_passed_on_at_a_distance() -> None:
    found, _ = passing_on(ROOM + "48 83 c7 20").recover(1)  # add $0x20,%rdi
    assert (found["a"].value, found["a"].certainty) == (PASSED - 0x20, Certainty.PROVED)


def test_what_the_callee_was_passed_by_another_is_not_what_it_passed_on() -> None:
    stack = passing_on(target=MIDDLE)
    stack.put("middle", MIDDLE, SHIFTS + jump(MIDDLE + len(SHIFTS), CALLER + 0x200))
    assert not stack.recover(1)[0]


def through_a_jump(middle: bytes, code: bytes = KEEPS) -> Stacked:
    """The caller calls a function that jumps to the callee, which still has all registers."""
    stack = Stacked(code)
    stack.change(0, registers=known({"rdi": PASSED + 1, "rsi": PASSED, "rdx": PASSED + 2}))
    stack.caller(bytes.fromhex(ROOM), LEAVE, depth=16, target=MIDDLE)
    stack.put("middle", MIDDLE, middle)
    stack.describe("caller", "unsigned long")
    return stack


def test_what_it_passed_on_through_a_tail_call() -> None:
    # mov %rsi,%rdx; mov %rdi,%rsi; xor %edi,%edi; jmp callee
    found, _ = through_a_jump(SHIFTS + jump(MIDDLE + len(SHIFTS), CALLEE)).recover(1)
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)


def test_what_it_passed_on_differs_by_the_way() -> None:
    # test %ecx,%ecx; je callee; mov %rdi,%rsi; mov %rcx,%rdi; mov %rcx,%rdx; jmp callee
    code = bytes.fromhex("85 c9 0f 84")
    code += (CALLEE - MIDDLE - 8).to_bytes(4, "little", signed=True)
    code += bytes.fromhex("48 89 fe 48 89 cf 48 89 ca")
    assert not through_a_jump(code + jump(MIDDLE + len(code), CALLEE)).recover(1)[0]


def test_what_it_passed_on_through_code_with_a_probe_in_it() -> None:
    # mov %rdi,%rsi; test %ecx,%ecx; jne 1f; mov %rcx,%rdi; mov %rcx,%rdx; jmp callee; 1: int3
    code = bytes.fromhex("48 89 fe 85 c9 75 0b 48 89 cf 48 89 ca")
    stack = through_a_jump(code + jump(MIDDLE + len(code), CALLEE) + b"\xcc")
    assert not stack.recover(1)[0]


def test_what_it_passed_to_a_function_that_is_not_known_is_not_proved() -> None:
    stack = Stacked(KEEPS)
    stack.change(0, registers=known({"rdi": PASSED}))
    stack.put("caller", CALLER, bytes.fromhex(ROOM) + CALL_RAX + LEAVE)
    stack.stop("caller", 4 + len(CALL_RAX), sp=SP, cfa=SP + 16)
    stack.describe("caller", "unsigned long")
    found, _ = stack.recover(1)
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.INFERRED)


def test_what_code_with_a_probe_in_it_passed_on_is_not_proved() -> None:
    # test %edi,%edi; jne 1f; sub $8,%rsp; call; …; 1: int3
    found, _ = passing_on("85 ff 75 0e" + ROOM, LEAVE + b"\xcc").recover(1)
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.INFERRED)


def test_a_function_that_was_interrupted_passed_nothing_on() -> None:
    stack = passing_on()
    stack.change(1, interrupted=True)
    assert not stack.recover(1)[0]


# Arguments on the stack


def stopped(code: str, *words: int) -> Stacked:
    """A function of eight arguments that is about to return, and what is in its stack's."""
    made = bytes.fromhex(code)
    stack = Stacked(made + b"\xc3", *EIGHT)
    stack.change(0, pc=stack.frames[0].pc - 6 + len(made), offset=len(made))
    stack.words(SP, *words)
    return stack


def test_arguments_on_the_stack_that_it_leaves_alone() -> None:
    found, _ = stopped("31 ff", 7, 8).recover()
    assert [(found[n].value, found[n].certainty) for n in "gh"] == [
        (7, Certainty.PROVED), (8, Certainty.PROVED)
    ]  # fmt: skip
    assert found["g"].how == f"callee still has it in the slot at {SP:016x}"


@pytest.mark.parametrize(
    "code",
    [
        "48 c7 44 24 08 00 00 00 00",  # movq $0,8(%rsp)
        "48 89 84 cc 08 00 00 00",  # mov %rax,8(%rsp,%rcx,8)
        "48 8d 44 24 08 48 89 07 e8 00 00 00 00",  # lea 8(%rsp),%rax; mov %rax,(%rdi); call …
    ],
)
def test_arguments_on_the_stack_that_it_may_have_changed(code: str) -> None:
    assert "g" not in stopped(code, 0xBAD, 8).recover()[0]


def test_what_is_above_a_function_without_such_arguments_is_its_callers() -> None:
    stack = Stacked(FORGETS)
    # sub $8,%rsp; mov %rdi,(%rsp); lea (%rsp),%rsi; call: the callee may change what is there
    stack.caller(bytes.fromhex(ROOM + "48 89 3c 24 48 8d 34 24"), LEAVE, depth=16)
    stack.describe("caller", "unsigned long")
    stack.words(SP, 0xBAD)
    assert not stack.recover(1)[0]
