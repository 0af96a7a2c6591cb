"""Every task's stack of a committed sample: walked, folded, and with damage done to it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import drgn
import pytest

from crashkit.crash import Crash, Stack, open_crash
from crashkit.errors import Reason, Unavailable
from crashkit.unwind import Segment
from crashkit.value import Certainty
from tests.samples.conftest import SAMPLES, mask

pytestmark = pytest.mark.sample

NAME = "clash-ct-net"
Sample = Callable[[str], Crash]


@pytest.fixture
def crash(sample: Sample) -> Crash:
    return sample(NAME)


@pytest.fixture
def fresh() -> Crash:
    return open_crash(SAMPLES / NAME / "vmcore", types="btf")


def overwrite(prog: drgn.Program, address: int, *words: int) -> None:
    """Let memory hold other words, as if the dump had them."""
    data = struct.pack(f"<{len(words)}Q", *words)

    def read(at: int, count: int, offset: int, physical: bool) -> bytes:
        return data[offset : offset + count]

    prog.add_memory_segment(address, len(data), read)


def names(stack: Stack) -> list[str | None]:
    return [frame.function for frame in stack.frames if not frame.inlined]


def sleeper(crash: Crash) -> drgn.Object:
    """A task that sleeps in nanosleep()."""
    for task in crash.tasks():
        if "do_nanosleep" in names(crash.stack_of(task)) and not crash.stack_of(task).running:
            return task
    raise AssertionError("the sample has a sleeping task")


def test_every_task_has_a_complete_stack(crash: Crash) -> None:
    folded = crash.all_stacks()
    stacks = [stack for group in folded for stack in group.stacks]
    assert len(stacks) == len(crash.tasks()) == 69
    assert [stack.end for stack in stacks if not stack.complete or stack.damage] == []
    assert [group.count for group in folded] == sorted((g.count for g in folded), reverse=True)
    for group in folded:
        assert {tuple(names(stack)) for stack in group.stacks} == {tuple(names(group.first))}
    assert len(folded) < len(stacks) / 2


def test_sleeping_tasks_agree_with_drgn(crash: Crash) -> None:
    # drgn reads the same inactive_task_frame and the same ORC, with its own code.
    checked = 0
    for task in crash.tasks():
        stack = crash.stack_of(task)
        if stack.running:
            continue
        theirs = [frame.pc for frame in crash.prog.stack_trace(task)]
        ours = [frame.pc for frame in stack.frames]
        assert ours == theirs[: len(ours)], stack.thread
        assert len(theirs) - len(ours) <= 1  # drgn goes on into user space
        checked += 1
    assert checked > 50


def test_stopped_cpus_begin_in_the_nmi(crash: Crash) -> None:
    stopped = [s for s in crash.cpu_stacks() if s.thread.cpu != crash.thread.cpu]
    assert len(stopped) == 3
    for stack in stopped:
        assert names(stack)[0] == "crash_nmi_callback"
        assert stack.frames[0].segment is Segment.NMI
        interrupted = next(f for f in stack.frames if f.interrupted)
        assert interrupted.segment is not Segment.NMI
        assert stack.starts_another(stack.frames.index(interrupted))
        before = stack.frames[stack.frames.index(interrupted) - 1]
        assert interrupted.index == before.index + 1  # numbered anew, as crash does


def test_crashed_task_and_its_cpu_give_the_crashed_stack(crash: Crash) -> None:
    cpu, pid = crash.thread.cpu, crash.thread.pid
    assert cpu is not None
    assert pid is not None
    assert crash.stack_on(cpu).frames == crash.frames == crash.stack_of(pid).frames


def test_a_task_or_cpu_that_is_not_there(crash: Crash) -> None:
    with pytest.raises(Unavailable) as no_task:
        crash.stack_of(99999)
    with pytest.raises(Unavailable) as no_cpu:
        crash.stack_on(77)
    assert no_task.value.reason is no_cpu.value.reason is Reason.NOT_APPLICABLE


def test_the_skb_is_followed_through_its_frames(crash: Crash) -> None:
    skb = crash.skb()
    holders = crash.who_holds(skb)
    arguments = {(h.function, h.place) for h in holders if h.place.startswith("argument")}
    assert ("nf_confirm", "argument skb") in arguments
    assert len({holder.function for holder in holders}) >= 2
    assert all(h.certainty is Certainty.INFERRED for h in holders if h.place.startswith("slot"))
    assert crash.who_holds(0x5EED_5EED_5EED) == ()


def test_register_at_entry_is_the_first_argument(crash: Crash) -> None:
    frame = crash.find_frame("nf_confirm")
    assert frame is not None
    skb = {a.name: a for a in crash.arguments(frame)[0]}["skb"]
    position = [p.name for p in crash.prog["nf_confirm"].type_.parameters].index("skb")
    register = ("rdi", "rsi", "rdx")[position]
    assert crash.register_at_entry(frame, register).value == skb.value


def test_stack_pointer_off_the_stack(fresh: Crash) -> None:
    task = sleeper(fresh)
    pid, address = int(task.pid), int(task)
    other = open_crash(SAMPLES / NAME / "vmcore", types="btf")
    overwrite(other.prog, int(task.thread.sp.address_of_()), 0xDEAD_BEEF_0000)
    stack = other.stack_of(pid)
    assert stack.thread.task == address
    assert (stack.frames, stack.reason) == ((), Reason.CORRUPTED)
    assert "0xdeadbeef0000 is not on the task's stack" in stack.end
    assert all(s.complete for g in other.all_stacks() for s in g.stacks if s.thread.pid != pid)


def test_missing_page_ends_one_stack_only(fresh: Crash) -> None:
    task = sleeper(fresh)
    other = open_crash(SAMPLES / NAME / "vmcore", types="btf")
    mask(other.prog, int(task.thread.sp))
    stack = other.stack_of(int(task.pid))
    assert stack.reason is Reason.NOT_IN_DUMP
    assert stack.damage is None
    rest = [s for g in other.all_stacks() for s in g.stacks if s.thread.pid != stack.thread.pid]
    assert all(s.complete for s in rest)


@pytest.mark.parametrize("damage", ["garbage", "wild", "overflow"])
def test_what_is_on_a_corrupt_stack_is_not_proved(fresh: Crash, damage: str) -> None:
    task = sleeper(fresh)
    whole = fresh.stack_of(task)
    proved = [a for f in whole.frames for a in fresh.arguments(f)[0]
              if a.certainty is Certainty.PROVED]  # fmt: skip
    assert proved
    other = open_crash(SAMPLES / NAME / "vmcore", types="btf")
    slots = [frame.slot for frame in whole.frames if frame.slot]
    if damage == "garbage":
        overwrite(other.prog, slots[5], 0x1234)
    elif damage == "wild":
        overwrite(other.prog, slots[5], 0xFFFF_8000_0000_0000)
    else:
        overwrite(other.prog, int(task.stack), 0x4141_4141_4141_4141)
    stack = other.stack_of(int(task.pid))
    assert stack.damage is not None
    found = [a for f in stack.frames for a in other.arguments(f)[0]]
    assert found
    assert all(a.certainty is Certainty.INFERRED for a in found)
    saved = [r for f in stack.frames for r in f.registers.values() if r.slot is not None]
    assert all(r.certainty is Certainty.INFERRED for r in saved)
    if damage == "overflow":
        assert stack.complete
        assert names(stack) == names(whole)
        assert "not STACK_END_MAGIC" in stack.damage
    else:
        assert stack.reason is Reason.CORRUPTED
        assert names(stack) == names(whole)[:5]


def test_words_cover_the_stack_without_a_gap(crash: Crash) -> None:
    stack = crash.stack_of(sleeper(crash))
    words = [word for n in range(len(stack.frames)) for word in crash.stack_words(stack, n)]
    addresses = [address for address, _word in words]
    assert addresses == list(range(addresses[0], addresses[0] + 8 * len(words), 8))
    top = next(high for low, high, _s in stack.ranges if low <= addresses[0] < high)
    assert addresses[-1] == top - 8
    held = dict(words)
    for frame in stack.frames[1:]:
        assert frame.slot is not None
        assert held[frame.slot] == frame.pc
