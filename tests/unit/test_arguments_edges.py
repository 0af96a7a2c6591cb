"""How a frame was entered: what its caller's code passes on, and when that proves nothing."""

from __future__ import annotations

import pytest

from crashkit.arguments import tails
from crashkit.dataflow import analyse_function
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt
from crashkit.value import Certainty
from tests.unit.arguments_doubles import (
    CALLEE,
    CALLER,
    MIDDLE,
    OTHER,
    PASSED,
    SP,
    Stacked,
    call,
    jump,
)

FURTHER = OTHER + 0x100
KEEP = bytes.fromhex("53 48 89 fb")  # push %rbx; mov %rdi,%rbx
RESTORE = bytes.fromhex("5b c3")  # pop %rbx; ret
ONE, TWO = bytes.fromhex("bf 01 00 00 00"), bytes.fromhex("bf 02 00 00 00")  # mov $…,%edi
TEST = bytes.fromhex("85 f6")  # test %esi,%esi


def jne(at: int, target: int) -> bytes:
    """``jne target`` at ``at``."""
    return b"\x0f\x85" + (target - at - 6).to_bytes(4, "little", signed=True)


def through_middle(code: bytes, before: bytes = KEEP) -> Stacked:
    """A caller that calls ``middle``, and ``middle`` is what the frame was reached by."""
    stack = Stacked()
    stack.put("middle", MIDDLE, code)
    stack.caller(before, RESTORE, depth=16, target=MIDDLE, rbx=PASSED)
    return stack


def two_ways(one: int, two: int, first: bytes = ONE, second: bytes = TWO) -> bytes:
    """Middle's code: it jumps to ``one`` with 1 in rdi, or to ``two`` with 2."""
    split = len(TEST) + 6 + len(first) + 5
    head = TEST + jne(MIDDLE + len(TEST), MIDDLE + split) + first
    return head + jump(MIDDLE + len(head), one) + second + jump(MIDDLE + split + len(second), two)


def test_the_callers_slots_are_those_a_callee_leaves_alone() -> None:
    stack = Stacked()
    # sub $0x10,%rsp; mov %rdi,8(%rsp); mov %rdi,%rsi; lea 8(%rsp),%rdi
    gives = bytes.fromhex("48 83 ec 10 48 89 7c 24 08 48 89 fe 48 8d 7c 24 08")
    reads = bytes.fromhex("48 8b 44 24 08 48 83 c4 10 c3")  # mov 8(%rsp),%rax; add …; ret
    stack.caller(gives, reads, depth=24)
    stack.words(SP, 0, 0xBAD)  # the callee has the slot's address
    found, missing = stack.recover()
    assert found["a"].value == SP + 8
    assert missing["b"].reason is Reason.OPTIMIZED_OUT


def test_a_return_address_that_no_call_made_tells_nothing() -> None:
    stack = Stacked()
    stack.caller(KEEP + ONE, RESTORE, depth=16, rbx=PASSED)
    del stack.frames[1]
    stack.stop("caller", len(KEEP + ONE), sp=SP, cfa=SP + 16, rbx=PASSED)  # behind the mov
    found, missing = stack.recover()
    assert not found
    assert {m.reason for m in missing.values()} == {Reason.CORRUPTED}


def test_a_call_that_never_returns_may_be_a_functions_last_instruction() -> None:
    stack = Stacked()
    stack.caller(KEEP + TWO, b"", depth=16, rbx=PASSED)
    stack.put("next", stack.frames[1].pc, ONE + b"\xc3")
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (2, Certainty.PROVED)
    assert stack.frames[1].offset == stack.frames[1].size


def test_a_register_the_caller_did_not_save_is_not_its_callers() -> None:
    # The frame outside shows what it has in rdi now, not what it passed.
    stack = Stacked()
    stack.caller(b"\x90", depth=8)
    stack.put("outer", OTHER, call(OTHER, CALLER) + b"\xc3")
    stack.stop("outer", 5, sp=SP + 8, cfa=SP + 16, rdi=0xBAD, rbx=0xBAD)
    found, missing = stack.recover()
    assert not found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


