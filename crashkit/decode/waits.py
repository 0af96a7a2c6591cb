"""A task that does not run: its state, and since when it sleeps."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.sched import task_cpu

from crashkit.decode.fields import Absent, Fields, has_member, member, naming
from crashkit.decode.jiffies import jiffies, remaining_ticks, ticks_per_second
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

_MAX_CPUS = 8192
_SECOND = 1_000_000_000

# include/linux/sched.h; no type describes them.
_INTERRUPTIBLE = 1
_UNINTERRUPTIBLE = 2
# TASK_WAKEKILL was 128 up to 4.13, and 256, then TASK_WAKING, which no sleeper has, is it
# since 8ef9925b02c2 ("sched/debug: Add explicit TASK_PARKED printing") (in v4.14).
_KILLABLE = 128 | 256
# TASK_NOLOAD, since 80ed87c8a9ca ("sched/wait: Introduce TASK_NOLOAD and TASK_IDLE") (in v4.2).
_IDLE = 0x400
_STOPPED = {4: "T", 8: "t"}


@facts
class TaskState:
    """How a task sleeps."""

    value: int
    """``task_struct.__state``."""
    letter: str
    """``R``, ``S``, ``D``, ``I`` (idle kernel thread) as ps shows it; ``?``: another."""
    killable: bool
    """A fatal signal ends the sleep; khungtaskd does not report such a task."""

    @property
    def blocked(self) -> bool:
        """Whether it sleeps uninterruptibly for something (not as an idle kernel thread)."""
        return self.letter == "D"


@facts
class Asleep:
    """For how long a task has not run."""

    seconds: float | None
    """Since it last ran, by the scheduler's clock."""
    at_least_s: float | None
    """For how long khungtaskd has seen it not run."""
    absent: Absent


def task_state(task: Object) -> TaskState:
    """Read a task's state.

    :param task: ``struct task_struct *``
    :raises Unavailable: it cannot be read
    """
    with naming("state of a task"):
        # Renamed by 2f064a59a11f ("sched: Change task_struct::state") (in v5.14).
        value = int(member(task, "__state", "state").value_()) & 0xFFFF_FFFF
    killable = bool(value & _UNINTERRUPTIBLE and value & _KILLABLE)
    return TaskState(value=value, letter=_letter(value), killable=killable)


def _letter(value: int) -> str:
    if value & _UNINTERRUPTIBLE:
        return "I" if value & _IDLE else "D"
    if value & _INTERRUPTIBLE:
        return "S"
    return next((letter for bit, letter in _STOPPED.items() if value & bit), "?") if value else "R"


def scheduler_now(prog: Program, printed_s: float | None = None) -> int:
    """Find the latest time the scheduler's clock is known to have reached (ns since boot).

    A CPU's ``rq->clock`` stands still while the CPU does not schedule, so the latest of all
    is taken; offline CPUs count, too, as a panic takes those that it stops out of the mask.
    printk stamps its lines with the same clock (kernel/printk/printk.c: local_clock()).

    :param printed_s: time of the last line of the log, in seconds
    :raises Unavailable: no run queue's clock can be read
    """
    found = 0 if printed_s is None else int(printed_s * _SECOND)
    with naming("the scheduler's clock"):
        for cpu in bounded(for_each_present_cpu(prog), _MAX_CPUS, "CPUs"):
            found = max(found, int(per_cpu(prog["runqueues"], cpu).clock.value_()))
    if not found:
        raise Unavailable("the scheduler's clock", Reason.NOT_IN_DUMP, "it is 0 on every CPU")
    return found


def asleep(task: Object, now: int) -> Asleep:
    """Tell since when a task has not run.

    :param task: ``struct task_struct *`` of a task that is not on a CPU
    :param now: of :func:`scheduler_now`
    :raises Unavailable: nothing tells
    """
    fields = Fields("how long a task sleeps")
    return Asleep(
        seconds=fields.take("seconds", lambda: _since_it_ran(task, now)),
        at_least_s=fields.take("at_least_s", lambda: _as_khungtaskd_saw(task)),
        absent=fields.reasons(),
    )


def _since_it_ran(task: Object, now: int) -> float:
    # se.exec_start is the run queue's clock_task as of when the task last was charged for
    # running, which is when it was taken off the queue (kernel/sched/fair.c: update_curr());
    # clock_task lacks the time spent in interrupts, so each is brought to the other's clock.
    queue = per_cpu(task.prog_["runqueues"], int(task_cpu(task)))
    stolen = int(queue.clock.value_()) - int(queue.clock_task.value_())
    ran = int(task.se.exec_start.value_()) + stolen
    if not 0 < ran <= now:
        detail = f"exec_start {ran} is not before {now}"
        raise Unavailable("when it last ran", Reason.CORRUPTED, detail)
    return (now - ran) / _SECOND


def _as_khungtaskd_saw(task: Object) -> float:
    # kernel/hung_task.c: check_hung_task(); last_switch_time since a2e514453861 ("kernel/
    # hung_task.c: allow to set checking interval separately from timeout") (in v4.20).
    prog = task.prog_
    what = "khungtaskd's note of it"
    if not has_member(task, "last_switch_time"):
        raise Unavailable(what, Reason.NOT_APPLICABLE, "this kernel's khungtaskd keeps none")
    switches = int(task.nvcsw.value_()) + int(task.nivcsw.value_())
    if int(task.last_switch_count.value_()) != switches:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "khungtaskd has not looked since it ran")
    then = int(task.last_switch_time.value_())
    ticks = remaining_ticks(jiffies(prog), then, 64)
    if ticks < 0 or not then:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "khungtaskd has not looked at it")
    return ticks / ticks_per_second(prog)
