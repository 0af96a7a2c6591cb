"""Whether any task is blocked at all: most crashes need not load the reader of locks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.waits import task_state
from crashkit.errors import Unavailable

if TYPE_CHECKING:
    from crashkit.crash.core import Crash


def read(crash: Crash) -> object:
    """Read the wait-for graph, see :mod:`crashkit.crash.panics.waits`; None without one.

    :raises Unavailable: the tasks cannot be read
    """
    if not any(map(_is_blocked, crash.tasks())):
        return None
    from crashkit.crash.panics.waits import read as read_waits

    return read_waits(crash)


def _is_blocked(task: Object) -> bool:
    try:
        return task_state(task).blocked
    except Unavailable:
        return False