def test_entry_code_of_an_exception_does_not_keep_what_was_interrupted() -> None:
    stack = Stacked()
    stack.caller(bytes.fromhex("48 89 df"), depth=8)  # mov %rbx,%rdi
    stack.put("victim", OTHER, b"\x90\xc3")
    stack.stop("victim", 0, sp=SP + 0x200, cfa=SP + 0x208, interrupted=True, rbx=0xBAD)
    found, missing = stack.recover()
    assert not found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT
    stack.change(2, interrupted=False)
    assert stack.recover()[0]["a"].value == 0xBAD  # as the caller of a function it counts


def test_a_caller_that_was_found_by_a_search_tells_nothing() -> None:
    stack = Stacked()
    stack.caller(KEEP + ONE, RESTORE, depth=16, how="call-site scan", rbx=PASSED)
    found, missing = stack.recover()
    assert not found
    assert missing["a"].reason is Reason.UNSUPPORTED


def test_ways_that_agree_are_as_sure_as_the_weakest() -> None:
    # mov $5,%edi on one way; mov (%rdx),%rdi on the other
    five, load = bytes.fromhex("bf 05 00 00 00"), bytes.fromhex("48 8b 3a")
    stack = through_middle(
        two_ways(CALLEE, CALLEE, five, load), KEEP + bytes.fromhex("48 89 da")  # mov %rbx,%rdx
    )  # fmt: skip
    stack.words(PASSED, 5)
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (5, Certainty.INFERRED)
    assert "the same on each way" in found["a"].how


def test_a_way_that_is_one_jump_longer_counts_too() -> None:
    stack = through_middle(two_ways(CALLEE, OTHER))
    stack.put("other", OTHER, jump(OTHER, CALLEE))
    found, missing = stack.recover()
    assert "a" not in found
    assert missing["a"].reason is Reason.AMBIGUOUS


def test_a_way_through_a_cold_part_counts_too() -> None:
    stack = Stacked()
    far = MIDDLE + 0x80
    hot = TEST + jne(MIDDLE + len(TEST), far) + ONE
    stack.put("middle", MIDDLE, hot + jump(MIDDLE + len(hot), CALLEE))
    stack.put("middle.cold", far, TWO + jump(far + len(TWO), OTHER))
    stack.put("other", OTHER, jump(OTHER, CALLEE))
    stack.caller(KEEP, RESTORE, depth=16, target=MIDDLE, rbx=PASSED)
    assert stack.recover()[1]["a"].reason is Reason.AMBIGUOUS


def test_a_way_that_cannot_be_followed_leaves_no_answer() -> None:
    stack = through_middle(two_ways(CALLEE, OTHER))
    # push %rbx; jmp callee: as if a frame were still there
    stack.put("other", OTHER, b"\x53" + jump(OTHER + 1, CALLEE))
    found, missing = stack.recover()
    assert "a" not in found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


def test_a_jump_with_the_frame_still_there_is_no_tail_call() -> None:
    # jmp callee with 1 in rdi; or push %rbx and the same: what leads there is not known
    held = ONE + b"\x53"
    stack = through_middle(two_ways(CALLEE, CALLEE, ONE, held))
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (1, Certainty.INFERRED)


def test_code_on_the_way_with_a_probe_in_it_proves_nothing() -> None:
    code = ONE + jump(MIDDLE + len(ONE), CALLEE)
    assert through_middle(code).recover()[0]["a"].certainty is Certainty.PROVED
    found, _ = through_middle(code + b"\xcc\x90\xc3").recover()
    assert (found["a"].value, found["a"].certainty) == (1, Certainty.PROVED)  # a filler
    # test %esi,%esi; jne 1f; mov …; jmp callee; 1: int3
    probed = TEST + b"\x75\x0a" + code + b"\xcc"
    moved = TEST + b"\x75\x0a" + ONE + jump(MIDDLE + 4 + len(ONE), CALLEE) + b"\xcc"
    assert len(probed) == len(moved)
    found, _ = through_middle(moved).recover()
    assert (found["a"].value, found["a"].certainty) == (1, Certainty.INFERRED)


