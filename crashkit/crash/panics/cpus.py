"""What every CPU did when the kernel died, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
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
_PANIC = ("panic", "vpanic")
_ADD_NOTHING = (
    "oops_end", "watchdog", "watchdog_timer_fn", "panic_on_rcu_stall", "rcu_sched_clock_irq",
    "__stack_chk_fail",
)  # fmt: skip
"""Callers of panic() that have not disabled preemption themselves: the end of an oops, where die()
has a raw lock, which does not count; the detectors of hung tasks, soft lockups and RCU stalls; a
broken canary."""


@facts
class CpuLine:
    """One CPU; None with a reason in ``absent``."""

    cpu: int
    panicked: bool
    """It is the one that called panic()."""
    online: bool | None
    """Before the panic stopped it."""
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
    preempt_off: int | None = None
    """Of the CPU that panicked: how often preemption was disabled before, by spinlocks too;
    None where what the way to the panic added is not known."""


@facts
class Cpus:
    """Every CPU."""

    present: int
    lines: tuple[CpuLine, ...]
    """By number; at most 64, those that were not idle before the others."""
    idle: tuple[tuple[int, int], ...]
    """The idle ones among all of them, as ranges (first, last); those that were not online, or
    of which that is not known and the stack does not show it, are none."""
    offline: tuple[tuple[int, int], ...]
    """Those that were offline before the panic, likewise."""
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
    # Of a CPU that has a line its stack says more.
    idle = {state.cpu: _looks_idle(state) and state.online is True for state in states}
    idle |= {line.cpu: bool(line.idle and line.online) for line in lines}
    online = {state.cpu: state.online for state in states}
    online |= {line.cpu: line.online for line in lines}
    return Cpus(
        present=len(present),
        lines=tuple(lines),
        idle=ranges([cpu for cpu, is_idle in idle.items() if is_idle]),
        offline=ranges([cpu for cpu, is_online in online.items() if is_online is False]),
        not_shown=len(states) - len(lines),
    )


def line_of(crash: Crash, cpu: int) -> CpuLine:
    """Read the line of one CPU."""
    return _line(crash, _state(crash, cpu))


def interrupted_frame(crash: Crash, cpu: int) -> Frame | None:
    """Find where a CPU was interrupted before the panic, with its registers; None: not known.

    :raises Unavailable: it has no stack in the dump
    """
    state = _state(crash, cpu)
    frames = physical(_stack(crash, state))
    at = _outside(crash, state, frames)
    return frames[at] if at is not None and frames[at].interrupted else None


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
    ran = state.cpu == crash.thread.cpu or stopped_by_panic(frames)
    online = True if ran else state.online
    if ran:
        absent.pop("online", None)
    return CpuLine(
        cpu=state.cpu,
        panicked=state.cpu == crash.thread.cpu,
        online=online,
        idle=state.idle and online is not False and context in (None, "process"),
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
        preempt_off=_preempt_off(frames, state) if state.cpu == crash.thread.cpu else None,
    )


def _preempt_off(frames: tuple[Frame, ...], state: CpuState) -> int | None:
    # panic() disables preemption once (kernel/panic.c); these callers of it do not.
    names = [frame.function.partition(".")[0] for frame in frames if frame.function]
    callers = (name for before, name in pairwise(names) if before in _PANIC and name not in _PANIC)
    if state.preempt_count is None or next(callers, None) not in _ADD_NOTHING:
        return None
    # Without CONFIG_PREEMPT_COUNT nothing counts.
    return max(0, state.preempt_count.preempt - 1)


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
