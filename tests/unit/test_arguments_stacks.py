"""Arguments on whole stacks: what damage leaves of them, who holds a value, folding."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drgn import Object, Program

from crashkit.crash import Crash, FoldedStack, Stack, Thread, core, stack, tasks
from crashkit.crash.folding import fold
from crashkit.crash.holders import find_holders
from crashkit.crash.walked import Walked
from crashkit.errors import Reason, Unavailable
from crashkit.symbols.attach import Attached
from crashkit.target import Target
from crashkit.unwind import Context, Frame, RegisterValue, Segment, Walk
from crashkit.value import Certainty, Origin
from tests.unit.arguments_doubles import PASSED, SP, Stacked
from tests.unit.kernel_doubles import Kernel

KEEP = bytes.fromhex("53 48 89 fb")  # push %rbx; mov %rdi,%rbx
RESTORE = bytes.fromhex("5b c3")
TASK_STACK = SP & ~0x3FFF
END_MAGIC = 0x57AC6E9D


def thread(pid: int | None = 1, task: int | None = 0x1000, cpu: int | None = 0) -> Thread:
    return Thread(cpu=cpu, pid=pid, comm="x", task=task, context=None, absent={})


def made(damage: str | None = None) -> tuple[Stacked, Stack]:
    """A stack of a callee and its caller, which keeps the first argument in rbx."""
    two = Stacked()
    two.caller(KEEP, RESTORE, depth=16, rbx=PASSED)
    two.words(SP - 8, two.frames[1].pc, 0, 0, 0)
    two.change(1, slot=SP - 8)
    walked = Stack(
        thread=thread(), running=True, frames=tuple(two.frames), end="user space", damage=damage,
        ranges=((SP - 0x100, SP + 0x18, Segment.TASK),),
    )  # fmt: skip
    return two, walked


def walked_of(two: Stacked, *stacks: Stack) -> Walked:
    walked = Walked(two.kernel.prog, sources=False)
    for one in stacks:
        walked.add(one)
    return walked


def test_arguments_on_a_whole_stack_are_proved() -> None:
    two, one = made()
    (argument,) = walked_of(two, one).arguments(two.frames[0])[0]
    assert (argument.value, argument.certainty) == (PASSED, Certainty.PROVED)


def test_nothing_on_a_corrupt_stack_is_proved() -> None:
    two, one = made("its end is overwritten")
    walked = walked_of(two, one)
    (argument,) = walked.arguments(two.frames[0])[0]
    assert (argument.value, argument.certainty) == (PASSED, Certainty.INFERRED)
    answer = walked.register_at_entry(two.frames[0], "rdi")
    assert (answer.value, answer.proved) == (PASSED, False)
    held = find_holders(two.kernel.prog, walked, [one], PASSED)
    assert [h.place for h in held] == ["argument a", "rbx"]
    assert {h.certainty for h in held} == {Certainty.INFERRED}


def test_a_register_at_entry_on_a_whole_stack() -> None:
    two, one = made()
    walked = walked_of(two, one)
    answer = walked.register_at_entry(two.frames[0], "rdi")
    assert (answer.value, answer.proved) == (PASSED, True)
    with pytest.raises(Unavailable) as inlined:
        walked.register_at_entry(replace(two.frames[0], inlined=True), "rdi")
    assert inlined.value.reason is Reason.NOT_APPLICABLE


def test_a_frame_of_no_stack_is_refused() -> None:
    two, one = made()
    with pytest.raises(Unavailable) as unknown:
        walked_of(two, one).arguments(replace(two.frames[0], sp=SP - 0x80))
    assert unknown.value.reason is Reason.NOT_APPLICABLE
    assert walked_of(two, one).arguments(replace(two.frames[0], inlined=True)) == ((), ())


# Who holds a value


def test_a_value_is_followed_through_arguments_registers_and_slots() -> None:
    two, one = made()
    two.words(SP + 8, PASSED)
    held = find_holders(two.kernel.prog, walked_of(two, one), [one], PASSED)
    assert [(h.stack, h.function, h.place, h.certainty) for h in held] == [
        ("CPU 0", "callee", "argument a", Certainty.PROVED),
        ("CPU 0", "caller", "rbx", Certainty.PROVED),
        ("CPU 0", "caller", f"slot {SP + 8:016x}", Certainty.INFERRED),
    ]
    assert find_holders(two.kernel.prog, walked_of(two, one), [one], PASSED + 1) == ()


def test_a_sleeping_tasks_stack_is_named_by_its_pid() -> None:
    two, one = made()
    asleep = replace(one, running=False, thread=thread(pid=42))
    held = find_holders(two.kernel.prog, walked_of(two, asleep), [asleep], PASSED)
    assert {h.stack for h in held} == {"PID 42"}


def test_a_register_that_is_handed_on_is_told_once_with_its_slot() -> None:
    two, one = made()
    saved = RegisterValue(
        value=PASSED, origin=Origin.SAVED_REGISTER, certainty=Certainty.PROVED, slot=SP + 8,
        saved_by="callee",
    )  # fmt: skip
    frames = tuple(replace(frame, registers={"r12": saved}) for frame in one.frames)
    two.words(SP + 8, PASSED)
    shown = replace(one, frames=frames)
    held = find_holders(two.kernel.prog, walked_of(two, shown), [shown], PASSED)
    assert [(h.function, h.place) for h in held] == [("callee", "r12")]


def test_holders_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    two, one = made()
    monkeypatch.setattr("crashkit.crash.holders.MAX_HOLDERS", 1)
    assert len(find_holders(two.kernel.prog, walked_of(two, one), [one], PASSED)) == 1


# Folding


def folded(*stacks: Stack) -> list[tuple[int, tuple[int | None, ...]]]:
    groups: tuple[FoldedStack, ...] = fold(stacks)
    return [(group.count, group.pids) for group in groups]


def test_stacks_in_the_same_places_fold_the_most_frequent_first() -> None:
    _, one = made()
    other = replace(one, thread=thread(pid=2), frames=one.frames[1:])
    same = replace(other, thread=thread(pid=3))
    assert folded(one, other, same) == [(2, (2, 3)), (1, (1,))]


def test_what_tells_stacks_apart() -> None:
    _, one = made()
    inner, outer = one.frames
    pcs = replace(one, frames=(replace(inner, offset=7), outer))
    stopped = replace(one, frames=(replace(inner, interrupted=False), outer))
    cut = replace(one, reason=Reason.NOT_IN_DUMP)
    damaged = replace(one, damage="x")
    elsewhere = replace(one, frames=(replace(inner, sp=SP - 0x40), outer))
    inlined = replace(one, frames=(replace(inner, inlined=True), inner, outer))
    assert folded(one, pcs, stopped, cut, damaged) == [(1, (1,))] * 5
    assert folded(one, elsewhere, inlined) == [(3, (1, 1, 1))]
    assert folded() == []


# The walk of one task's stack


def a_task(end: int = END_MAGIC) -> tuple[Kernel, Object]:
    kernel = Kernel()
    kernel.struct("task_struct", 32, ("stack", "unsigned long", 0), ("pid", "int", 8),
                  ("comm", "char [16]", 12))  # fmt: skip
    kernel.constant("THREAD_SIZE", "unsigned long", 0x4000)
    kernel.put(TASK_STACK, end.to_bytes(8, "little"))
    return kernel, kernel.allocate("struct task_struct", stack=TASK_STACK, pid=9, comm=b"worker")


def walk_to(*frames: Frame, reason: Reason | None = None) -> Walk:
    return Walk(frames=frames, end="an end", complete=reason is None, reason=reason)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "is_running", lambda _prog, _task: False)
    monkeypatch.setattr(stack, "sleeping_registers", lambda *_: Context(pc=0, sp=SP, registers={}))


def saved_frame(origin: Origin = Origin.SAVED_REGISTER, slot: int | None = SP) -> Frame:
    held = RegisterValue(value=1, origin=origin, certainty=Certainty.PROVED, slot=slot)
    return replace(made()[0].frames[1], registers={"rbx": held})


@pytest.mark.usefixtures("asleep")
@pytest.mark.parametrize(
    ("reason", "end", "damaged"),
    [
        (None, END_MAGIC, False),
        (None, 0x4141_4141, True),
        (Reason.CORRUPTED, END_MAGIC, True),
        (Reason.BUDGET, END_MAGIC, True),
        (Reason.NOT_IN_DUMP, END_MAGIC, False),
    ],
)
def test_a_stack_that_shows_damage_has_doubtful_registers(
    monkeypatch: pytest.MonkeyPatch, reason: Reason | None, end: int, damaged: bool
) -> None:
    kernel, task = a_task(end)
    monkeypatch.setattr(stack, "walk", lambda *_a, **_k: walk_to(saved_frame(), reason=reason))
    found = stack.task_stack(kernel.prog, task, None)
    assert (found.thread.pid, found.thread.comm) == (9, "worker")
    assert (found.damage is not None, found.reason) == (damaged, reason)
    expected = Certainty.INFERRED if damaged else Certainty.PROVED
    assert found.frames[0].registers["rbx"].certainty is expected
    assert found.frames[0].segment is Segment.TASK


@pytest.mark.usefixtures("asleep")
def test_a_note_is_not_on_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, task = a_task(0)
    frame = saved_frame(Origin.REGISTER, None)
    monkeypatch.setattr(stack, "walk", lambda *_a, **_k: walk_to(frame))
    found = stack.task_stack(kernel.prog, task, None)
    assert found.damage is not None
    assert found.frames[0].registers["rbx"].certainty is Certainty.PROVED


@pytest.mark.usefixtures("asleep")
def test_a_stacks_end_that_is_not_in_the_dump_is_no_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, task = a_task()
    kernel.drop(TASK_STACK)
    monkeypatch.setattr(stack, "walk", lambda *_a, **_k: walk_to(saved_frame()))
    assert stack.task_stack(kernel.prog, task, None).damage is None


def test_a_task_nobody_can_tell_whether_it_runs_has_no_frames() -> None:
    kernel, task = a_task()
    found = stack.task_stack(kernel.prog, task, None)
    assert (found.frames, found.reason) == ((), Reason.NO_DEBUGINFO)
    assert found.thread.pid == 9


# Asking a crash


class Few(Crash):
    """A crash with three tasks and nothing that crashed."""

    def __init__(self, kernel: Kernel, listed: list[Object]) -> None:
        target = Target(path="vmcore", format="elf")
        super().__init__(target, kernel.prog, Attached(level="btf"))
        self.listed = listed


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Few:
    kernel, first = a_task()
    listed = [
        first,
        *(kernel.allocate("struct task_struct", stack=TASK_STACK, pid=n) for n in (10, 11)),
    ]
    by_pid = {int(task.pid): task for task in listed}

    def of_pid(_prog: Program, pid: int) -> Object:
        if pid not in by_pid:
            raise Unavailable(f"PID {pid}", Reason.NOT_APPLICABLE, "there is no such task")
        return by_pid[pid]

    frame = saved_frame()
    monkeypatch.setattr(core, "task_of_pid", of_pid)
    monkeypatch.setattr(
        core, "list_tasks", lambda _prog: tasks.Tasks(found={int(t): t for t in listed})
    )
    monkeypatch.setattr(stack, "is_running", lambda _prog, _task: False)
    monkeypatch.setattr(stack, "sleeping_registers", lambda *_: Context(pc=0, sp=SP, registers={}))
    monkeypatch.setattr(stack, "walk", lambda *_a, **_k: walk_to(frame))
    return Few(kernel, listed)


def test_a_tasks_stack_is_walked_once(few: Few) -> None:
    assert few.stack_of(10) is few.stack_of(few.listed[1])
    assert few.stack_of(10).thread.pid == 10
    with pytest.raises(Unavailable):
        few.stack_of(77)


def test_all_stacks_are_of_all_tasks_and_folded(few: Few) -> None:
    (group,) = few.all_stacks()
    assert (group.count, group.pids) == (3, (9, 10, 11))


def test_an_unreadable_list_of_tasks_is_said(few: Few, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Unavailable("further tasks", Reason.NOT_IN_DUMP, "gone")
    monkeypatch.setattr(core, "list_tasks", lambda _prog: tasks.Tasks(problem=broken))
    assert few.all_stacks() == ()
    assert [(limit.reason, limit.what) for limit in few.limits][-1][0] is Reason.NOT_IN_DUMP