def test_more_ways_than_are_looked_at_leave_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    code = two_ways(CALLEE, OTHER, ONE, ONE)
    stack = through_middle(code)
    stack.put("other", OTHER, jump(OTHER, CALLEE))
    assert stack.recover()[0]["a"].certainty is Certainty.PROVED
    monkeypatch.setattr(tails, "_MOST_CHAINS", 1)
    again = through_middle(code)
    again.put("other", OTHER, jump(OTHER, CALLEE))
    assert again.recover()[1]["a"].reason is Reason.AMBIGUOUS


def test_a_search_cut_short_among_the_shortest_leaves_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tails, "_MOST_FUNCTIONS", 2)
    stack = through_middle(two_ways(OTHER, FURTHER))
    stack.put("other", OTHER, jump(OTHER, CALLEE))
    stack.put("further", FURTHER, jump(FURTHER, CALLEE))  # not looked at any more
    assert stack.recover()[1]["a"].reason is Reason.AMBIGUOUS


def test_what_only_a_function_on_the_way_knew_is_not_its_namesake_in_the_caller() -> None:
    # One function in both places: the value it computed for itself is not that of the call
    # it was in before. imul $3,%rdi,%rdi; test %esi,%esi; je 1f; push %rbx; mov %rdi,%rbx;
    # xor %esi,%esi; call itself; pop %rbx; ret; 1: jmp callee
    head = bytes.fromhex("48 6b ff 03 85 f6 74 0d 53 48 89 fb 31 f6")
    code = head + call(CALLER + len(head), CALLER) + RESTORE
    stack = Stacked()
    stack.put("caller", CALLER, code + jump(CALLER + len(code), CALLEE))
    stack.stop("caller", len(head) + 5, sp=SP, cfa=SP + 16, rbx=0xBAD)
    found, missing = stack.recover()
    assert "a" not in found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


# mov %rsi,%rax; mov $1,%edi; jmp *%rax
JUMPS_TO_RSI = bytes.fromhex("48 89 f0 bf 01 00 00 00 ff e0")


def pointer(register: str, target: int) -> bytes:
    """``movabs $target,register``."""
    return {"rsi": b"\x48\xbe", "rax": b"\x48\xb8"}[register] + target.to_bytes(8, "little")


def test_an_indirect_tail_jump_is_followed_to_where_its_pointer_says() -> None:
    found, _ = through_middle(JUMPS_TO_RSI, KEEP + pointer("rsi", CALLEE)).recover()
    assert (found["a"].value, found["a"].certainty) == (1, Certainty.PROVED)


def test_an_indirect_tail_jump_elsewhere_is_no_way() -> None:
    stack = through_middle(JUMPS_TO_RSI, KEEP + pointer("rsi", OTHER))
    stack.put("other", OTHER, b"\xc3")
    found, _ = stack.recover()
    assert not [a for a in found.values() if a.certainty is Certainty.PROVED]


# test %edx,%edx; jne 1f; mov %rsi,%rax; mov $1,%edi; jmp *%rax; 1: the same with 2
BOTH_JUMP_TO_RSI = bytes.fromhex("85 d2 75 0a") + b"".join(
    bytes.fromhex(f"48 89 f0 bf 0{number} 00 00 00 ff e0") for number in (1, 2)
)
# test %edx,%edx; jne 1f; mov $1,%edi; jmp callee; 1: mov %rsi,%rax; mov $2,%edi; jmp *%rax
ONE_JUMPS_TO_RSI = (
    bytes.fromhex("85 d2 75 0a bf 01 00 00 00")
    + jump(MIDDLE + 9, CALLEE)
    + bytes.fromhex("48 89 f0 bf 02 00 00 00 ff e0")
)


