"""One CPU: whether it is online, what its run queue holds, how deep in interrupts it is."""

from __future__ import annotations

from collections.abc import Callable

from drgn import Object, Program
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.fields import Absent, Fields, member, naming
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

# include/linux/preempt.h: the fields of preempt_count; no type describes them. The order and
# the first three shifts are as old as 2.6; NMI_BITS grew from 1 to 4 in commit 69ea03b56ed2
# ("hardirq/nmi: Allow nested nmi_enter()") (in v5.8), upwards.
_PREEMPT_MASK = 0xFF
_SOFTIRQ_SHIFT = 8
_SOFTIRQ_MASK = 0xFF
_HARDIRQ_SHIFT = 16
_HARDIRQ_MASK = 0xF
_NMI_SHIFT = 20
_NMI_MASK = 0xF
_NO_RESCHED = 1 << 31  # PREEMPT_NEED_RESCHED, folded in inverted (arch/x86/include/asm/preempt.h)


@facts
class PreemptCount:
    """The fields of a ``preempt_count``; a task may sleep only where all are 0."""

    value: int
    """Without the bit that says whether a reschedule is due."""
    preempt: int
    """How often preemption was disabled, by spinlocks too."""
    softirq: int
    """In softirq: odd while one is served; 2 for each local_bh_disable()."""
    hardirq: int
    nmi: int
    need_resched: bool

    @property
    def serving_softirq(self) -> bool:
        """Whether a softirq is being served (SOFTIRQ_OFFSET, not SOFTIRQ_DISABLE_OFFSET)."""
        return bool(self.softirq & 1)


@facts
class CpuState:
    """What a CPU's run queue and per-CPU data say; None with a reason in ``absent``."""

    cpu: int
    online: bool | None
    """Before a panic stopped it."""
    idle: bool | None
    """Whether its idle task is current."""
    task: int | None
    """Address of the ``struct task_struct`` that is current."""
    nr_running: int | None
    """Runnable tasks on its queue, the current one among them."""
    preempt_count: PreemptCount | None
    absent: Absent


def split_preempt_count(value: int) -> PreemptCount:
    """Split a ``preempt_count`` (32 bits) into its fields.

    :param value: as in memory (need-resched bit inverted) or as the kernel prints it
    """
    value &= 0xFFFF_FFFF
    count = value & ~_NO_RESCHED
    return PreemptCount(
        value=count,
        preempt=count & _PREEMPT_MASK,
        softirq=count >> _SOFTIRQ_SHIFT & _SOFTIRQ_MASK,
        hardirq=count >> _HARDIRQ_SHIFT & _HARDIRQ_MASK,
        nmi=count >> _NMI_SHIFT & _NMI_MASK,
        need_resched=not value & _NO_RESCHED,
    )


def read_preempt_count(prog: Program, cpu: int) -> PreemptCount:
    """Read a CPU's ``preempt_count``.

    :raises Unavailable: neither per-CPU variable is known, or its page is missing
    """
    what = f"preempt_count of CPU {cpu}"
    with naming(what):
        return split_preempt_count(int(_count(prog, cpu, what).value_()))


def _count(prog: Program, cpu: int, what: str) -> Object:
    # Up to 6.1 and again since 46e8fff6d45f ("x86/preempt: Move preempt count to percpu hot
    # section") (in v6.15) a variable of its own; between a member of pcpu_hot, since
    # 64701838bf05 ("x86/percpu: Move preempt_count next to current_task") (in v6.2).
    readers: tuple[Callable[[], Object], ...] = (
        lambda: per_cpu(prog["pcpu_hot"], cpu).preempt_count,
        lambda: per_cpu(prog["__preempt_count"], cpu),
    )
    for read in readers:
        try:
            return read()
        except LookupError:
            continue
    raise Unavailable(what, Reason.NO_DEBUGINFO, "neither pcpu_hot nor __preempt_count is known")


def decode_cpu(prog: Program, cpu: int) -> CpuState:
    """Decode one CPU's state.

    :raises Unavailable: nothing about it can be read
    """
    fields = Fields(f"CPU {cpu}")
    task = fields.take("task", lambda: int(member(_run_queue(prog, cpu), "curr").value_()))
    idle = fields.take("idle", lambda: int(member(_run_queue(prog, cpu), "idle").value_()))
    count = fields.take("preempt_count", lambda: read_preempt_count(prog, cpu))
    return CpuState(
        cpu=cpu,
        online=fields.take("online", lambda: was_online(prog, cpu)),
        idle=None if task is None or idle is None else task == idle,
        task=task,
        nr_running=fields.take(
            "nr_running", lambda: int(member(_run_queue(prog, cpu), "nr_running").value_())
        ),
        preempt_count=count,
        absent=fields.reasons(),
    )


def _run_queue(prog: Program, cpu: int) -> Object:
    return per_cpu(prog["runqueues"], cpu)


def was_online(prog: Program, cpu: int) -> bool:
    """Whether a CPU was online before a panic stopped it.

    A panic takes the CPUs that it stops out of cpu_online_mask (stop_this_cpu(),
    arch/x86/kernel/process.c); only one that was taken offline has left cpu_active_mask, too
    (sched_cpu_deactivate(), kernel/sched/core.c).

    :raises Unavailable: the masks do not tell
    """
    with naming("cpu_online_mask"):
        if _has(prog["__cpu_online_mask"], cpu):
            return True
        try:
            return _has(prog["__cpu_active_mask"], cpu)
        except LookupError as missing:
            detail = "a panic takes the CPUs that it stops out of the mask, too"
            raise Unavailable("cpu_active_mask", Reason.AMBIGUOUS, detail) from missing


def _has(mask: Object, cpu: int) -> bool:
    word, bit = divmod(cpu, 64)
    return bool(int(mask.bits[word].value_()) >> bit & 1)
