"""Recipes of recipes/locking and recipes/generic on facts made by hand: what decides."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from drgn import Object, Program

from crashkit.crash import Stack
from crashkit.crash.panics import CACHE_KEY, atomic, spin, stack, stall
from crashkit.crash.panics.cpus import CpuLine
from crashkit.crash.panics.exec import Exec
from crashkit.crash.panics.places import Place
from crashkit.crash.panics.waits import WaitingTask, Waits
from crashkit.crash.panics.waits_chain import chain_from, victim
from crashkit.crash.panics.waits_graph import Edge, causes_of, cycles_of
from crashkit.crash.panics.waits_parts import Wait
from crashkit.decode.cpus import split_preempt_count
from crashkit.decode.locks import Lock
from crashkit.decode.locks_spin import SpinLock
from crashkit.decode.stalls import HungTaskSettings
from crashkit.decode.stalls_rcu import RcuCpu, RcuPeriod
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Diagnosis, Fault, Link
from crashkit.finding import Finding, Verdict
from crashkit.oops import parse_oops
from crashkit.recipe import load_recipes, run_recipe
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel
from tests.unit.lock_doubles import lock_kernel, task
from tests.unit.report_doubles import FakeCrash, as_crash, empty, frame

MUTEX, OTHER = 0xFFFF_8880_0B00_1000, 0xFFFF_8880_0B00_2000
GONE = Unavailable("page", Reason.NOT_IN_DUMP, "filtered")
HUNG = "[ 9.1] INFO: task a:1 blocked for more than 4 seconds.\n"


@dataclass
class Facts(FakeCrash):
    """A crash whose sections of panic.facts a test gives."""

    kernel: Kernel = field(default_factory=lock_kernel)
    sections: dict[str, object] = field(default_factory=dict)
    kind: str = "hung-task"
    stacks: dict[int, Stack] = field(default_factory=dict)
    whole: bool = True

    def __post_init__(self) -> None:
        found = parse_oops(HUNG)
        assert found is not None
        self.oops = replace(found, kind=self.kind)
        self.kernel.prog.cache[CACHE_KEY] = self.sections

    @property
    def prog(self) -> Program:
        return self.kernel.prog

    @property
    def crashed_stack(self) -> Stack:
        end = None if self.whole else Reason.CORRUPTED
        return Stack(thread=self.thread, running=True, frames=self.frames, end="x", reason=end)

    def stack_on(self, cpu: int) -> Stack:
        return self.stacks[cpu]

    def cpu_stacks(self) -> tuple[Stack, ...]:
        return (self.crashed_stack,)


def facts(**more: Any) -> Facts:
    return Facts(target=empty().target, **more)


def run(recipe_id: str, crash: Facts) -> Finding:
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, as_crash(crash))
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


def outcome(found: Finding) -> tuple[Verdict, dict[str, bool | None]]:
    return found.verdict, {check.id: check.holds for check in found.checks}


def at(function: str) -> Place:
    return Place(function=function, offset=8, module=None, pc=1)


# hung tasks


def lock(kind: str, address: int, owner: int | None, hint: int | None = None) -> Lock:
    held = "read" if hint else "held" if owner or kind == "semaphore" else "free"
    why = {} if owner else {"owner": Unavailable("owner", Reason.NOT_APPLICABLE, "keeps none")}
    return Lock(kind=kind, address=address, name=None, held=held, owner=owner, hint=hint,
                readers=None, flags=(), waiters=(), absent=why)  # fmt: skip


def wait(kind: str | None, address: int, owner: int | None, hint: int | None = None) -> Wait:
    sure = Certainty.PROVED if owner else Certainty.INFERRED if hint else None
    found = None if kind is None else lock(kind, address, owner, hint)
    return Wait(kind=kind, address=address, lock=found, wants="", how="its list",
                certainty=Certainty.PROVED, owner=owner or hint, owner_certainty=sure,
                owner_how="the lock's owner" if owner else "the last to take it",
                absent=found.absent if found else {"kind": GONE})  # fmt: skip


class Hang:
    """Tasks 1, 2, 3 of a kernel, and what they wait for."""

    def __init__(self) -> None:
        self.kernel = lock_kernel()
        self.at = [int(task(self.kernel, pid, b"x", __state=2)) for pid in (1, 2, 3)]
        self.lines: list[WaitingTask] = []

    def add(self, number: int, found: Wait | None, state: str = "D", seconds: float = 9.0) -> None:
        address = self.at[number]
        pointer = Object(self.kernel.prog, "struct task_struct *", address)
        self.kernel.set(pointer, {"__state": 2 if state == "D" else 1})
        line = WaitingTask(task=address, pid=number + 1, comm="abc"[number], cpu=0, state=state,
                           running=False, seconds=seconds, killable=False,
                           place=at(f"in_{'abc'[number]}"), callers=(), wait=found)  # fmt: skip
        self.lines.append(line)

    def waits(self) -> Waits:
        edges = {
            line.task: Edge(waiter=line.task, owner=line.wait.owner, kind=line.wait.kind or "",
                            address=line.wait.address, certainty=line.wait.owner_certainty)
            for line in self.lines
            if line.wait and line.wait.owner and line.wait.owner_certainty
        }  # fmt: skip
        there = [line.task for line in self.lines]
        settings = HungTaskSettings(timeout_s=4, panic=1, check_count=None, check_interval_s=None,
                                    warnings_left=1, detected=None, absent={})  # fmt: skip
        return Waits(blocked=len(there), not_looked_at=0, tasks=tuple(self.lines),
                     edges=tuple(edges.values()), cycles=cycles_of(edges),
                     causes=causes_of(edges, there), khungtaskd=settings)  # fmt: skip

    def crash(self, kind: str = "hung-task") -> Facts:
        return facts(kernel=self.kernel, kind=kind, sections={"waits": self.waits()})


def two_mutexes() -> Hang:
    hang = Hang()
    hang.add(0, wait("mutex", MUTEX, hang.at[1]))
    hang.add(1, wait("mutex", OTHER, hang.at[0]))
    return hang


def one_owner(state: str = "S", *, hint: bool = False) -> Hang:
    hang = Hang()
    owner = hang.at[1]
    found = wait("rwsem", MUTEX, None, owner) if hint else wait("mutex", MUTEX, owner)
    hang.add(0, found)
    hang.add(1, None, state)
    return hang


def test_a_circle_of_owners_is_a_deadlock_and_no_sleeping_owner() -> None:
    found = run("abba-deadlock", two_mutexes().crash())
    assert found.verdict is Verdict.CONFIRMED, outcome(found)
    assert found.advice is not None
    assert f"b (2) waits for {OTHER:016x} in in_b+0x8" in found.advice
    verdict, holds = outcome(run("lock-owner-sleeps", two_mutexes().crash()))
    assert (verdict, holds["ends"]) == (Verdict.REFUTED, False)


def test_an_owner_that_sleeps_is_no_deadlock() -> None:
    found = run("lock-owner-sleeps", one_owner().crash())
    assert (found.verdict, found.classes) == (Verdict.CONFIRMED, ("owner sleeps",))
    assert outcome(run("abba-deadlock", one_owner().crash()))[0] is Verdict.REFUTED


def test_a_reader_is_likely_and_leaves_the_circle_open() -> None:
    found = run("lock-owner-sleeps", one_owner(hint=True).crash())
    assert (found.verdict, found.classes) == (Verdict.CONFIRMED, ("owner sleeps", "last reader ~"))
    assert outcome(run("abba-deadlock", one_owner(hint=True).crash()))[0] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("kind", "deadlock", "owner"),
    [
        ("completion", Verdict.REFUTED, Verdict.REFUTED),
        ("semaphore", Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (None, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_what_has_no_owner(kind: str | None, deadlock: Verdict, owner: Verdict) -> None:
    hang = Hang()
    hang.add(0, wait(kind, MUTEX, None))
    if deadlock is Verdict.REFUTED:
        # A chain that ends is needed to say so; the completion's own task is it.
        assert chain_from(hang.waits(), hang.at[0]).end is not None
    assert outcome(run("abba-deadlock", hang.crash()))[0] is deadlock
    assert outcome(run("lock-owner-sleeps", hang.crash()))[0] is owner


def test_an_owner_that_is_no_task_leaves_both_open() -> None:
    hang = Hang()
    hang.add(0, wait("mutex", MUTEX, 0xFFFF_8880_DEAD_0000))
    assert outcome(run("abba-deadlock", hang.crash()))[0] is Verdict.INCONCLUSIVE
    assert outcome(run("lock-owner-sleeps", hang.crash()))[0] is Verdict.INCONCLUSIVE


def test_the_victim_is_the_reported_task_or_another_that_hangs_for_an_owner() -> None:
    hang = Hang()
    hang.add(0, wait("completion", MUTEX, None))
    hang.add(1, wait("mutex", OTHER, hang.at[2]), seconds=1.0)
    hang.add(2, None, "S")
    found = victim(as_crash(hang.crash()), hang.waits())
    assert found is not None
    assert found.pid == 1  # the other has only just begun to wait
    hang.lines[1] = replace(hang.lines[1], seconds=8.0)
    found = victim(as_crash(hang.crash()), hang.waits())
    assert found is not None
    assert found.pid == 2
    hang.lines = hang.lines[1:]  # the reported task cannot be read
    assert victim(as_crash(hang.crash()), hang.waits()) is None


def test_a_crash_through_sysrq_is_looked_at_only_for_a_circle() -> None:
    recipe = load_recipes().find("abba-deadlock")
    assert recipe is not None
    assert run_recipe(recipe, as_crash(one_owner().crash("sysrq"))) is None
    assert run("abba-deadlock", two_mutexes().crash("sysrq")).verdict is Verdict.CONFIRMED


# CPUs


def contended(*cpus: int, holder: int | None, word: int | None = 1) -> spin.ContendedLock:
    taken = SpinLock(kind="spinlock", address=MUTEX, name="ring", value=word, locked=bool(word),
                     pending=False, readers=None, tail_cpu=None, queue=(), owner=None,
                     owner_cpu=None, absent={})  # fmt: skip
    spinners = tuple(
        spin.Spinner(cpu=cpu, pid=cpu, comm="s", task=1, place=at("fill"), callers=(),
                     certainty=Certainty.PROVED, how="argument lock")
        for cpu in cpus
    )  # fmt: skip
    held = () if holder is None else (
        spin.Holder(cpu=holder, pid=9, comm="h", task=2, place=at("poll"), callers=(),
                    certainty=Certainty.INFERRED, how="twice+0x14 called _raw_spin_lock() with it",
                    spins_itself=holder in cpus),
    )  # fmt: skip
    absent = {} if word is not None else {"lock": GONE}
    return spin.ContendedLock(kind="spinlock", address=MUTEX, lock=taken, spinners=spinners,
                              holders=held, absent=absent)  # fmt: skip


@pytest.mark.parametrize(
    ("lock_", "cycles", "verdict"),
    [
        (contended(1, holder=1), ((1,),), Verdict.CONFIRMED),
        (contended(1, holder=2), (), Verdict.REFUTED),
        (contended(1, holder=None), (), Verdict.INCONCLUSIVE),
        (contended(1, holder=1, word=None), ((1,),), Verdict.INCONCLUSIVE),
        (contended(1, holder=1, word=0), ((1,),), Verdict.REFUTED),
    ],
)
def test_a_spinlock(
    lock_: spin.ContendedLock, cycles: tuple[tuple[int, ...], ...], verdict: Verdict
) -> None:
    found = spin.Spins(locks=(lock_,), cycles=cycles)
    crash = facts(kind="soft-lockup", sections={"spin": found})
    result = run("spinlock-deadlock", crash)
    assert result.verdict is verdict, outcome(result)
    if verdict is Verdict.CONFIRMED:
        assert result.classes == ("one lock taken twice",)


def test_nobody_spins() -> None:
    crash = facts(kind="soft-lockup", sections={"spin": None}, frames=(frame(0, "poll"),))
    assert outcome(run("spinlock-deadlock", crash))[0] is Verdict.REFUTED
    crash = facts(kind="soft-lockup", sections={"spin": None})  # no stack can be walked
    assert outcome(run("spinlock-deadlock", crash))[0] is Verdict.INCONCLUSIVE


def stalled(flags: int | None, ticks: int, *, sees: bool = True, holds_up: bool = True) -> Facts:
    enabled = None if flags is None else bool(flags & 0x200)
    line = CpuLine(cpu=1, panicked=False, online=True, idle=False, task=1, pid=7, comm="deaf",
                   nr_running=1, preempt_count=None, context="process", interrupts=enabled,
                   stopped_by_panic=True, place=at("poll"), callers=("thread",),
                   absent={} if enabled is not None else {"interrupts": GONE})  # fmt: skip
    cpu = RcuCpu(cpu=1, holds_up=holds_up, sees_period=sees, needs_quiescent_state=True,
                 no_quiescent_state=True, ticks=ticks, callbacks=0, absent={})  # fmt: skip
    period = RcuPeriod(name="rcu", gp_seq=1, in_progress=True, running_s=4.0, idle_s=0.0,
                       gp_state=5, gp_kthread=None, forced=1, holding_up=(1,), readers=(),
                       timeout_s=4, absent={})  # fmt: skip
    one = stall.StalledCpu(line=line, since_s=None, watch=None, rcu=cpu)
    found = stall.Stall(kind="rcu-stall", lockup=None, printed=None, cpus=(one,), settings=None,
                        rcu=period, gp_kthread=None, readers=())  # fmt: skip
    saved = {} if flags is None else {
        "rflags": RegisterValue(value=flags, origin=Origin.REGISTER, certainty=Certainty.PROVED,
                                slot=0xFFFF_FE00_0000_0F88)
    }  # fmt: skip
    where = frame(0, "poll", 8, pc=1, interrupted=True, registers=saved)
    crash = facts(kind="rcu-stall", sections={"stall": found})
    crash.stacks[1] = Stack(thread=crash.thread, running=True, frames=(where,), end="x")
    return crash


@pytest.mark.parametrize(
    ("crash", "verdict"),
    [
        (stalled(0x46, 0), Verdict.CONFIRMED),
        (stalled(0x246, 0), Verdict.REFUTED),
        (stalled(None, 0), Verdict.INCONCLUSIVE),
        (stalled(0x46, 0, holds_up=False), Verdict.REFUTED),
    ],
)
def test_interrupts_of_a_stalled_cpu(crash: Facts, verdict: Verdict) -> None:
    assert outcome(run("interrupts-off-stall", crash))[0] is verdict


@pytest.mark.parametrize(
    ("ticks", "sees", "verdict"),
    [(900, True, Verdict.REFUTED), (900, False, Verdict.CONFIRMED), (3, True, Verdict.CONFIRMED)],
)
def test_ticks_exclude_it(
    ticks: int, sees: bool, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crashkit.decode.jiffies.ticks_per_second", lambda _prog: 250)
    found = run("interrupts-off-stall", stalled(0x46, ticks, sees=sees))
    assert found.verdict is verdict, outcome(found)


def slept(count: int, *functions: str, whole: bool = True) -> Facts:
    said = atomic.Atomic(comm="x", pid=1, count=split_preempt_count(2), own=1, interrupts_off=None,
                         place=at("msleep"), callers=("wait", "work"), spinlocks=())  # fmt: skip
    frames = tuple(
        frame(n, name, slot=0xFFFF_C900_0000_0000 + n) for n, name in enumerate(functions)
    )
    crash = facts(kind="scheduling-while-atomic", sections={"atomic": said}, frames=frames,
                  whole=whole)  # fmt: skip
    crash.thread = replace(crash.thread, cpu=count)
    return crash


@pytest.mark.parametrize(
    ("count", "functions", "whole", "verdict"),
    [
        (3, ("panic", "__schedule_bug.cold", "schedule"), True, Verdict.CONFIRMED),
        (0x101, ("__schedule_bug",), True, Verdict.CONFIRMED),
        (2, ("__schedule_bug",), True, Verdict.INCONCLUSIVE),  # perhaps panic()'s own
        (1, ("__schedule_bug",), True, Verdict.REFUTED),
        (3, ("panic", "do_exit"), True, Verdict.REFUTED),  # the message is of an earlier sleep
        (3, ("panic",), False, Verdict.INCONCLUSIVE),
    ],
)
def test_a_sleep_in_atomic_context(
    count: int,
    functions: tuple[str, ...],
    whole: bool,
    verdict: Verdict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class State:
        preempt_count = split_preempt_count(count)

    monkeypatch.setattr("crashkit.decode.cpus.decode_cpu", lambda _prog, _cpu: State)
    found = run("sleep-in-atomic", slept(1, *functions, whole=whole))
    assert found.verdict is verdict, outcome(found)


# wild calls


def jump(target: int, *, now: int | None = 0, certainty: Certainty = Certainty.PROVED) -> Fault:
    link = Link(expression="p->ops->close", ctype="int (*)(struct port *)", value=target,
                origin=Origin.REGISTER, certainty=Certainty.PROVED, register="rax",
                address=MUTEX, now=now, now_certainty=Certainty.INFERRED,
                absent={} if now is not None else {"now": Reason.NOT_IN_DUMP})  # fmt: skip
    return Fault(
        ip=target, symbol=None, offset=None, size=None, module=None, source=None, instruction=None,
        access="exec", address=target, bad_register="rax", expression="p->ops->close",
        null_or_bad="p->ops->close", alternatives=(), certainty=certainty,
        diagnosis=Diagnosis(kind="null", statement="it was NULL"), chain=(link,), steps=(),
        memory_disagrees=None, registers={"rip": target}, conflict=None, absent={}, why={},
        called_from="close_port+0xc [kinds]",
    )  # fmt: skip


def called(fault: Fault, *, indirect: bool = True) -> Facts:
    made = Exec(target=fault.ip or 0, kind="null", identity=None, last_unloaded=None,
                     return_address=0xFFFF_FFFF_C000_0011, caller="close_port+0x11 [kinds]",
                     call="call *%rax", call_is_indirect=indirect, absent={})  # fmt: skip
    crash = facts(kind="null-pointer-dereference", sections={"exec": made}, fault=fault)
    crash.fault_frame = frame(0, None, None, interrupted=True)
    return crash


def test_a_null_function_was_called() -> None:
    found = run("null-ops-call", called(jump(0)))
    assert found.verdict is Verdict.CONFIRMED, outcome(found)
    assert found.advice is not None
    assert found.advice.startswith("close_port+0xc [kinds] calls p->ops->close")
    held = next(check for check in found.checks if check.id == "held")
    assert held.values[0].certainty is Certainty.INFERRED  # the claim says so


@pytest.mark.parametrize(
    ("crash", "verdict"),
    [
        (called(jump(0x4A11_C0DE_4A11_C0DE, now=0x4A11_C0DE_4A11_C0DE)), Verdict.REFUTED),
        (called(jump(0, now=0xFFFF_FFFF_8100_0000)), Verdict.REFUTED),
        (called(jump(0), indirect=False), Verdict.REFUTED),
        (called(jump(0, now=None)), Verdict.INCONCLUSIVE),
        (called(jump(0, certainty=Certainty.INFERRED)), Verdict.INCONCLUSIVE),
        (called(replace(jump(0), chain=(), null_or_bad=None)), Verdict.INCONCLUSIVE),
    ],
)
def test_what_is_no_null_function(crash: Facts, verdict: Verdict) -> None:
    assert outcome(run("null-ops-call", crash))[0] is verdict


def test_a_target_outside_of_the_modules_area_is_no_stale_pointer() -> None:
    verdict, holds = outcome(run("stale-module-pointer", called(jump(0))))
    assert (verdict, holds["area"], holds["unmapped"]) == (Verdict.REFUTED, False, None)


def test_without_a_list_of_modules_nobody_knows() -> None:
    verdict, holds = outcome(run("stale-module-pointer", called(jump(0xFFFF_FFFF_C02B_1000))))
    assert (verdict, holds["area"]) == (Verdict.INCONCLUSIVE, None)


# stacks

LOW = 0xFFFF_C900_0000_0000
SIZE = 0x4000


def overflow(
    sp: int, *, rounds: int = 50, origin: str = "frames", place: str = "its guard page",
    complete: bool = True, access: int | None = None,
) -> Facts:  # fmt: skip
    cycle = stack.Cycle(functions=("descend",), rounds=rounds, bytes_per_round=272, origin=origin)
    found = stack.TaskStack(
        low=LOW, high=LOW + SIZE, sp=sp, place=place, left=sp - LOW, used=0,
        end_magic=stack.STACK_END_MAGIC, end_intact=True, depth=rounds, complete=complete,
        cycle=cycle if rounds else None, largest=(), canary=None, absent={},
    )  # fmt: skip
    frames: tuple[Frame, ...] = tuple(
        frame(n, "descend", sp=LOW + 16 + 272 * n, slot=LOW + 8 + 272 * n) for n in range(rounds)
    )
    crash = facts(kind="stack-overflow", sections={"stack": found}, frames=frames, whole=complete)
    crash.fault_frame = frame(0, "descend", interrupted=True)
    if access is not None:
        crash.fault = replace(jump(access), access="write")
    return crash


@pytest.mark.parametrize(
    ("crash", "verdict"),
    [
        (overflow(LOW - 24), Verdict.CONFIRMED),
        # push: the stack pointer has not moved yet
        (overflow(LOW, place="the task's stack", access=LOW - 8), Verdict.CONFIRMED),
        (overflow(LOW + 64, place="the task's stack", access=LOW - 8), Verdict.CONFIRMED),
        (overflow(LOW, place="the task's stack", access=LOW + 8), Verdict.REFUTED),
        (overflow(LOW, place="the task's stack", access=LOW - 0x1008), Verdict.REFUTED),
        (overflow(LOW + 0x3000, place="the task's stack"), Verdict.REFUTED),
        (overflow(1, place="no stack", rounds=0, complete=False), Verdict.REFUTED),
        (overflow(LOW - 24, rounds=3), Verdict.REFUTED),  # deep, or one large frame
        (overflow(LOW - 24, origin="words", complete=False), Verdict.INCONCLUSIVE),
        (overflow(LOW - 24, rounds=3, complete=False), Verdict.INCONCLUSIVE),
    ],
)
def test_a_stack_that_ran_out(crash: Facts, verdict: Verdict) -> None:
    found = run("stack-recursion", crash)
    assert found.verdict is verdict, outcome(found)


@pytest.mark.parametrize(
    "crash",
    [
        stalled(0x46, 0),
        slept(1, "__schedule_bug"),
        overflow(LOW - 24),
        called(jump(0)),
        two_mutexes().crash(),
    ],
)
def test_text_alone_is_not_looked_at(crash: Facts) -> None:
    crash.target = replace(crash.target, format="text")
    places = ("locking/", "generic/")
    mine = [r.meta.id for r in load_recipes().recipes if r.source.name.startswith(places)]
    assert "abba-deadlock" in mine
    for recipe_id in mine:
        recipe = load_recipes().find(recipe_id)
        assert recipe is not None
        assert not recipe.applies(as_crash(crash)), recipe_id
