"""Where a value is read from: registers, slots, the stack's arguments, memory read again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crashkit.arguments import recover_entry_registers, register_at_entry
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import SymbolAt
from crashkit.unwind import EntryLocation
from crashkit.value import Certainty
from tests.unit.arguments_doubles import (
    CALLEE,
    CALLER,
    MIDDLE,
    PASSED,
    SP,
    Stacked,
    jump,
    known,
)

KEEP = bytes.fromhex("53 48 89 fb")  # push %rbx; mov %rdi,%rbx
RESTORE = bytes.fromhex("5b c3")  # pop %rbx; ret
EIGHT = ("unsigned long",) * 8
FORGETS = bytes.fromhex("31 ff 31 f6 31 d2 90 c3")  # xor of edi, esi, edx; nop; ret


def called(before: str, after: bytes = RESTORE, *, depth: int = 16, rbx: int = PASSED) -> Stacked:
    """A caller that ran these instructions and then called."""
    stack = Stacked()
    stack.caller(bytes.fromhex(before), after, depth=depth, rbx=rbx)
    return stack


def test_half_a_register_is_not_the_whole() -> None:
    found, _ = called("53 48 89 fb 89 ff").recover()  # … mov %edi,%edi
    assert (found["a"].value, found["a"].certainty) == (PASSED & 0xFFFF_FFFF, Certainty.PROVED)


def test_a_mask_takes_bits() -> None:
    found, _ = called("53 48 89 fb 48 83 e7 f8", rbx=PASSED + 3).recover()  # … and $-8,%rdi
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)


def test_a_place_that_holds_a_value_at_a_distance() -> None:
    found, _ = called("53 48 8d 5f 20", rbx=PASSED + 0x20).recover()  # push; lea 0x20(%rdi),%rbx
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)


def test_two_unknown_values_are_not_one() -> None:
    # ret; and the call behind it, which nothing is known to lead to: rdi and rbx may be anything
    stack = Stacked()
    stack.caller(b"\xc3", RESTORE, depth=16, rbx=0xBAD)
    found, missing = stack.recover()
    assert not found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


def test_what_a_function_with_a_probe_in_it_keeps_is_not_proved() -> None:
    # test %rdi,%rdi; jne 1f; nop; 1: nop; ret, and the same with int3 at 1
    for last, certainty in ((b"\x90", Certainty.PROVED), (b"\xcc", Certainty.INFERRED)):
        stack = Stacked(bytes.fromhex("48 85 ff 75 01 90") + last + b"\xc3")
        stack.change(0, registers=known({"rdi": PASSED}))
        found, _ = stack.recover()
        assert (found["a"].value, found["a"].certainty) == (PASSED, certainty)


def test_memory_read_again_is_not_proved() -> None:
    stack = called("53 48 89 fb 48 8b 7f 08")  # … mov 8(%rdi),%rdi
    stack.words(PASSED + 8, 77)
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (77, Certainty.INFERRED)
    assert f"what {PASSED + 8:016x} holds now" in found["a"].how


def test_a_register_that_is_not_proved_proves_nothing() -> None:
    stack = called("53 48 89 fb")
    doubted = replace(stack.frames[1].registers["rbx"], certainty=Certainty.INFERRED)
    stack.change(1, registers={"rbx": doubted})
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.INFERRED)


# sub $0x18,%rsp; mov %rdi,(%rsp): a place at the callee's disposal if it takes stack arguments
STORES = "48 83 ec 18 48 89 3c 24"
READS_LATER = bytes.fromhex("48 8b 04 24 48 83 c4 18 c3")  # mov (%rsp),%rax; add; ret
NEVER_READS = bytes.fromhex("48 83 c4 18 c3")


def test_a_slot_the_caller_reads_again_is_its_own() -> None:
    stack = called(STORES, READS_LATER, depth=32)
    stack.words(SP, PASSED)
    found, _ = stack.recover()
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)
    assert f"the slot at {SP:016x}" in found["a"].how


@pytest.mark.parametrize("before", [STORES, STORES + "48 8b 04 24"])
def test_a_slot_it_does_not_read_after_the_call_is_the_callees(before: str) -> None:
    # With mov (%rsp),%rax before the call it is read, but not any more.
    stack = called(before, NEVER_READS, depth=32)
    stack.words(SP, 0xBAD)
    found, missing = stack.recover()
    assert not found
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


def test_a_slot_that_is_read_only_where_the_call_is_not_made_is_the_callees() -> None:
    # sub $0x18,%rsp; test %esi,%esi; jne 1f; mov %rdi,(%rsp); call; add $0x18,%rsp; ret;
    # 1: mov (%rsp),%rax; add $0x18,%rsp; ret
    stack = called("48 83 ec 18 85 f6 75 0e 48 89 3c 24", NEVER_READS + READS_LATER, depth=32)
    stack.words(SP, 0xBAD)
    assert not stack.recover()[0]


def on_stack(stores: str, *, target: int = CALLEE) -> Stacked:
    """A caller that stores the seventh argument and the eighth, of a function with eight."""
    stack = Stacked(FORGETS, *EIGHT)
    stack.caller(bytes.fromhex(stores), NEVER_READS, depth=32, target=target)
    return stack


# sub $0x18,%rsp; movq $7,(%rsp); movq $8,8(%rsp)
SEVEN_EIGHT = "48 83 ec 18 48 c7 04 24 07 00 00 00 48 c7 44 24 08 08 00 00 00"


def test_arguments_on_the_stack_are_what_the_caller_stored() -> None:
    found, _ = on_stack(SEVEN_EIGHT).recover()
    assert [found[name].value for name in "gh"] == [7, 8]
    assert {found[name].certainty for name in "gh"} == {Certainty.PROVED}
    assert found["g"].how == "caller+0x15 calls with 0x7 on the stack"


def test_half_a_stack_argument_is_none() -> None:
    found, missing = on_stack("48 83 ec 18 c7 04 24 07 00 00 00").recover()  # movl $7,(%rsp)
    assert not found.keys() & {"g", "h"}
    assert {missing[name].reason for name in "gh"} == {Reason.NOT_IN_DUMP}  # the stack itself


def through_middle(code: str) -> Stacked:
    """The caller calls ``middle``, which jumps to the callee."""
    stack = on_stack(SEVEN_EIGHT, target=MIDDLE)
    made = bytes.fromhex(code)
    stack.put("middle", MIDDLE, made + jump(MIDDLE + len(made), CALLEE))
    return stack


# movq $9,8(%rsp): its own seventh argument's place is the callee's
NINE = "48 c7 44 24 08 09 00 00 00"


def test_arguments_on_the_stack_that_the_one_that_jumped_may_not_know() -> None:
    found, missing = through_middle(NINE).recover()
    assert (found["g"].value, found["g"].certainty) == (9, Certainty.PROVED)
    assert "h" in missing  # nothing says that it has an eighth


def test_arguments_on_the_stack_are_what_the_one_that_jumped_left_there() -> None:
    stack = through_middle(NINE)
    stack.describe("middle", *EIGHT)
    found, _ = stack.recover()
    assert [(found[n].value, found[n].certainty) for n in "gh"] == [
        (9, Certainty.PROVED), (8, Certainty.PROVED)
    ]  # fmt: skip
    assert "middle, which jumps here" in found["h"].how


def test_arguments_on_the_stack_through_a_jump_that_changes_one_byte_of_them() -> None:
    stack = through_middle("c6 44 24 11 05")  # movb $5,0x11(%rsp)
    stack.describe("middle", *EIGHT)
    found, missing = stack.recover()
    assert (found["g"].value, found["g"].certainty) == (7, Certainty.PROVED)
    assert "h" in missing


def test_arguments_on_the_stack_of_a_call_nobody_can_follow_are_not_proved() -> None:
    stack = Stacked(FORGETS, *EIGHT)
    before = bytes.fromhex(SEVEN_EIGHT) + b"\xff\xd0"  # call *%rax
    stack.put("caller", CALLER, before + NEVER_READS)
    stack.stop("caller", len(before), sp=SP, cfa=SP + 32)
    found, _ = stack.recover()
    assert [(found[n].value, found[n].certainty) for n in "gh"] == [
        (7, Certainty.INFERRED), (8, Certainty.INFERRED)
    ]  # fmt: skip


def test_arguments_on_the_stack_in_code_with_a_probe_are_not_proved() -> None:
    stack = Stacked(FORGETS, *EIGHT)
    # test %edi,%edi; jne 1f; …; 1: int3
    body = bytes.fromhex(SEVEN_EIGHT)
    before = bytes.fromhex("85 ff 75") + bytes([len(body) + 5 + len(NEVER_READS)]) + body
    stack.caller(before, NEVER_READS + b"\xcc", depth=32)
    found, _ = stack.recover()
    assert (found["g"].value, found["g"].certainty) == (7, Certainty.INFERRED)


# What the unwinder is told of a function's callee-saved registers


def saved(stack: Stacked, code: str, at: int, *, interrupted: bool = True) -> object:
    """Where the registers of ``f`` lie when it is at ``at``."""
    stack.put("f", MIDDLE, bytes.fromhex(code))
    function = SymbolAt("f", MIDDLE, len(bytes.fromhex(code)), None)
    return recover_entry_registers(stack.kernel.prog, function, MIDDLE + at, interrupted)


def test_registers_on_entry_are_pushed_untouched_or_not_to_be_had() -> None:
    # push %rbx; xor %ebx,%ebx; mov %rbp,%rax; xor %r12d,%r12d; pop %rbx; ret
    found = saved(Stacked(), "53 31 db 48 89 e8 45 31 e4 5b c3", 9)
    assert found == {
        "rbx": EntryLocation(cfa_offset=-16),
        **{name: EntryLocation(register=name) for name in ("rbp", "r13", "r14", "r15")},
    }


def test_registers_on_entry_where_the_code_is_not_in_the_dump() -> None:
    stack = Stacked()
    stack.put("f", MIDDLE, bytes.fromhex("55 48 89 e5 41 55 53"))  # rbp, r13 and rbx, then a gap
    function = SymbolAt("f", MIDDLE, 0x40, None)
    found = recover_entry_registers(stack.kernel.prog, function, MIDDLE + 0x20, False)
    assert found == {
        "rbp": EntryLocation(cfa_offset=-16, certain=False),
        "r13": EntryLocation(cfa_offset=-24, certain=False),
        "rbx": EntryLocation(cfa_offset=-32, certain=False),
    }


def test_a_spilled_register_is_no_save() -> None:
    # sub $0x10,%rsp; mov %rbx,8(%rsp); xor %ebx,%ebx; nop; add $0x10,%rsp; ret
    found = saved(Stacked(), "48 83 ec 10 48 89 5c 24 08 31 db 90 48 83 c4 10 c3", 11)
    assert isinstance(found, dict)
    assert "rbx" not in found
    assert "rbp" in found


def test_registers_on_entry_of_code_that_is_not_known_in_full() -> None:
    # test %edi,%edi; jne 1f; push %rbx; nop; pop %rbx; ret; 1: int3
    found = saved(Stacked(), "85 ff 75 04 53 90 5b c3 cc", 5)
    assert isinstance(found, dict)
    assert found["rbx"] == EntryLocation(cfa_offset=-16, certain=False)
    assert not any(location.certain for location in found.values())


def test_registers_on_entry_at_a_call_that_never_returns() -> None:
    # push %rbx; call …; and nothing after it
    found = saved(Stacked(), "53 e8 00 01 00 00", 6, interrupted=False)
    assert isinstance(found, dict)
    assert found["rbx"] == EntryLocation(cfa_offset=-16)


def test_a_register_at_entry_follows_the_callers() -> None:
    stack = called("53 48 89 fb")
    prog = stack.kernel.prog
    found = register_at_entry(prog, stack.frames, 0, "rdi")
    assert (found.value, found.proved) == (PASSED, True)
    own = register_at_entry(prog, stack.frames, 1, "rdi")
    assert (own.value, own.how) == (PASSED, "rbx")
    with pytest.raises(Unavailable) as lost:
        register_at_entry(prog, stack.frames, 1, "rsi")
    assert lost.value.reason is Reason.NOT_APPLICABLE  # the stack ends there


def test_an_inlined_function_has_no_entry() -> None:
    stack = called("53 48 89 fb")
    inlined = replace(stack.frames[0], inlined=True)
    with pytest.raises(Unavailable):
        register_at_entry(stack.kernel.prog, [inlined, *stack.frames], 0, "rdi")


def test_an_argument_on_the_stack_is_the_callees_and_no_proof_of_itself() -> None:
    # mov %rsi,8(%rsp); nop; ret
    stack = Stacked(bytes.fromhex("48 89 74 24 08 90 90 c3"), *EIGHT[:7])
    # push %rdi; call; pop %rcx: what was passed is nowhere but where the callee may write
    stack.caller(bytes.fromhex("57"), bytes.fromhex("59 c3"), depth=16)
    stack.words(SP, 0xBAD)
    found, _ = stack.recover()
    assert "g" not in found or found["g"].certainty is Certainty.INFERRED
