"""The watchdogs' and RCU's own view of a stall, and what they printed."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode.stalls import cpu_watch, hung_task_settings, lockup_settings
from crashkit.decode.stalls_rcu import read_cpu, read_period
from crashkit.decode.stalls_text import printed_lockup, printed_stall
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, list_of
from tests.unit.lock_doubles import add_cpus, lock_kernel, per_cpu_variable, task

NOW = 1 << 32


def test_settings_of_khungtaskd() -> None:
    kernel = lock_kernel()
    kernel.variable("sysctl_hung_task_timeout_secs", "unsigned long", 120)
    kernel.variable("sysctl_hung_task_panic", "unsigned int", 1)
    kernel.variable("sysctl_hung_task_warnings", "int", -1)
    found = hung_task_settings(kernel.prog)
    assert (found.timeout_s, found.panic, found.warnings_left) == (120, 1, -1)
    assert found.absent["detected"].reason is Reason.NO_DEBUGINFO


def test_a_kernel_without_khungtaskd() -> None:
    with pytest.raises(Unavailable):
        hung_task_settings(lock_kernel().prog)


def test_settings_of_the_watchdogs_old_names_and_new() -> None:
    kernel = lock_kernel()
    kernel.variable("watchdog_thresh", "int", 10)
    kernel.variable("nmi_watchdog_user_enabled", "int", 0)
    kernel.variable("watchdog_softlockup_user_enabled", "int", 1)
    found = lockup_settings(kernel.prog)
    assert (found.watchdog_thresh_s, found.hard_watchdog, found.soft_watchdog) == (10, 0, 1)


def test_the_watchdog_of_a_cpu() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    stamps = per_cpu_variable(kernel, "watchdog_touch_ts", "unsigned long", 0x100, 2)
    counts = per_cpu_variable(kernel, "hrtimer_interrupts", "atomic_t", 0x200, 2)
    kernel.put(stamps[1].value_(), (33).to_bytes(8, "little"))
    kernel.set(counts[1], {"counter": 7})
    found = cpu_watch(kernel.prog, 1)
    assert (found.touched, found.timer_interrupts) == (33, 7)
    assert found.absent["timer_interrupts_seen"].reason is Reason.NO_DEBUGINFO
    assert cpu_watch(kernel.prog, 0).absent["touched"].reason is Reason.NOT_APPLICABLE


def _rcu(kernel: Kernel) -> Object:
    kernel.struct("rcu_node", 96, ("gp_seq", "unsigned long", 0), ("qsmask", "unsigned long", 8),
                  ("grplo", "int", 16), ("grphi", "int", 20), ("level", "unsigned char", 24),
                  ("parent", "struct rcu_node *", 32), ("blkd_tasks", "struct list_head", 40),
                  ("gp_tasks", "struct list_head *", 56))  # fmt: skip
    kernel.struct("rcu_state", 352, ("node", "struct rcu_node [3]", 0),
                  ("gp_seq", "unsigned long", 288), ("gp_start", "unsigned long", 296),
                  ("gp_activity", "unsigned long", 304), ("gp_state", "short", 312),
                  ("gp_kthread", "struct task_struct *", 320),
                  ("name", "char *", 328))  # fmt: skip
    kernel.variable("jiffies", "unsigned long", NOW + 5250)
    kernel.variable("tick_nsec", "unsigned long", 4_000_000)
    state = kernel.variable("rcu_state", "struct rcu_state")
    name = 0xFFFF_8880_0F00_0000
    kernel.put(name, b"rcu_preempt\0")
    kernel.set(state, {"gp_seq": 0x41, "gp_start": NOW, "gp_activity": NOW + 5000, "name": name})
    root = state.node[0].address_of_().value_()
    for index, (low, high) in enumerate(((0, 1), (2, 3))):
        kernel.set(state, {f"node[{index + 1}].parent": root, f"node[{index + 1}].level": 1,
                           f"node[{index + 1}].grplo": low,
                           f"node[{index + 1}].grphi": high})  # fmt: skip
    return state


def test_cpus_and_readers_that_hold_up_a_grace_period() -> None:
    kernel = lock_kernel()
    state = _rcu(kernel)
    before, first, second = (task(kernel, pid) for pid in (1, 2, 3))
    leaf = state.node[2]
    list_of(kernel, leaf.blkd_tasks.address_of_(), "rcu_node_entry", before, first, second)
    begin = first.rcu_node_entry.address_of_().value_()
    kernel.set(state, {"node[2].qsmask": 2, "node[2].gp_tasks": begin})
    found = read_period(kernel.prog)
    assert found.name == "rcu_preempt"
    assert found.in_progress
    assert found.running_s == pytest.approx(21.0)
    assert found.idle_s == pytest.approx(1.0)
    assert found.holding_up == (3,)
    assert found.readers == (first.value_(), second.value_())


def test_a_list_of_readers_that_goes_round_ends() -> None:
    kernel = lock_kernel()
    state = _rcu(kernel)
    reader = task(kernel, 2)
    node = reader.rcu_node_entry.address_of_().value_()
    kernel.put(node, node.to_bytes(8, "little"))
    kernel.set(state, {"node[1].gp_tasks": node})
    assert read_period(kernel.prog).readers == (reader.value_(),)


def test_a_cpus_part() -> None:
    kernel = lock_kernel()
    state = _rcu(kernel)
    add_cpus(kernel, 2)
    kernel.struct("rcu_data", 64, ("gp_seq", "unsigned long", 0),
                  ("mynode", "struct rcu_node *", 8), ("ticks_this_gp", "unsigned long", 16),
                  ("core_needs_qs", "unsigned char", 24))  # fmt: skip
    data = per_cpu_variable(kernel, "rcu_data", "struct rcu_data", 0x500, 2)
    leaf = state.node[1].address_of_().value_()
    kernel.set(data[1], {"gp_seq": 4, "mynode": leaf, "ticks_this_gp": 12, "core_needs_qs": 1})
    found = read_cpu(kernel.prog, 1, (1,))
    assert (found.holds_up, found.sees_period, found.ticks) == (True, False, 12)
    assert found.needs_quiescent_state
    assert found.absent["callbacks"].reason is Reason.NO_DEBUGINFO


def test_printed_lockups() -> None:
    soft = printed_lockup("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [my:proc:17]")
    assert soft is not None
    assert (soft.cpu, soft.seconds, soft.comm, soft.pid) == (3, 22, "my:proc", 17)
    hard = printed_lockup("NMI watchdog: Watchdog detected hard LOCKUP on cpu 5")
    assert hard is not None
    assert (hard.cpu, hard.seconds) == (5, None)
    assert printed_lockup("INFO: task x:1 blocked for more than 120 seconds.") is None


def test_printed_rcu_stalls() -> None:
    found = printed_stall(
        [
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: \t1-...0: (0 ticks this GP) idle=c7dc/1/0x4000000000000000 softirq=203/204 fqs=5",
            "rcu: \t12-....: (3 GPs behind) idle=1f2/0/0x0 softirq=9/9 fqs=0 ",
            "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-1): P95/1:b..l",
            "\t(detected by 0, t=1002 jiffies, g=-823, q=11 ncpus=2)",
            "rcu: rcu_preempt kthread starved for 1003 jiffies! g-823 f0x0 RCU_GP_WAIT_FQS(5)",
        ]
    )
    assert found is not None
    assert [(c.cpu, c.ticks, c.periods_behind) for c in found.cpus] == [(1, 0, None), (12, None, 3)]
    assert found.cpus[0].softirq == "203/204"
    assert found.tasks == "P95/1:b..l"
    assert (found.detected_by, found.ticks, found.queued) == (0, 1002, 11)
    assert found.starved_ticks == 1003


def test_a_stall_that_a_cpu_found_itself_and_none() -> None:
    found = printed_stall(["\t(t=1000 jiffies g=-851 q=12 ncpus=2)"])
    assert found is not None
    assert (found.detected_by, found.ticks) == (None, 1000)
    assert printed_stall(["nothing of the kind"]) is None
