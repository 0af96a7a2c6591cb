"""A kernel made by hand with the locks, run queues and tasks that the hang sections read."""

from __future__ import annotations

from drgn import Object

from tests.unit.kernel_doubles import Kernel, list_of

PER_CPU = 0xFFFF_8880_1000_0000
STEP = 0x10_0000


def lock_kernel() -> Kernel:
    """Types as of Linux 6.1."""
    kernel = Kernel()
    _basics(kernel)
    kernel.struct("task_struct", 192, ("__state", "unsigned int", 0), ("pid", "int", 4),
                  ("comm", "char [16]", 8), ("cpu", "unsigned int", 24),
                  ("flags", "unsigned int", 28), ("nvcsw", "unsigned long", 32),
                  ("nivcsw", "unsigned long", 40), ("last_switch_count", "unsigned long", 48),
                  ("last_switch_time", "unsigned long", 56),
                  ("se", "struct sched_entity", 64), ("worker_private", "void *", 72),
                  ("rcu_node_entry", "struct list_head", 80),
                  ("pi_blocked_on", "struct rt_mutex_waiter *", 96))  # fmt: skip
    _sleeping(kernel)
    _spinning(kernel)
    return kernel


def _basics(kernel: Kernel) -> None:
    kernel.struct("list_head", 16, ("next", "struct list_head *", 0),
                  ("prev", "struct list_head *", 8))  # fmt: skip
    kernel.struct("rb_node", 24, ("__rb_parent_color", "unsigned long", 0),
                  ("rb_right", "struct rb_node *", 8),
                  ("rb_left", "struct rb_node *", 16))  # fmt: skip
    kernel.struct("rb_root", 8, ("rb_node", "struct rb_node *", 0))
    kernel.struct("rb_root_cached", 16, ("rb_root", "struct rb_root", 0),
                  ("rb_leftmost", "struct rb_node *", 8))  # fmt: skip
    kernel.struct("anon_atomic", 4, ("counter", "int", 0))
    kernel.struct("anon_atomic64", 8, ("counter", "long", 0))
    kernel.typedef("atomic_t", "struct anon_atomic")
    kernel.typedef("atomic_long_t", "struct anon_atomic64")
    kernel.struct("sched_entity", 8, ("exec_start", "unsigned long", 0))


def _sleeping(kernel: Kernel) -> None:
    kernel.struct("mutex", 32, ("owner", "atomic_long_t", 0), ("wait_list", "struct list_head", 16))
    kernel.struct("mutex_waiter", 24, ("list", "struct list_head", 0),
                  ("task", "struct task_struct *", 16))  # fmt: skip
    kernel.struct("rw_semaphore", 40, ("count", "atomic_long_t", 0), ("owner", "atomic_long_t", 8),
                  ("wait_list", "struct list_head", 24))  # fmt: skip
    kernel.struct("rwsem_waiter", 32, ("list", "struct list_head", 0),
                  ("task", "struct task_struct *", 16), ("type", "unsigned int", 24))  # fmt: skip
    kernel.struct("semaphore", 24, ("count", "unsigned int", 0),
                  ("wait_list", "struct list_head", 8))  # fmt: skip
    kernel.struct("semaphore_waiter", 24, ("list", "struct list_head", 0),
                  ("task", "struct task_struct *", 16))  # fmt: skip
    kernel.struct("swait_queue_head", 24, ("task_list", "struct list_head", 8))
    kernel.struct("swait_queue", 24, ("task", "struct task_struct *", 0),
                  ("task_list", "struct list_head", 8))  # fmt: skip
    kernel.struct("completion", 32, ("done", "unsigned int", 0),
                  ("wait", "struct swait_queue_head", 8))  # fmt: skip
    kernel.struct("rt_mutex_base", 32, ("waiters", "struct rb_root_cached", 8),
                  ("owner", "struct task_struct *", 24))  # fmt: skip
    kernel.struct("rt_mutex", 32, ("rtmutex", "struct rt_mutex_base", 0))
    kernel.struct("rt_mutex_waiter", 40, ("tree_entry", "struct rb_node", 0),
                  ("task", "struct task_struct *", 24),
                  ("lock", "struct rt_mutex_base *", 32))  # fmt: skip


def _spinning(kernel: Kernel) -> None:
    kernel.struct("qspinlock", 4, ("val", "atomic_t", 0))
    kernel.struct("raw_spinlock", 4, ("raw_lock", "struct qspinlock", 0))
    kernel.struct("qrwlock", 8, ("cnts", "atomic_t", 0), ("wait_lock", "struct qspinlock", 4))
    kernel.typedef("raw_spinlock_t", "struct raw_spinlock")
    kernel.struct("rwlock", 8, ("raw_lock", "struct qrwlock", 0))
    kernel.struct("mcs_spinlock", 16, ("next", "struct mcs_spinlock *", 0), ("locked", "int", 8),
                  ("count", "int", 12))  # fmt: skip
    kernel.struct("qnode", 32, ("mcs", "struct mcs_spinlock", 0))
    kernel.struct("cpumask", 16, ("bits", "unsigned long [2]", 0))
    kernel.struct("rq", 48, ("nr_running", "unsigned int", 0), ("curr", "struct task_struct *", 8),
                  ("idle", "struct task_struct *", 16), ("clock", "unsigned long", 24),
                  ("clock_task", "unsigned long", 32))  # fmt: skip


def add_cpus(kernel: Kernel, count: int) -> None:
    """Make per-CPU areas: the masks and offsets that drgn's helpers read."""
    mask = (1 << count) - 1
    for name in ("present", "online", "possible", "active"):
        pointer = kernel.variable(f"__cpu_{name}_mask", "struct cpumask")
        kernel.put(pointer.value_(), mask.to_bytes(16, "little"))
    kernel.variable("nr_cpu_ids", "unsigned int", count)
    offsets = kernel.variable("__per_cpu_offset", f"unsigned long [{count}]")
    for cpu in range(count):
        kernel.put(offsets.value_() + 8 * cpu, (PER_CPU + cpu * STEP).to_bytes(8, "little"))


def per_cpu_variable(
    kernel: Kernel, name: str, ctype: str, offset: int, count: int
) -> list[Object]:
    """Make a per-CPU variable at an offset of the areas; gives a pointer for each CPU."""
    made = [kernel.allocate(ctype, PER_CPU + cpu * STEP + offset) for cpu in range(count)]
    kernel._variables[name] = Object(kernel.prog, ctype, address=offset)
    return made


def task(kernel: Kernel, pid: int, comm: bytes = b"task", **values: int | bytes) -> Object:
    """Make a task."""
    return kernel.allocate(
        "struct task_struct", None, pid=pid, comm=comm.ljust(16, b"\0"), **values
    )


def wait_on(kernel: Kernel, head: Object, ctype: str, link: str, *tasks: Object) -> None:
    """Put tasks on a lock's list of waiters; ``head`` points to its ``list_head``."""
    entries = [kernel.allocate(ctype, task=t.value_()) for t in tasks]
    list_of(kernel, head, link, *entries)
