"""Arguments from the caller's state, through tail calls, and what must not be answered."""

from __future__ import annotations

import pytest

from crashkit.arguments import (
    Argument,
    MissingArgument,
    StackArguments,
    recover_arguments,
    register_at_entry,
)
from crashkit.arguments.answer import Answer
from crashkit.arguments.combine import combine
from crashkit.errors import Reason, Unavailable
from crashkit.symbols.lookup import names_of
from crashkit.value import Certainty, Origin
from tests.unit.arguments_doubles import (
    CALL_RAX,
    CALLEE,
    CALLER,
    KEEPS,
    MIDDLE,
    OTHER,
    PASSED,
    SHIFTS,
    SP,
    TwoFrames,
    jump,
)

Recovered = tuple[dict[str, Argument], dict[str, MissingArgument]]


def recover(two: TwoFrames, **registers: int) -> Recovered:
    inner, outer = two.frames(registers)
    found, missing = recover_arguments(two.kernel.prog, inner, callers=[outer])
    return {a.name: a for a in found}, {m.name: m for m in missing}


def test_the_callers_registers_constants_and_addresses_are_what_it_passed() -> None:
    found, missing = recover(TwoFrames())
    assert not missing
    assert {name: a.value for name, a in found.items()} == {"a": PASSED, "b": 5, "c": SP + 8}
    assert all(a.certainty is Certainty.PROVED for a in found.values())
    assert found["a"].how == "caller+0x12 calls with rdi = rbx"
    assert found["b"].how == "caller+0x12 calls with rsi = 0x5"


def test_without_callers_only_the_frame_itself_is_asked() -> None:
    two = TwoFrames()
    found, missing = recover_arguments(two.kernel.prog, two.frames()[0])
    assert not found
    assert {m.reason for m in missing} == {Reason.OPTIMIZED_OUT}


def test_the_function_and_its_caller_corroborate_each_other() -> None:
    found, _ = recover(TwoFrames(callee=KEEPS), rdi=PASSED)
    assert found["a"].value == PASSED
    assert found["a"].origin is Origin.REGISTER
    assert found["a"].corroborated_by == (Origin.DATAFLOW,)
    assert found["a"].conflict is None


def test_a_disagreement_is_said_and_never_proved() -> None:
    found, _ = recover(TwoFrames(callee=KEEPS), rdi=PASSED + 8)
    conflict = found["a"].conflict
    assert conflict is not None
    assert f"{PASSED:#x}" in conflict
    assert f"{PASSED + 8:#x}" in conflict
    assert found["a"].certainty is Certainty.INFERRED


def test_a_tail_call_moves_the_arguments() -> None:
    two = TwoFrames(target=MIDDLE)
    two.put("middle", MIDDLE, SHIFTS + jump(MIDDLE + len(SHIFTS), CALLEE))
    found, _ = recover(two)
    assert {name: a.value for name, a in found.items()} == {
        "a": 0,
        "b": PASSED & 0xFFFF_FFFF,
        "c": 5,
    }
    assert all(a.certainty is Certainty.PROVED for a in found.values())
    assert "calls middle, which jumps here, with rdi = 0x0" in found["a"].how


def test_ways_that_differ_give_no_answer() -> None:
    two = TwoFrames(target=MIDDLE)
    # test %edi,%edi; je 1f; mov $1,%edi; jmp callee; 1: mov $2,%edi; jmp callee
    one = bytes.fromhex("85 ff 74 0a bf 01 00 00 00") + jump(MIDDLE + 9, CALLEE)
    both = one + bytes.fromhex("bf 02 00 00 00") + jump(MIDDLE + 19, CALLEE)
    two.put("middle", MIDDLE, both)
    found, missing = recover(two)
    assert missing["a"].reason is Reason.AMBIGUOUS
    assert found["b"].value == 5  # the same on each way


def test_a_call_that_leads_elsewhere_proves_nothing() -> None:
    two = TwoFrames(target=OTHER)
    two.put("other", OTHER, b"\xc3")
    found, missing = recover(two)
    assert not found
    assert {m.reason for m in missing.values()} == {Reason.AMBIGUOUS}


