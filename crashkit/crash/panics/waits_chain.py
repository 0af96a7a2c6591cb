"""One chain of the wait-for graph: from a task over the owners of locks to where it ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crashkit.errors import Reason, Unavailable
from crashkit.value import Certainty, facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.crash.panics.waits import WaitingTask, Waits
    from crashkit.crash.panics.waits_graph import Edge

_REPORTED = re.compile(r"task .{1,40}:(\d{1,9}) blocked for more than")  # kernel/hung_task.c
_OWNED = ("mutex", "rwsem", "rt_mutex", "semaphore", "percpu_rwsem")
"""What somebody has; whoever completes a completion owns nothing."""


@facts
class Chain:
    """Tasks of which each waits for a lock that the next one has."""

    waiters: tuple[WaitingTask, ...]
    edges: tuple[Edge, ...]
    """One for each waiter; inferred where a lock only hints at who has it."""
    end: WaitingTask | None
    """The task that waits for no owner; None in a circle, or where it is not known."""
    circle: tuple[int, ...]
    """Addresses of the tasks it goes round in; empty: it ends."""
    unknown: Unavailable | None
    """Why nobody knows whether it goes on behind its last task."""

    @property
    def proved(self) -> bool:
        """Whether each lock says itself who has it."""
        return all(edge.certainty is Certainty.PROVED for edge in self.edges)


def chain_from(waits: Waits, task: int) -> Chain:
    """Follow the owners from one task.

    :param task: address of a ``struct task_struct`` that waits
    """
    tasks = {line.task: line for line in waits.tasks}
    edges = {edge.waiter: edge for edge in waits.edges}
    path: dict[int, Edge] = {}
    here = task
    while here in edges and here not in path:
        path[here] = edges[here]
        here = edges[here].owner
    members = tuple(path)
    circle = members[members.index(here) :] if here in path else ()
    end = None if circle else tasks.get(here)
    return Chain(
        waiters=tuple(tasks[member] for member in path),
        edges=tuple(path.values()),
        end=end,
        circle=circle,
        unknown=None if circle else _unknown(end),
    )


def _unknown(end: WaitingTask | None) -> Unavailable | None:
    what = "who is waited for"
    if end is None:
        return Unavailable(what, Reason.CORRUPTED, "the owner is no task that can be read")
    if end.state is None:
        return end.absent.get("state") or Unavailable(what, Reason.NOT_IN_DUMP)
    wait = end.wait
    if end.state != "D" or wait is None:
        return None
    if wait.kind is None:
        return wait.absent.get("kind") or Unavailable(what, Reason.UNSUPPORTED)
    if wait.kind not in _OWNED:
        return None
    if wait.lock is None:
        return wait.absent.get("lock") or Unavailable(what, Reason.NOT_SAVED)
    # Free: it is on its way to be this task's.
    return None if wait.lock.held == "free" else wait.absent.get("owner")


def reported_task(crash: Crash, waits: Waits) -> WaitingTask | None:
    """Give the task that khungtaskd reported, where nothing says it the one longest asleep.

    :returns: None: it is not among the blocked tasks that can be read, or none is
    """
    blocked = [line for line in waits.tasks if line.state == "D"]
    said = None if crash.oops is None else _REPORTED.search(crash.oops.message)
    if said is not None:
        return next((line for line in blocked if line.pid == int(said[1])), None)
    return max(blocked, key=lambda line: line.seconds or 0.0, default=None)


def victim(crash: Crash, waits: Waits) -> WaitingTask | None:
    """Give the reported task, or where it waits for no owner another that hangs and does.

    :returns: None: as :func:`reported_task`
    """
    found = reported_task(crash, waits)
    waiting = {edge.waiter for edge in waits.edges}
    limit = None if waits.khungtaskd is None else waits.khungtaskd.timeout_s
    if found is None or found.task in waiting or not limit:
        return found
    hung = (line for line in waits.tasks if line.state == "D" and (line.seconds or 0.0) >= limit)
    return next((line for line in hung if line.task in waiting), found)


def is_owned(kind: str | None) -> bool:
    """Whether what is waited for is something that a task has."""
    return kind in _OWNED