@pytest.mark.parametrize("code", [BOTH_JUMP_TO_RSI, ONE_JUMPS_TO_RSI])
def test_ways_through_a_pointer_that_differ_give_no_answer(code: bytes) -> None:
    found, missing = through_middle(code, KEEP + pointer("rsi", CALLEE)).recover()
    assert "a" not in found
    assert missing["a"].reason is Reason.AMBIGUOUS


def test_a_pointer_that_is_lost_may_have_led_there_too() -> None:
    # test %edx,%edx; jne 1f; mov $1,%edi; jmp callee; 1: mov (%rsi),%rax; mov $…,%edi; jmp *%rax
    head = bytes.fromhex("85 d2 75 0a bf 01 00 00 00") + jump(MIDDLE + 9, CALLEE)
    for number, reason in ((1, None), (2, Reason.AMBIGUOUS)):
        code = head + bytes.fromhex(f"48 8b 06 bf 0{number} 00 00 00 ff e0")
        found, missing = through_middle(code, KEEP + pointer("rsi", PASSED)).recover()
        assert missing["a"].reason is reason if reason else found["a"].value == number


def test_an_indirect_call_by_a_pointer_to_another_function_proves_nothing() -> None:
    stack = Stacked()
    stack.put("other", OTHER, b"\xc3")
    before = KEEP + ONE + pointer("rax", OTHER)
    stack.put("caller", CALLER, before + b"\xff\xd0" + RESTORE)  # call *%rax
    stack.stop("caller", len(before) + 2, sp=SP, cfa=SP + 16, rbx=PASSED)
    found, _ = stack.recover()
    assert not [a for a in found.values() if a.certainty is Certainty.PROVED]


def test_a_frame_in_a_cold_part_was_entered_by_its_function() -> None:
    stack = Stacked()
    cold = CALLEE + 0x80
    stack.put("callee", CALLEE, jne(CALLEE, cold) + b"\xc3")
    stack.put("callee.cold", cold, bytes.fromhex("31 ff 31 f6 90 c3"))
    stack.frames.clear()
    stack.stop("callee.cold", 4, sp=SP - 8, cfa=SP, interrupted=True)
    stack.caller(KEEP + ONE, RESTORE, depth=16, rbx=PASSED)
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (1, Certainty.PROVED)


def test_a_cold_part_is_of_the_one_function_of_its_name_that_goes_there() -> None:
    stack = Stacked()
    cold = MIDDLE + 0x80
    stack.put("f", OTHER, jne(OTHER, cold) + b"\xc3")
    stack.kernel.put(MIDDLE, b"\x90\xc3")
    stack.kernel.symbol("f", MIDDLE, 2)
    stack.put("f.cold", cold, bytes.fromhex("31 ff 31 f6 90 c3"))
    part = SymbolAt("f.cold", cold, 6, None)
    assert analyse_function(stack.kernel.prog, part).entry == OTHER


def test_a_cold_part_that_several_functions_of_its_name_go_to_is_of_none() -> None:
    stack = Stacked()
    cold = MIDDLE + 0x80
    stack.put("f", OTHER, jne(OTHER, cold) + b"\xc3")
    stack.kernel.put(MIDDLE, jne(MIDDLE, cold) + b"\xc3")
    stack.kernel.symbol("f", MIDDLE, 7)
    stack.put("f.cold", cold, bytes.fromhex("31 ff 31 f6 90 c3"))
    with pytest.raises(Unavailable) as refused:
        analyse_function(stack.kernel.prog, SymbolAt("f.cold", cold, 6, None))
    assert refused.value.reason is Reason.AMBIGUOUS


def test_a_cold_part_of_another_function_of_that_name_is_not_ours() -> None:
    stack = Stacked()
    cold = MIDDLE + 0x80
    end = stack.put("f", MIDDLE, b"\x90\xc3")
    assert end < cold
    stack.put("f.cold", cold, jump(cold, OTHER))  # of an f that is not in the table
    with pytest.raises(Unavailable) as refused:
        analyse_function(stack.kernel.prog, SymbolAt("f.cold", cold, 5, None))
    assert refused.value.reason is Reason.AMBIGUOUS
