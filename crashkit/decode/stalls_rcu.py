"""RCU's grace period: how long it runs, and which CPUs and tasks hold it up."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, container_of
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.fields import Absent, Fields, member, naming, printable
from crashkit.decode.jiffies import jiffies, remaining_ticks, ticks_per_second
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

MAX_NODES = 4096
MAX_READERS = 256
_FANOUT = 64
"""CPUs of a leaf at most: bits of rcu_node.qsmask."""
# kernel/rcu/rcu.h: RCU_SEQ_CTR_SHIFT, since 4.16; the low bits are the state of the period.
_SEQ_STATE = 3


@facts
class RcuCpu:
    """A CPU's part in the grace period; None with a reason in ``absent``."""

    cpu: int
    holds_up: bool
    """The grace period waits for its quiescent state."""
    sees_period: bool | None
    """It has noted the grace period that runs (rcu_data.gp_seq is that of its node)."""
    needs_quiescent_state: bool | None
    """rcu_data.core_needs_qs."""
    no_quiescent_state: bool | None
    """rcu_data.cpu_no_qs: it has passed none since it noted the period."""
    ticks: int | None
    """Timer ticks it took in this grace period: few mean that its interrupts are off."""
    callbacks: int | None
    """Length of its callback list."""
    absent: Absent


@facts
class RcuPeriod:
    """A flavour of RCU; None with a reason in ``absent``."""

    name: str | None
    gp_seq: int | None
    in_progress: bool | None
    running_s: float | None
    """For how long the grace period runs."""
    idle_s: float | None
    """For how long its kernel thread has not been active."""
    gp_state: int | None
    """RCU_GP_* of kernel/rcu/tree.h."""
    gp_kthread: int | None
    """Address of its ``struct task_struct``."""
    forced: int | None
    """Scans for quiescent states in this period (n_force_qs - n_force_qs_gpstart)."""
    holding_up: tuple[int, ...]
    """CPUs that it waits for."""
    readers: tuple[int, ...]
    """Tasks (addresses) that were preempted inside a reader it waits for."""
    timeout_s: int | None
    """rcu_cpu_stall_timeout."""
    absent: Absent


def read_period(prog: Program) -> RcuPeriod:
    """Read the state of RCU's grace period.

    :raises Unavailable: ``rcu_state`` is not known, or not in the dump
    """
    state = _state(prog)
    fields = Fields("RCU")
    sequence = fields.number("gp_seq", state, "gp_seq", "gpnum")
    return RcuPeriod(
        name=fields.take("name", lambda: printable(state.name.string_())),
        gp_seq=sequence,
        in_progress=fields.take("in_progress", lambda: _in_progress(state)),
        running_s=fields.take("running_s", lambda: _since(state, "gp_start")),
        idle_s=fields.take("idle_s", lambda: _since(state, "gp_activity")),
        gp_state=fields.number("gp_state", state, "gp_state"),
        gp_kthread=fields.take("gp_kthread", lambda: int(member(state, "gp_kthread"))),
        forced=fields.take("forced", lambda: _forced(state)),
        holding_up=fields.take("holding_up", lambda: tuple(_holding_up(state))) or (),
        readers=fields.take("readers", lambda: tuple(_readers(state))) or (),
        timeout_s=fields.take("timeout_s", lambda: int(prog["rcu_cpu_stall_timeout"].value_())),
        absent=fields.reasons(),
    )


def _state(prog: Program) -> Object:
    # One since 65cfe3583b61 ("rcu: Define RCU-bh update API in terms of RCU") (in v4.20);
    # before, a kernel with preemption waits in rcu_preempt_state, another in rcu_sched_state.
    for name in ("rcu_state", "rcu_preempt_state", "rcu_sched_state"):
        try:
            return prog[name]
        except LookupError:
            continue
    raise Unavailable("RCU's state", Reason.NO_DEBUGINFO, "no symbol rcu_state")


def _in_progress(state: Object) -> bool:
    return bool(int(member(state, "gp_seq").value_()) & _SEQ_STATE)


def _since(state: Object, name: str) -> float:
    prog = state.prog_
    ticks = remaining_ticks(jiffies(prog), int(member(state, name).value_()), 64)
    if ticks < 0:
        raise Unavailable(name, Reason.CORRUPTED, "it is later than jiffies")
    return ticks / ticks_per_second(prog)


def _forced(state: Object) -> int:
    begun = int(member(state, "n_force_qs_gpstart").value_())
    return int(member(state, "n_force_qs").value_()) - begun


def _leaves(state: Object) -> Iterator[Object]:
    # kernel/rcu/tree.h: rcu_for_each_leaf_node(): the nodes of the last level.
    # rcu_init_one() numbers the levels from the root, 0, on.
    used: list[tuple[int, Object]] = []
    nodes = state.node
    for index in range(min(len(nodes), MAX_NODES)):
        node = nodes[index]
        if index and not int(node.parent.value_()):
            break  # beyond the nodes that this machine uses
        used.append((int(node.level.value_()), node))
    deepest = max((level for level, _node in used), default=0)
    return (node for level, node in used if level == deepest)


def _holding_up(state: Object) -> Iterator[int]:
    for node in _leaves(state):
        mask = int(node.qsmask.value_())
        low, high = int(node.grplo.value_()), int(node.grphi.value_())
        for bit in range(min(high - low + 1, _FANOUT)):
            if mask >> bit & 1:
                yield low + bit


def _readers(state: Object) -> Iterator[int]:
    # From gp_tasks to the end of blkd_tasks (kernel/rcu/tree_plugin.h).
    number = 0
    for node in _leaves(state):
        first = int(node.gp_tasks.value_())
        here, end = first, node.blkd_tasks.address_of_().value_()
        while here and here != end and number < MAX_READERS:
            link = Object(state.prog_, "struct list_head *", here)
            yield int(container_of(link, "struct task_struct", "rcu_node_entry"))
            number += 1
            here = int(link.next.value_())
            if here == first:
                return


def read_cpu(prog: Program, cpu: int, holding_up: tuple[int, ...]) -> RcuCpu:
    """Read a CPU's part.

    :param holding_up: CPUs the grace period waits for
    :raises Unavailable: ``rcu_data`` is not known, or not in the dump
    """
    with naming("rcu_data"):
        data = per_cpu(prog["rcu_data"], cpu)
    fields = Fields(f"rcu_data of CPU {cpu}")
    return RcuCpu(
        cpu=cpu,
        holds_up=cpu in holding_up,
        sees_period=fields.take("sees_period", lambda: _sees(data)),
        needs_quiescent_state=fields.take(
            "needs_quiescent_state", lambda: bool(member(data, "core_needs_qs").value_())
        ),
        no_quiescent_state=fields.take(
            "no_quiescent_state", lambda: bool(data.cpu_no_qs.b.norm.value_())
        ),
        ticks=fields.number("ticks", data, "ticks_this_gp"),
        callbacks=fields.take("callbacks", lambda: _callbacks(data)),
        absent=fields.reasons(),
    )


def _sees(data: Object) -> bool:
    return int(data.gp_seq.value_()) == int(data.mynode.gp_seq.value_())


def _callbacks(data: Object) -> int:
    length = data.cblist.len
    return int(length.counter.value_() if "atomic" in length.type_.type_name() else length)
