"""Functions in which a task sleeps, and which of their parameters says on what.

Names are those of Linux 3.10 to 7.0, without what a compiler appends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sleeps:
    """What a function sleeps on."""

    kind: str
    """A key of :data:`crashkit.decode.locks.LOCK_TYPES`, or another word for it."""
    parameter: str
    """The parameter with its address; empty: none has it."""
    register: str = "rdi"
    """Where the ABI passes it, for copies of the function that lost other parameters."""


def _rows(kind: str, parameter: str, *names: str) -> Iterator[tuple[str, Sleeps]]:
    return ((name, Sleeps(kind, parameter)) for name in names)


def _ways(stem: str, *ways: str) -> tuple[str, ...]:
    return (stem, *(f"{stem}_{way}" for way in ways))


LOCKS: Mapping[str, Sleeps] = dict(
    [
        # kernel/locking/mutex.c, ww_mutex.h
        *_rows("mutex", "lock", *_ways("mutex_lock", "interruptible", "killable", "io", "nested"),
               "__mutex_lock", "__mutex_lock_common", "__mutex_lock_slowpath",
               "__mutex_lock_killable_slowpath", "__mutex_lock_interruptible_slowpath",
               "__ww_mutex_lock", "__ww_mutex_lock_slowpath", "ww_mutex_lock"),
        # kernel/locking/rwsem.c, rwsem-xadd.c
        *_rows("rwsem", "sem", *_ways("down_read", "interruptible", "killable", "nested"),
               *_ways("down_write", "killable", "nested"), *_ways("__down_read", "common"),
               *_ways("__down_write", "common"), "rwsem_down_read_slowpath",
               "rwsem_down_write_slowpath", *_ways("rwsem_down_read_failed", "killable"),
               *_ways("rwsem_down_write_failed", "killable"), "__rwsem_down_read_failed_common",
               "__rwsem_down_write_failed_common"),
        # kernel/locking/semaphore.c
        *_rows("semaphore", "sem", *_ways("down", "interruptible", "killable", "timeout"),
               *_ways("__down", "interruptible", "killable", "timeout", "common"),
               "___down_common"),
        # kernel/locking/percpu-rwsem.c
        *_rows("percpu_rwsem", "sem", "percpu_down_write", "__percpu_down_read",
               "percpu_rwsem_wait"),
        # kernel/locking/rtmutex*.c
        *_rows("rt_mutex", "lock", *_ways("rt_mutex_lock", "interruptible", "killable", "nested"),
               "rt_mutex_wait_proxy_lock", "rt_mutex_slowlock", "__rt_mutex_slowlock",
               "rt_mutex_slowlock_block",
               "rtlock_slowlock", "rtlock_slowlock_locked"),
        # kernel/sched/completion.c
        *_rows("completion", "x",
               *_ways("wait_for_completion", "timeout", "io", "io_timeout", "interruptible",
                      "interruptible_timeout", "killable", "killable_timeout", "state"),
               *_ways("__wait_for_common"), "do_wait_for_common", "wait_for_common"),
    ]
)  # fmt: skip
"""Function to a lock that knows its waiters."""

PAGES: Mapping[str, str] = {
    # mm/filemap.c: function to the parameter with the page or folio
    "folio_wait_bit_common": "folio",
    "folio_wait_bit": "folio",
    "folio_wait_bit_killable": "folio",
    "folio_wait_writeback": "folio",
    "__folio_lock": "folio",
    "__folio_lock_killable": "folio",
    "__folio_lock_or_retry": "folio",
    "wait_on_page_bit": "page",
    "wait_on_page_bit_common": "page",
    "wait_on_page_writeback": "page",
    "__lock_page": "page",
    "__lock_page_killable": "page",
}

BITS: Mapping[str, str] = {
    # kernel/sched/wait_bit.c, fs/buffer.c
    "out_of_line_wait_on_bit": "word",
    "out_of_line_wait_on_bit_lock": "word",
    "out_of_line_wait_on_bit_timeout": "word",
    "__wait_on_buffer": "bh",
    "__lock_buffer": "bh",
}

PURPOSES: Mapping[str, Sleeps] = {
    # What the sleep is for, by a function further out: kernel/workqueue.c, kernel/rcu/*,
    # kernel/kthread.c, kernel/fork.c, fs/jbd2, net/sunrpc, block, net/core/dev.c
    "__flush_work": Sleeps("work", "work"),
    "flush_work": Sleeps("work", "work"),
    "flush_delayed_work": Sleeps("delayed work", "dwork"),
    "__cancel_work_timer": Sleeps("work", "work"),
    "cancel_work_sync": Sleeps("work", "work"),
    "__flush_workqueue": Sleeps("workqueue", "wq"),
    "flush_workqueue": Sleeps("workqueue", "wq"),
    "synchronize_rcu": Sleeps("RCU grace period", ""),
    "synchronize_rcu_normal": Sleeps("RCU grace period", ""),
    "synchronize_net": Sleeps("RCU grace period", ""),
    "__wait_rcu_gp": Sleeps("RCU grace period", ""),
    "synchronize_rcu_expedited": Sleeps("RCU expedited grace period", ""),
    "synchronize_rcu_expedited_wait_once": Sleeps("RCU expedited grace period", ""),
    "synchronize_sched": Sleeps("RCU grace period", ""),
    "synchronize_rcu_tasks": Sleeps("RCU-tasks grace period", ""),
    "rcu_barrier": Sleeps("RCU callbacks", ""),
    "__synchronize_srcu": Sleeps("SRCU grace period", "ssp"),
    "synchronize_srcu": Sleeps("SRCU grace period", "ssp"),
    "kthread_stop": Sleeps("thread", "k"),
    "kthread_park": Sleeps("thread", "k"),
    "__kthread_create_on_node": Sleeps("kthreadd", ""),
    "wait_for_vfork_done": Sleeps("vfork child", "child"),
    "kernel_clone": Sleeps("vfork child", ""),
    "call_usermodehelper_exec": Sleeps("user-mode helper", "sub_info"),
    "jbd2_log_wait_commit": Sleeps("journal commit", "journal"),
    "wait_transaction_locked": Sleeps("journal commit", "journal"),
    "add_transaction_credits": Sleeps("journal space", "journal"),
    "xfs_log_force": Sleeps("XFS log", ""),
    "xlog_grant_head_wait": Sleeps("XFS log space", "head"),
    "rpc_wait_bit_killable": Sleeps("RPC reply", ""),
    "__rpc_execute": Sleeps("RPC reply", "task"),
    "nfs_wait_bit_killable": Sleeps("NFS", ""),
    "blk_mq_get_tag": Sleeps("block request tag", "data"),
    "blk_mq_freeze_queue_wait": Sleeps("block queue freeze", "q"),
    "blk_execute_rq": Sleeps("block I/O", "rq"),
    "submit_bio_wait": Sleeps("block I/O", "bio"),
    "wait_on_buffer": Sleeps("block I/O", "bh"),
    "netdev_run_todo": Sleeps("references to a network device", ""),
    "netdev_wait_allrefs": Sleeps("references to a network device", "dev"),
    "netdev_wait_allrefs_any": Sleeps("references to a network device", "list"),
    "stop_one_cpu": Sleeps("CPU stopper", ""),
    "stop_machine_cpuslocked": Sleeps("CPU stopper", ""),
    "msleep": Sleeps("time", "msecs"),
    "coredump_wait": Sleeps("core dump", ""),
    "mempool_alloc": Sleeps("memory pool", "pool"),
    "balance_dirty_pages": Sleeps("writeback", ""),
    "throttle_direct_reclaim": Sleeps("memory reclaim", ""),
    "usb_start_wait_urb": Sleeps("USB transfer", "urb"),
    "scsi_execute_cmd": Sleeps("SCSI command", "sdev"),
}

# Sleeping itself: what a stack begins with, and nobody asks about.
MACHINERY = frozenset(
    {
        "__schedule", "schedule", "preempt_schedule", "schedule_preempt_disabled", "io_schedule",
        "schedule_timeout", "io_schedule_timeout", "schedule_timeout_uninterruptible",
        "schedule_timeout_killable", "schedule_timeout_interruptible", "schedule_hrtimeout_range",
        "schedule_hrtimeout_range_clock", "schedule_hrtimeout", "__switch_to_asm", "__switch_to",
        "context_switch", "preempt_schedule_common", "__cond_resched", "preempt_schedule_irq",
        "schedule_rtlock", "rt_mutex_schedule", "bit_wait", "bit_wait_io", "bit_wait_timeout",
        "__wait_on_bit", "__wait_on_bit_lock", "call_rwsem_down_read_failed",
        "call_rwsem_down_write_failed", "__io_schedule", "schedule_timeout_idle",
        "raw_irqentry_exit_cond_resched", "bit_wait_io_timeout", "do_nanosleep",
        "usleep_range_state", "__bit_wait",
    }
)  # fmt: skip
_INNER_MEANING = frozenset({"io_schedule", "io_schedule_timeout"})


def is_machinery(name: str) -> bool:
    """Whether a function is about sleeping, not about what it sleeps for."""
    return name in MACHINERY or name in LOCKS or name in PAGES or name in BITS


def is_io(names: tuple[str, ...]) -> bool:
    """Whether a task that sleeps through these functions is counted as waiting for I/O."""
    return any(name in _INNER_MEANING for name in names)
