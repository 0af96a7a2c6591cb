"""Damaged stacks of a stock kernel: one clear end, nothing proved, every other task as before."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from crashkit.crash import Crash, Stack, open_crash
from crashkit.errors import Reason
from crashkit.unwind import Frame
from crashkit.value import Certainty
from tests.lab.conftest import lab_vmcore
from tests.samples.conftest import PAGE, mask
from tests.samples.test_bt import names, overwrite

pytestmark = pytest.mark.lab

NAME = "clash-stock-6.1"
INIT = 1
RUNS = int(os.environ.get("CRASHKIT_FUZZ_RUNS", "16"))
Open = Callable[..., Crash]


@pytest.fixture
def whole(opened: Open) -> Stack:
    """The stack of init, which sleeps."""
    return opened(NAME).stack_of(INIT)


@pytest.fixture
def damaged() -> Crash:
    """The dump opened by itself, to be damaged."""
    return open_crash(lab_vmcore(NAME), types="btf")


def certainties(crash: Crash, stack: Stack) -> set[Certainty]:
    held = {r.certainty for f in stack.frames for r in f.registers.values() if r.slot is not None}
    return held | {a.certainty for f in stack.frames for a in crash.arguments(f)[0]}


def slot(frame: Frame) -> int:
    assert frame.slot is not None
    return frame.slot


def test_the_whole_stack_proves_something(opened: Open, whole: Stack) -> None:
    assert Certainty.PROVED in certainties(opened(NAME), whole)
    assert (whole.complete, whole.damage) == (True, None)


@pytest.mark.parametrize(
    "pc", [0, 0x1234, 0x7FFF_1234_5678, 0x8000_0000_0000_0000, 0xFFFF_8000_0000_0000, (1 << 64) - 1]
)
def test_garbage_return_address(damaged: Crash, whole: Stack, pc: int) -> None:
    overwrite(damaged.prog, slot(whole.frames[4]), pc)
    stack = damaged.stack_of(INIT)
    assert names(stack) == names(whole)[:4]
    assert stack.reason is Reason.CORRUPTED
    assert stack.damage is not None
    assert certainties(damaged, stack) <= {Certainty.INFERRED}


def test_return_address_into_another_function(damaged: Crash, whole: Stack) -> None:
    # A whole address of code, but no call in front of it leads to the frame's function.
    inner, frame = whole.frames[3], whole.frames[4]
    assert frame.offset is not None
    overwrite(damaged.prog, slot(frame), frame.pc - frame.offset)
    stack = damaged.stack_of(INIT)
    assert names(stack)[:4] == names(whole)[:4]
    (found, missing) = damaged.arguments(next(f for f in stack.frames if f.sp == inner.sp))
    assert found or missing
    assert all("calls" not in a.how for a in found)


def test_exception_frame_that_leads_back_into_itself(damaged: Crash) -> None:
    fault = damaged.fault_frame
    assert fault is not None
    assert fault.pt_regs is not None
    back = next(frame for frame in damaged.frames if frame.function == "exc_page_fault")
    other = open_crash(lab_vmcore(NAME), types="btf")
    regs = other.prog.type("struct pt_regs")
    at = {member.name: member.offset for member in regs.members or ()}
    overwrite(other.prog, fault.pt_regs + at["ip"], back.pc)
    overwrite(other.prog, fault.pt_regs + at["sp"], back.sp)
    stack = other.crashed_stack
    assert stack.reason in (Reason.CORRUPTED, Reason.BUDGET)
    assert stack.damage is not None
    assert len(stack.frames) < 40
    assert certainties(other, stack) <= {Certainty.INFERRED}


def test_stack_pointer_below_its_stack(damaged: Crash, whole: Stack) -> None:
    # An overflow: the task was stopped outside.
    low = min(low for low, _high, _segment in whole.ranges)
    pointer = next(t for t in damaged.tasks() if int(t.pid) == INIT).thread.sp
    overwrite(damaged.prog, int(pointer.address_of_()), low - 0x40)
    stack = damaged.stack_of(INIT)
    assert (stack.frames, stack.reason) == ((), Reason.CORRUPTED)
    assert "is not on the task's stack" in stack.end


def test_overwritten_end_of_the_stack(damaged: Crash, whole: Stack) -> None:
    low = min(low for low, _high, _segment in whole.ranges)
    overwrite(damaged.prog, low, 0x6B6B_6B6B_6B6B_6B6B)
    stack = damaged.stack_of(INIT)
    assert names(stack) == names(whole)
    assert "STACK_END_MAGIC" in (stack.damage or "")
    assert certainties(damaged, stack) == {Certainty.INFERRED}


def test_stack_that_is_not_in_the_dump(damaged: Crash, whole: Stack) -> None:
    for low, high, _segment in whole.ranges:
        for page in range(low, high, PAGE):
            mask(damaged.prog, page)
    stack = damaged.stack_of(INIT)
    assert (stack.frames, stack.reason) == ((), Reason.NOT_IN_DUMP)
    assert stack.damage is None


def test_code_that_is_not_in_the_dump(opened: Open, damaged: Crash, whole: Stack) -> None:
    # The walk needs no code; what the functions do is then not known.
    for frame in whole.frames[2:]:
        mask(damaged.prog, frame.pc)
        mask(damaged.prog, frame.pc - (frame.offset or 0))
    stack = damaged.stack_of(INIT)
    assert names(stack) == names(whole)
    known = {(f.sp, a.name): a.value for f in whole.frames for a in opened(NAME).arguments(f)[0]}
    for frame in stack.frames:
        found, missing = damaged.arguments(frame)
        assert all(known[frame.sp, a.name] == a.value for a in found)
        assert Reason.NOT_IN_DUMP in {m.reason for m in missing} or not missing


def test_task_that_is_not_in_the_dump(opened: Open, damaged: Crash) -> None:
    task = next(t for t in opened(NAME).tasks() if int(t.pid) == INIT)
    mask(damaged.prog, int(task.comm.address_of_()))
    mask(damaged.prog, int(task.stack.address_of_()))
    stacks = [s for group in damaged.all_stacks() for s in group.stacks]
    assert sum(s.thread.task == int(task) for s in stacks) <= 1
    mine = [s for s in stacks if s.thread.task == int(task)]
    assert all(s.reason is Reason.NOT_IN_DUMP for s in mine)


def test_damage_of_one_stack_leaves_the_others(opened: Open, damaged: Crash, whole: Stack) -> None:
    overwrite(damaged.prog, slot(whole.frames[4]), 0x1234)
    theirs = {s.thread.task: s for g in damaged.all_stacks() for s in g.stacks}
    ours = {s.thread.task: s for g in opened(NAME).all_stacks() for s in g.stacks}
    assert theirs.keys() == ours.keys()
    differ = [task for task, stack in ours.items() if stack.frames != theirs[task].frames]
    assert differ == [whole.thread.task]


@pytest.mark.parametrize("seed", range(RUNS))
def test_noise_on_a_stack_is_survived(whole: Stack, seed: int) -> None:
    dice = random.Random(seed)
    crash = open_crash(lab_vmcore(NAME), types="btf")
    first, top = whole.frames[0].sp, max(high for _low, high, _segment in whole.ranges)
    wild = (0, (1 << 64) - 1, first, top, whole.frames[-1].pc, *(f.pc for f in whole.frames))
    for _ in range(dice.choice((1, 4, 32))):
        at = first + 8 * dice.randrange((top - first) // 8)
        overwrite(crash.prog, at, dice.choice((*wild, dice.getrandbits(64))))
    stack = crash.stack_of(INIT)
    found = certainties(crash, stack)
    assert stack.damage is None or found <= {Certainty.INFERRED}
    assert len(stack.frames) < 200
    crash.who_holds(first)
