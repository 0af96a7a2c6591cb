"""CPUs' state, and how long a task has slept."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode.cpus import decode_cpu, split_preempt_count
from crashkit.decode.waits import asleep, scheduler_now, task_state
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel
from tests.unit.lock_doubles import add_cpus, lock_kernel, per_cpu_variable, task

RUNQUEUES, COUNT = 0x1000, 0x3000


def _machine() -> tuple[Kernel, list[Object], Object]:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    queues = per_cpu_variable(kernel, "runqueues", "struct rq", RUNQUEUES, 2)
    counts = per_cpu_variable(kernel, "__preempt_count", "int", COUNT, 2)
    idle, busy = task(kernel, 0), task(kernel, 5)
    kernel.set(queues[0], {"curr": busy.value_(), "idle": idle.value_(), "nr_running": 3})
    kernel.set(queues[1], {"curr": idle.value_(), "idle": idle.value_(), "nr_running": 0})
    kernel.put(counts[0].value_(), (0x8001_0201).to_bytes(4, "little"))
    return kernel, queues, busy


def test_preempt_count_is_split_as_preempt_h_has_it() -> None:
    count = split_preempt_count(0x8011_0302)
    assert (count.preempt, count.softirq, count.hardirq, count.nmi) == (2, 3, 1, 1)
    assert count.serving_softirq
    assert not count.need_resched
    assert split_preempt_count(0x0000_0001).need_resched
    assert not split_preempt_count(0x8000_0200).serving_softirq


def test_a_busy_and_an_idle_cpu() -> None:
    kernel, _queues, busy = _machine()
    first, second = (decode_cpu(kernel.prog, cpu) for cpu in (0, 1))
    assert (first.idle, first.task, first.nr_running) == (False, busy.value_(), 3)
    assert first.preempt_count is not None
    assert (first.preempt_count.softirq, first.preempt_count.hardirq) == (2, 1)
    assert second.idle
    assert second.online


def test_preempt_count_in_pcpu_hot() -> None:
    kernel, _queues, _busy = _machine()
    kernel.forget("__preempt_count")
    kernel.struct("pcpu_hot", 16, ("preempt_count", "int", 8))
    hot = per_cpu_variable(kernel, "pcpu_hot", "struct pcpu_hot", 0x4000, 2)
    kernel.set(hot[1], {"preempt_count": 7})
    found = decode_cpu(kernel.prog, 1).preempt_count
    assert found is not None
    assert found.preempt == 7


def test_what_a_cpu_lacks_has_its_reason() -> None:
    kernel, queues, _busy = _machine()
    kernel.drop(queues[1].value_())
    kernel.forget("__preempt_count")
    found = decode_cpu(kernel.prog, 1)
    assert (found.task, found.idle, found.preempt_count) == (None, None, None)
    assert found.absent["task"].reason is Reason.NOT_IN_DUMP
    assert found.absent["preempt_count"].reason is Reason.NO_DEBUGINFO


@pytest.mark.parametrize(
    ("state", "letter", "killable"),
    [(0, "R", False), (1, "S", False), (2, "D", False), (0x102, "D", True), (0x402, "I", False),
     (4, "T", False), (0x2001, "S", False), (0x2102, "D", True), (0x40, "?", False)],
)  # fmt: skip
def test_task_states(state: int, letter: str, killable: bool) -> None:
    kernel = lock_kernel()
    found = task_state(task(kernel, 1, __state=state))
    assert (found.letter, found.killable) == (letter, killable)
    assert found.blocked == (letter == "D")


def test_seconds_asleep_by_the_latest_clock() -> None:
    kernel, queues, _busy = _machine()
    kernel.struct("thread_info", 8, ("cpu", "unsigned int", 4))
    sleeper = task(kernel, 9, cpu=1)
    kernel.set(sleeper, {"se.exec_start": 4_000_000_000})
    kernel.set(queues[0], {"clock": 10_000_000_000, "clock_task": 10_000_000_000})
    # CPU 1 spent half a second in interrupts, which its clock_task lacks.
    kernel.set(queues[1], {"clock": 5_500_000_000, "clock_task": 5_000_000_000})
    now = scheduler_now(kernel.prog, 12.0)
    assert now == 12_000_000_000
    assert asleep(sleeper, now).seconds == pytest.approx(7.5)
    assert scheduler_now(kernel.prog) == 10_000_000_000


def test_a_start_in_the_future_is_corrupt() -> None:
    kernel, queues, _busy = _machine()
    sleeper = task(kernel, 9, cpu=1, nvcsw=3)
    kernel.set(sleeper, {"se.exec_start": 99_000_000_000})
    kernel.set(queues[0], {"clock": 10_000_000_000})
    with pytest.raises(Unavailable) as caught:
        asleep(sleeper, scheduler_now(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED


def test_khungtaskd_saw_it_sleep() -> None:
    kernel, queues, _busy = _machine()
    kernel.variable("jiffies", "unsigned long", 4_294_967_296 + 3000)
    kernel.variable("tick_nsec", "unsigned long", 4_000_000)
    sleeper = task(kernel, 9, cpu=1, nvcsw=2, nivcsw=1, last_switch_count=3,
                   last_switch_time=4_294_967_296 + 1000)  # fmt: skip
    kernel.set(queues[0], {"clock": 1_000_000_000})
    found = asleep(sleeper, scheduler_now(kernel.prog))
    assert found.seconds is None
    assert found.at_least_s == pytest.approx(8.0)
    kernel.set(sleeper, {"last_switch_count": 2})
    with pytest.raises(Unavailable):
        asleep(sleeper, scheduler_now(kernel.prog))