@pytest.mark.parametrize("jumped_to", [False, True])
def test_an_indirect_call_whose_pointer_is_lost_proves_nothing(
    jumped_to: bool,
) -> None:
    two = TwoFrames(call=CALL_RAX)
    two.kernel.put(OTHER, jump(OTHER, CALLEE) if jumped_to else b"\xc3")
    names_of(two.kernel.prog).text = (CALLER, CALLER + 0x1000)  # all of it is in the dump
    found, _ = recover(two)
    assert found["a"].value == PASSED

    assert {a.certainty for a in found.values()} == {Certainty.INFERRED}


def test_an_indirect_call_proves_nothing_if_the_code_around_is_not_in_the_dump() -> None:
    found, _ = recover(TwoFrames(call=CALL_RAX))
    assert {a.certainty for a in found.values()} == {Certainty.INFERRED}


def test_a_trampoline_is_followed() -> None:
    two = TwoFrames(target=OTHER)
    two.put("__SCT__callee", OTHER, jump(OTHER, CALLEE))
    found, _ = recover(two)
    assert (found["a"].value, found["a"].certainty) == (PASSED, Certainty.PROVED)


def test_a_stack_pointer_that_does_not_fit_the_code_proves_nothing() -> None:
    two = TwoFrames()
    inner, outer = two.frames()
    moved = type(outer)(**{**vars(outer), "cfa": SP + 0x28})
    found, _ = recover_arguments(two.kernel.prog, inner, callers=[moved])
    assert next(a for a in found if a.name == "c").certainty is Certainty.INFERRED


def test_code_with_a_probe_in_it_proves_nothing() -> None:
    two = TwoFrames()
    two.kernel.put(CALLER, b"\xcc")
    found, missing = recover(two)
    assert (found["b"].value, found["b"].certainty) == (5, Certainty.INFERRED)
    assert missing["a"].reason is Reason.OPTIMIZED_OUT


def test_a_clones_parameters_are_named_and_not_answered_by_position() -> None:
    two = TwoFrames()
    inner, outer = two.frames({"rdi": PASSED}, function="callee.isra.0")
    found, missing = recover_arguments(two.kernel.prog, inner, callers=[outer])
    assert not found
    assert [(m.name, m.reason) for m in missing] == [
        (name, Reason.OPTIMIZED_OUT) for name in ("a", "b", "c")
    ]


def test_an_interrupt_has_no_caller() -> None:
    two = TwoFrames()
    inner, outer = two.frames()
    stopped = type(outer)(**{**vars(outer), "interrupted": True})
    _, missing = recover_arguments(two.kernel.prog, inner, callers=[stopped])
    assert [m.name for m in missing] == ["a", "b", "c"]


def test_a_register_at_entry() -> None:
    two = TwoFrames()
    frames = two.frames()
    assert register_at_entry(two.kernel.prog, frames, 0, "rdi").value == PASSED
    with pytest.raises(Unavailable):
        register_at_entry(two.kernel.prog, frames, 1, "r8")


def test_pointers_are_identified_and_numbers_are_not() -> None:
    two = TwoFrames()
    stack = StackArguments(two.kernel.prog, two.frames(), identify=lambda a: f"thing at {a:x}")
    found = {a.name: a.identity for a in stack.of(0)[0]}
    assert found == {"a": None, "b": None, "c": f"thing at {SP + 8:x}"}


def test_a_frame_in_unknown_code_is_no_ones() -> None:
    two = TwoFrames()
    inner, outer = two.frames()
    lost = type(outer)(**{**vars(outer), "function": None, "offset": None, "size": None})
    _, missing = recover_arguments(two.kernel.prog, inner, callers=[lost])
    assert {m.reason for m in missing} == {Reason.NO_DEBUGINFO}
    assert recover_arguments(two.kernel.prog, lost) == ((), ())


def answer(value: int, *, proved: bool = True) -> Answer:
    return Answer(value=value, proved=proved, origin=Origin.MEMORY, how="x")


def test_bytes_above_the_parameters_size_do_not_count() -> None:
    made = combine("n", "int", 4, [("a", answer(0x1_0000_0007)), ("b", answer(7))])
    assert (made.value, made.conflict, made.certainty) == (7, None, Certainty.PROVED)


def test_a_weak_answer_neither_contradicts_nor_corroborates_a_proved_one() -> None:
    made = combine("n", "int", 4, [("a", answer(1, proved=False)), ("b", answer(2))])
    assert (made.value, made.certainty, made.conflict) == (2, Certainty.PROVED, None)
    assert made.corroborated_by == ()
