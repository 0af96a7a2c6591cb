"""A line for every CPU: the busy ones before the others, and what cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from drgn import Object, Program

from crashkit.crash import Crash, Stack, Thread
from crashkit.crash.panics import cpus
from crashkit.decode.cpus import decode_cpu, split_preempt_count
from crashkit.errors import Reason, Unavailable
from crashkit.unwind import Frame, RegisterValue, Segment
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel
from tests.unit.lock_doubles import add_cpus, lock_kernel, per_cpu_variable, task
from tests.unit.report_doubles import frame


@dataclass
class Machine:
    """A crash with CPUs; what runs on each is told by ``frames``."""

    kernel: Kernel
    thread: Thread
    fault_frame: Frame | None = None
    frames: dict[int, tuple[Frame, ...]] = field(default_factory=dict)

    @property
    def prog(self) -> Program:
        return self.kernel.prog

    @property
    def crashed_stack(self) -> Stack:
        return self.stack(self.thread.task or 0)

    def stack(self, task_: int) -> Stack:
        found = self.frames.get(task_, IDLE)
        thread = Thread(cpu=0, pid=7, comm="x", task=task_, context=None)
        return Stack(thread=thread, running=True, frames=found, end="end of stack")


def _flags(value: int) -> dict[str, RegisterValue]:
    held = RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
    return {"rflags": held}


STOP = frame(0, "crash_nmi_callback", segment=Segment.NMI)
IDLE = (STOP, frame(1, "native_safe_halt", interrupted=True, registers=_flags(0x246)))
BUSY = (STOP, frame(1, "poll", interrupted=True, registers=_flags(0x46)), frame(2, "caller"))
DONE = (frame(0, "machine_kexec"), frame(1, "panic"), frame(2, "sysrq_handle_crash"))


def machine(count: int, busy: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> Machine:
    kernel: Kernel = lock_kernel()
    add_cpus(kernel, count)
    queues = per_cpu_variable(kernel, "runqueues", "struct rq", 0x1000, count)
    counts = per_cpu_variable(kernel, "__preempt_count", "int", 0x3000, count)
    made = Machine(kernel, Thread(cpu=0, pid=1, comm="init", task=1, context=None))
    for cpu in range(count):
        idle, worker = task(kernel, 0), task(kernel, 100 + cpu)
        current = worker if cpu in busy else idle
        kernel.set(queues[cpu], {"idle": idle.value_(), "curr": current.value_()})
        # An NMI counts as a hardirq, too.
        kernel.put(counts[cpu].value_(), (0x8011_0000).to_bytes(4, "little"))
        made.frames[current.value_()] = BUSY if cpu in busy else IDLE
        if cpu == 0:
            made.thread = Thread(cpu=0, pid=1, comm="init", task=current.value_(), context=None)
            made.frames[current.value_()] = DONE

    def walked(_prog: Program, task_: Object, *_: Any) -> Stack:
        return made.stack(int(task_))

    monkeypatch.setattr(cpus, "task_stack", walked)
    return made


def test_what_each_cpu_did(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cpus.read(cast(Crash, machine(3, (0, 2), monkeypatch)))
    first, second, third = found.lines
    assert first.panicked
    assert first.place is not None
    assert first.place.function == "sysrq_handle_crash"
    assert first.interrupts is None
    assert first.absent["interrupts"].reason is Reason.NOT_SAVED
    assert (second.idle, second.interrupts, second.stopped_by_panic) == (True, True, True)
    assert (third.idle, third.interrupts, third.callers) == (False, False, ("caller",))
    assert found.idle == ((1, 1),)


def test_of_many_cpus_the_busy_ones_have_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cpus.read(cast(Crash, machine(63 + 37, (0, 70, 99), monkeypatch)))
    assert len(found.lines) == cpus.MAX_LINES
    assert {70, 99} <= {line.cpu for line in found.lines}
    assert found.not_shown == 100 - cpus.MAX_LINES
    assert found.idle == ((1, 69), (71, 98))


def test_an_idle_task_in_an_interrupt_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(2, (0,), monkeypatch)
    softirq = (STOP, frame(1, "poll", interrupted=True), frame(2, "handle_softirqs"))
    idle = next(address for address, frames in made.frames.items() if frames is IDLE)
    made.frames[idle] = softirq
    assert cpus.read(cast(Crash, made)).lines[1].context == "softirq"
    assert cpus.read(cast(Crash, made)).idle == ()


def _masks(made: Machine, kernel_mask: str, bits: int) -> None:
    place = made.prog[kernel_mask].address_
    assert place is not None
    made.kernel.put(place, bits.to_bytes(16, "little"))


def test_a_cpu_that_was_offline_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The panic took all but its own out of the mask; CPU 3 had left both, 4 was coming."""
    made = machine(5, (0, 2), monkeypatch)
    _masks(made, "__cpu_online_mask", 0b10001)
    _masks(made, "__cpu_active_mask", 0b00111)
    for address in [at for at, frames in made.frames.items() if frames is IDLE]:
        made.frames[address] = (frame(0, "default_idle"),)
    found = cpus.read(cast(Crash, made))
    assert [line.online for line in found.lines] == [True, True, True, False, True]
    assert (found.idle, found.offline) == (((1, 1), (4, 4)), ((3, 3),))


