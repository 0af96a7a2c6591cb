"""What every CPU did when the kernel died, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from drgn import Object
from drgn.helpers.linux.cpumask import for_each_present_cpu

from crashkit.crash.panics.places import (
    Place,
    before_the_panic,
    physical,
    place_of,
    stopped_by_panic,
)
from crashkit.crash.stack import Stack, exception_context, task_stack
from crashkit.decode.cpus import CpuState, PreemptCount, decode_cpu
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.unwind import Frame, Segment
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

MAX_CPUS = 8192
MAX_LINES = 64
"""CPUs with a line of their own; of more, those that were not idle come first."""
CALLERS = 4
_IF = 1 << 9  # EFLAGS.IF


@facts
class CpuLine:
    """One CPU; None with a reason in ``absent``."""

    cpu: int
    panicked: bool
    """It is the one that called panic()."""
    online: bool | None
    """Before the panic: stop_this_cpu() takes a CPU out of the mask."""
    idle: bool | None
    """Its idle task was current and it was in no interrupt."""
    task: int | None
    pid: int | None
    comm: str | None
    nr_running: int | None
    preempt_count: PreemptCount | None
    """At the end: a CPU that an NMI stopped is in it, with nmi and hardirq 1 more."""
    context: str | None
    """``process``, ``softirq``, ``hardirq``, ``nmi`` or ``user``, before the panic came."""
    interrupts: bool | None
    """Whether they were enabled at ``place``."""
    stopped_by_panic: bool | None
    """The panic on another CPU stopped it, by an NMI or an interrupt."""
    place: Place | None
    """Where it was before the panic came."""
    callers: tuple[str, ...]
    """The functions outside of that, nearest first."""
    absent: Mapping[str, Unavailable]


@facts
class Cpus:
    """Every CPU."""

    present: int
    lines: tuple[CpuLine, ...]
    """By number; at most 64, those that were not idle before the others."""
    idle: tuple[tuple[int, int], ...]
    """The idle ones among all of them, as ranges (first, last)."""
    not_shown: int
    """CPUs without a line."""


def read(crash: Crash) -> Cpus:
    """Read a line for every CPU.

    :raises Unavailable: the CPUs or their run queues are not known
    """
    with naming("the CPUs"):
        present = list(bounded(for_each_present_cpu(crash.prog), MAX_CPUS, "CPUs"))
    states = [_state(crash, cpu) for cpu in present]
    quiet = [state for state in states if _looks_idle(state)]
    busy = [state for state in states if not _looks_idle(state)]
    chosen = [*busy, *quiet][:MAX_LINES]
    lines = sorted((_line(crash, state) for state in chosen), key=lambda line: line.cpu)
    told = {line.cpu: bool(line.idle) for line in lines}
    idle = [state.cpu for state in states if told.get(state.cpu, _looks_idle(state))]
    return Cpus(
        present=len(present),
        lines=tuple(lines),
        idle=ranges(idle),
        not_shown=len(states) - len(lines),
    )


def line_of(crash: Crash, cpu: int) -> CpuLine:
    """Read the line of one CPU."""
    return _line(crash, _state(crash, cpu))


def _state(crash: Crash, cpu: int) -> CpuState:
    try:
        return decode_cpu(crash.prog, cpu)
    except Unavailable as missing:
        names = ("online", "idle", "task", "nr_running", "preempt_count")
        return CpuState(cpu=cpu, online=None, idle=None, task=None, nr_running=None,
                        preempt_count=None, absent=dict.fromkeys(names, missing))  # fmt: skip


def _looks_idle(state: CpuState) -> bool:
    # The idle task, and no softirq, and no hardirq but the one that an NMI counts as.
    count = state.preempt_count
    if not state.idle or count is None:
        return False
    return not count.serving_softirq and count.hardirq <= count.nmi


def ranges(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    """Fold numbers in rising order into ranges (first, last)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def _line(crash: Crash, state: CpuState) -> CpuLine:
    absent: dict[str, Unavailable] = dict(state.absent)
    stack: Stack | None = None
    try:
        stack = _stack(crash, state)
    except Unavailable as missing:
        absent |= dict.fromkeys(("place", "context", "interrupts", "stopped_by_panic"), missing)
    frames = () if stack is None else physical(stack)
    at = _outside(crash, state, frames)
    if stack is not None and at is None:
        why = Unavailable("place", stack.reason or Reason.NOT_SAVED, stack.end)
        absent |= dict.fromkeys(("place", "context", "interrupts"), why)
    where = None if at is None else frames[at]
    enabled = None if where is None else _interrupts(where)
    if where is not None and enabled is None:
        detail = "no exception frame there holds EFLAGS"
        absent["interrupts"] = Unavailable("interrupts", Reason.NOT_SAVED, detail)
    context = None if where is None else _context(frames, where)
    thread = None if stack is None else stack.thread
    return CpuLine(
        cpu=state.cpu,
        panicked=state.cpu == crash.thread.cpu,
        online=True if stopped_by_panic(frames) else state.online,
        idle=state.idle and (context or "process") == "process",
        task=state.task,
        pid=None if thread is None else thread.pid,
        comm=None if thread is None else thread.comm,
        nr_running=state.nr_running,
        preempt_count=state.preempt_count,
        context=context,
        interrupts=enabled,
        stopped_by_panic=stopped_by_panic(frames) if frames else None,
        place=None if where is None else place_of(where),
        callers=() if at is None else _callers(frames[at + 1 :]),
        absent=absent,
    )


def _stack(crash: Crash, state: CpuState) -> Stack:
    if state.task is None:
        raise state.absent["task"]
    if state.task == crash.thread.task:
        return crash.crashed_stack
    # Without the registers that callees saved: finding those takes a hundred times as long.
    return task_stack(crash.prog, Object(crash.prog, "struct task_struct *", state.task), None)


def _outside(crash: Crash, state: CpuState, frames: tuple[Frame, ...]) -> int | None:
    fault = crash.fault_frame if state.task == crash.thread.task else None
    return before_the_panic(frames, fault)


def _interrupts(frame: Frame) -> bool | None:
    flags = frame.registers.get("rflags") if frame.interrupted else None
    return None if flags is None else bool(flags.value & _IF)


def _context(frames: tuple[Frame, ...], where: Frame) -> str | None:
    if where.segment is Segment.USER:
        return "user"
    # Without what interrupted it: that is the panic's NMI or interrupt, or the detector's.
    bare = replace(where, exception=None)
    return exception_context(tuple(bare if f is where else f for f in frames), bare)


def _callers(frames: tuple[Frame, ...]) -> tuple[str, ...]:
    return tuple(frame.function for frame in frames if frame.function)[:CALLERS]
