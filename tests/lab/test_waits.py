"""Hangs made in the lab: locks, owners, cycles and holders against what the guest printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.crash.panics import atomic, cpus, spin, stall, waits
from crashkit.crash.panics.spin import Spins
from crashkit.crash.panics.stall import Stall
from crashkit.crash.panics.waits import WaitingTask, Waits
from crashkit.value import Certainty
from tests.lab.conftest import full_folder

pytestmark = pytest.mark.lab

KERNELS = ("6.1", "6.12")
_FACT = re.compile(r"(\w+)=(\S+)")


class Hang:
    """One dump, its sections read once, and the facts that the guest printed."""

    def __init__(self, crash: Crash) -> None:
        self.crash = crash
        lines = [line for line in crash.log.split("\n") if "kinds: " in line]
        self.facts = dict(pair for line in lines for pair in _FACT.findall(line))

    def address(self, name: str) -> int:
        return int(self.facts[name], 16)

    def number(self, name: str) -> int:
        return int(self.facts[name])

    @property
    def waits(self) -> Waits:
        found = waits.read(self.crash)
        assert found is not None
        return found

    @property
    def spins(self) -> Spins:
        found = spin.read(self.crash)
        assert found is not None
        return found

    @property
    def stall(self) -> Stall:
        return stall.read(self.crash)

    def whole(self, cpu: int) -> bool:
        """Whether the stack on a CPU reaches its end: a module without unwind tables cuts it."""
        return self.crash.stack_on(cpu).complete

    def task(self, pid: int) -> WaitingTask:
        return next(task for task in self.waits.tasks if task.pid == pid)


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def _opened(name: str, kernel: str) -> Hang:
    vmcore = full_folder(f"kind-{name}-{kernel}") / "vmcore"
    return Hang(open_crash(vmcore, types="btf"))


@pytest.fixture(scope="module", autouse=True)
def _close() -> Iterator[None]:
    yield
    _opened.cache_clear()


def test_a_mutex_and_its_owner(kernel: str) -> None:
    hang = _opened("hungmutex", kernel)
    waiter, owner = hang.task(hang.number("waiter_pid")), hang.task(hang.number("owner_pid"))
    assert waiter.wait is not None
    assert waiter.wait.address == hang.address("mutex")
    assert (waiter.wait.owner, waiter.wait.certainty) == (owner.task, Certainty.PROVED)
    assert waiter.place is not None
    assert waiter.place.function == "change_config"
    assert waiter.seconds is not None
    assert 4 < waiter.seconds < 20
    (cause,) = hang.waits.causes
    assert (cause.task, cause.waiters, cause.in_cycle) == (owner.task, 1, False)
    assert hang.waits.khungtaskd is not None
    assert (hang.waits.khungtaskd.timeout_s, hang.waits.khungtaskd.panic) == (4, 1)


def test_two_mutexes_in_two_orders(kernel: str) -> None:
    hang = _opened("abba", kernel)
    pids = {task.task: task.pid for task in hang.waits.tasks}
    (cycle,) = hang.waits.cycles
    names = {task.task: task.comm for task in hang.waits.tasks}
    assert {names[task] for task in cycle} == {"kinds-cs", "kinds-sc"}
    locks = {task.comm: task.wait.address for task in hang.waits.tasks if task.wait}
    assert locks["kinds-cs"] == hang.address("stats_lock")
    assert locks["kinds-sc"] == hang.address("config")
    bystander = hang.task(hang.number("bystander_pid"))
    assert bystander.task not in cycle
    assert pids[cycle[0]] != bystander.pid
    assert all(edge.certainty is Certainty.PROVED for edge in hang.waits.edges)


def test_a_reader_of_an_rwsem_is_only_a_hint(kernel: str) -> None:
    hang = _opened("hungwriter", kernel)
    waiter = hang.task(hang.number("writer_pid"))
    assert waiter.wait is not None
    assert waiter.wait.address == hang.address("rwsem")
    assert (waiter.wait.kind, waiter.wait.wants) == ("rwsem", "write")
    assert waiter.wait.owner == hang.task(hang.number("reader_pid")).task
    assert waiter.wait.owner_certainty is Certainty.INFERRED
    late = next(task for task in hang.waits.tasks if task.comm == "kinds-late")
    assert late.wait is not None
    assert late.wait.wants == "read"


def test_a_writer_of_an_rwsem_is_its_owner(kernel: str) -> None:
    hang = _opened("hungreader", kernel)
    waiter = hang.task(hang.number("reader_pid"))
    assert waiter.wait is not None
    assert (waiter.wait.address, waiter.wait.wants) == (hang.address("rwsem"), "read")
    assert waiter.wait.owner == hang.task(hang.number("writer_pid")).task
    assert waiter.wait.owner_certainty is Certainty.PROVED


@pytest.mark.parametrize(
    ("name", "kind"), [("hungcompletion", "completion"), ("hungsemaphore", "semaphore")]
)
def test_what_has_no_owner_says_so(name: str, kind: str, kernel: str) -> None:
    hang = _opened(name, kernel)
    waiter = hang.task(hang.number("waiter_pid"))
    assert waiter.wait is not None
    assert (waiter.wait.kind, waiter.wait.address) == (kind, hang.address(kind))
    assert waiter.wait.owner is None
    assert "owner" in waiter.wait.absent
    assert hang.waits.causes == ()


def test_a_spinlock_its_waiters_and_its_holder(kernel: str) -> None:
    hang = _opened("spinlock", kernel)
    (lock,) = hang.spins.locks
    assert lock.address == hang.address("spinlock")
    assert {spinner.comm for spinner in lock.spinners} == {"kinds-wait0", "kinds-wait2"}
    assert hang.spins.cycles == ()
    assert all(holder.certainty is Certainty.INFERRED for holder in lock.holders)
    if hang.whole(1):
        assert [holder.pid for holder in lock.holders] == [hang.number("holder_pid")]


def test_a_spinlock_taken_twice(kernel: str) -> None:
    hang = _opened("spinself", kernel)
    (lock,) = hang.spins.locks
    assert lock.address == hang.address("spinlock")
    if hang.whole(1):
        assert [holder.spins_itself for holder in lock.holders] == [True]
        assert hang.spins.cycles == ((1,),)


def test_two_spinlocks_in_two_orders(kernel: str) -> None:
    hang = _opened("spinabba", kernel)
    there = {bytes(task.comm.string_()) for task in hang.crash.tasks()}
    if b"kinds-ro" not in there:
        pytest.skip("the guest's threads met each other too late: nothing is locked up")
    wanted = {lock.address: [s.cpu for s in lock.spinners] for lock in hang.spins.locks}
    assert wanted == {hang.address("other_lock"): [1], hang.address("ring_lock"): [2]}
    assert hang.spins.cycles == ((1, 2),)
    off = {line.cpu for line in cpus.read(hang.crash).lines if line.interrupts is False}
    assert off == {1, 2}


def test_a_soft_lockup(kernel: str) -> None:
    found = _opened("softlockup", kernel).stall
    (cpu,) = found.cpus
    assert found.lockup is not None
    assert cpu.line.cpu == found.lockup.cpu
    assert cpu.line.place is not None
    assert cpu.line.place.function == "poll_hardware"
    assert (cpu.line.interrupts, cpu.line.context) == (True, "process")
    assert cpu.since_s is not None
    assert found.lockup.seconds is not None
    assert abs(cpu.since_s - found.lockup.seconds) < 4


def test_a_hard_lockup(kernel: str) -> None:
    hang = _opened("hardlockup", kernel)
    (cpu,) = hang.stall.cpus
    assert hang.stall.lockup is not None
    assert cpu.line.cpu == hang.stall.lockup.cpu == hang.number("deaf_cpu")
    assert (cpu.line.interrupts, cpu.line.context) == (False, "process")
    assert cpu.line.place is not None
    assert cpu.line.place.function == "poll_hardware"
    assert cpu.since_s is not None
    assert cpu.since_s > 1
    assert hang.stall.settings is not None
    assert hang.stall.settings.watchdog_thresh_s == 1


@pytest.mark.parametrize(("name", "enabled"), [("rcustall", True), ("rcuirqs", False)])
def test_an_rcu_stall(name: str, enabled: bool, kernel: str) -> None:
    found = _opened(name, kernel).stall
    assert found.rcu is not None
    assert found.printed is not None
    assert found.rcu.in_progress
    assert found.rcu.running_s == pytest.approx(4, abs=1.5)
    (cpu,) = found.cpus
    assert cpu.line.cpu == found.printed.cpus[0].cpu
    assert cpu.line.interrupts is enabled
    assert cpu.line.place is not None
    assert cpu.line.place.function == "poll_hardware"
    assert cpu.rcu is not None
    assert cpu.rcu.holds_up
    assert found.gp_kthread is not None
    assert found.gp_kthread.comm == found.rcu.name


def test_a_sleep_under_a_spinlock(kernel: str) -> None:
    hang = _opened("schedatomic", kernel)
    found = atomic.read(hang.crash)
    assert found.count is not None
    assert (found.count.preempt, found.own) == (2, 1)
    assert found.callers[0] == "wait_for_hardware"
    if hang.crash.crashed_stack.complete:
        assert [lock.function for lock in found.spinlocks] == [found.callers[1]]


def test_a_crash_that_is_no_hang_has_no_waits(kernel: str) -> None:
    hang = _opened("null", kernel)
    assert waits.read(hang.crash) is None
    lines = cpus.read(hang.crash).lines
    assert [line.panicked for line in lines].count(True) == 1