def test_without_the_second_mask_only_the_stack_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(4, (0, 2), monkeypatch)
    _masks(made, "__cpu_online_mask", 0b0001)
    made.kernel.forget("__cpu_active_mask")
    idle = [at for at, frames in made.frames.items() if frames is IDLE]
    made.frames[idle[-1]] = (frame(0, "default_idle"),)
    found = cpus.read(cast(Crash, made))
    assert [line.online for line in found.lines] == [True, True, True, None]
    assert found.lines[3].absent["online"].reason is Reason.AMBIGUOUS
    assert (found.idle, found.offline) == (((1, 1),), ())


def test_without_run_queues_each_line_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(2, (0,), monkeypatch)
    monkeypatch.setattr(cpus, "decode_cpu", _nothing)
    for line in cpus.read(cast(Crash, made)).lines:
        assert line.place is None
        assert line.absent["place"].reason is Reason.NOT_IN_DUMP


def _nothing(_prog: Program, _cpu: int) -> None:
    raise Unavailable("CPU", Reason.NOT_IN_DUMP, "filtered")


@pytest.mark.parametrize(
    ("caller", "count", "expected"),
    [
        ("oops_end.cold", 0x8000_0002, 1),  # one is panic()'s own
        ("oops_end", 0x8000_0001, 0),
        ("oops_end", 0x8000_0000, 0),  # a kernel that does not count
        ("check_panic_on_warn", 0x8000_0003, None),
        ("sysrq_handle_crash", 0x8000_0002, None),
    ],
)
def test_preemption_was_off_before_the_panic(
    monkeypatch: pytest.MonkeyPatch, caller: str, count: int, expected: int | None
) -> None:
    made = machine(2, (0, 1), monkeypatch)
    names = ("machine_kexec", "panic", "vpanic", caller, "read_stats")
    made.frames[made.thread.task or 0] = tuple(frame(n, name) for n, name in enumerate(names))
    monkeypatch.setattr(
        cpus, "decode_cpu",
        lambda prog, cpu: replace(
            decode_cpu(prog, cpu), preempt_count=split_preempt_count(count)
        ),
    )  # fmt: skip
    first, second = cpus.read(cast(Crash, made)).lines
    assert (first.preempt_off, second.preempt_off) == (expected, None)


def test_ranges() -> None:
    assert cpus.ranges([]) == ()
    assert cpus.ranges([0, 1, 2, 5, 7, 8]) == ((0, 2), (5, 5), (7, 8))
