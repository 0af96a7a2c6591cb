"""Rules that the others make hard to see from outside, each by itself."""

from __future__ import annotations

from crashkit.dataflow import FrameAddress, Slot, State, add, split
from crashkit.dataflow.transfer import Transfer
from crashkit.disasm import disassemble
from crashkit.unwind import Context, walk
from tests.unit.stack_doubles import TEXT
from tests.unit.test_unwind import SP, chain, known

LOAD, COPY, SPILL = disassemble(bytes.fromhex("488b07 4889c3 48890424"), 0x1000)


def test_a_load_executed_again_is_not_what_was_loaded_before() -> None:
    transfer, state = Transfer(), State.at_entry()
    state.set_register("rsp", FrameAddress(-24))
    for instruction in (LOAD, COPY, SPILL, LOAD):
        transfer.apply(state, instruction)
    assert state.register("rbx") != state.register("rax")
    slot = state.slots.get(-24)
    assert slot is None or slot.term != state.register("rax")


def test_a_name_of_a_blocks_earlier_entry_is_not_that_of_this_one() -> None:
    # rdi and rsi are equal on two ways in; the third way changed one of them only.
    for changed in ("rdi", "rsi"):
        first, second = State.at_entry(), State.at_entry()
        first.set_register("rsi", first.register("rdi"))
        for name in ("rdi", "rsi"):
            second.set_register(name, second.register("rdx"))
        first.join(second, 0x1000)
        assert first.register("rdi") == first.register("rsi")
        third = first.copy()
        third.set_register(changed, third.register("r8"))
        first.join(third, 0x1000)
        assert first.register("rdi") != first.register("rsi")


def test_a_slot_with_such_a_name_neither() -> None:
    first, second = State.at_entry(), State.at_entry()
    for state, source in ((first, "rdi"), (second, "rdx")):
        state.set_register("rsp", FrameAddress(-24))
        state.store(-24, Slot(8, state.register(source)))
        state.set_register("rdi", state.register(source))
    first.join(second, 0x1000)
    assert first.slots[-24].term == first.register("rdi")
    third = first.copy()
    third.set_register("rdi", third.register("r8"))
    first.join(third, 0x1000)
    assert first.slots[-24].term != first.register("rdi")


def test_places_are_merged_together_only_at_one_distance() -> None:
    first, second = State.at_entry(), State.at_entry()
    for state, source, distance in ((first, "rdi", 16), (second, "rdx", 32)):
        state.set_register("rax", add(state.register(source), 8))
        state.set_register("rcx", add(state.register(source), distance))
    first.join(second, 0x1000)
    assert split(first.register("rax"))[0] != split(first.register("rcx"))[0]


def test_a_register_that_nobody_followed_is_not_given_on() -> None:
    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbx=1, r12=2))
    walked = walk(chain().program(), start)
    assert "rbx" in walked.frames[0].registers
    assert not {"rbx", "r12"} & set(walked.frames[1].registers)
