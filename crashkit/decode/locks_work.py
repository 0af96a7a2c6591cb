"""Which worker threads run which work items."""

from __future__ import annotations

from collections.abc import Iterable

from drgn import Object

from crashkit.decode.fields import has_member, member, naming
from crashkit.errors import Unavailable

_WORKER = 0x20  # PF_WQ_WORKER, include/linux/sched.h


def workers_of(tasks: Iterable[Object]) -> dict[int, int]:
    """Find the workers that run a work item; those that cannot be read are left out.

    A running work does not lead to its worker, so the workers are asked.

    :param tasks: ``struct task_struct *`` each
    :returns: address of each ``struct work_struct`` that runs to its worker's task
    """
    found: dict[int, int] = {}
    for task in tasks:
        try:
            with naming("a worker"):
                if int(task.flags.value_()) & _WORKER:
                    found[_current_work(task)] = int(task)
        except Unavailable:
            continue
    found.pop(0, None)  # those that run none
    return found


def _current_work(task: Object) -> int:
    # struct kthread is in a member of its own since e32cf5dfbe22 ("kthread: Generalize
    # pf_io_worker so it can point to struct kthread") (in v5.17), before in set_child_tid.
    name = "worker_private" if has_member(task, "worker_private") else "set_child_tid"
    kthread = Object(task.prog_, "struct kthread *", int(member(task, name).value_()))
    worker = Object(task.prog_, "struct worker *", int(kthread.data.value_()))
    return int(worker.current_work.value_())
