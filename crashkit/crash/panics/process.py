"""A process as a person names it: its arguments and its parents."""

from __future__ import annotations

from drgn import FaultError, Object
from drgn.helpers.linux.mm import cmdline

from crashkit.decode.fields import naming, printable
from crashkit.errors import Unavailable
from crashkit.value import facts

_MAX_PARENTS = 8
_MAX_TEXT = 512
_MOST_BYTES = 1 << 21
# More than a process is given (ARG_MAX, include/uapi/linux/limits.h, and 16 times that).


@facts
class Parent:
    """One ancestor."""

    pid: int
    comm: str


@facts
class Process:
    """A process."""

    pid: int
    comm: str
    """Escaped."""
    arguments: str | None
    """Escaped, spaces between; None: a kernel thread, it has given up its memory, or the
    user's pages are not in the dump."""
    uid: int | None
    parents: tuple[Parent, ...]
    """Its parent first."""


def read_process(task: Object) -> Process:
    """Read a process.

    :param task: ``struct task_struct *``
    :raises Unavailable: it is not in the dump
    """
    with naming("the process"):
        return Process(
            pid=int(task.pid.value_()),
            comm=printable(task.comm.string_()),
            arguments=_arguments(task),
            uid=_uid(task),
            parents=tuple(_parents(task)),
        )


def _arguments(task: Object) -> str | None:
    try:
        with naming("arguments"):
            mm = task.mm.read_()
            if not mm or not 0 < int(mm.arg_end) - int(mm.arg_start) <= _MOST_BYTES:
                return None
            words = cmdline(task)
    except (Unavailable, FaultError):
        return None
    return None if not words else printable(b" ".join(words)[:_MAX_TEXT])


def _uid(task: Object) -> int | None:
    try:
        with naming("uid"):
            return int(task.cred.uid.val.value_())
    except Unavailable:
        return None


def _parents(task: Object) -> list[Parent]:
    found: list[Parent] = []
    seen = {int(task.value_())}
    while len(found) < _MAX_PARENTS:
        try:
            with naming("parent"):
                task = task.real_parent.read_()
                if not task or int(task.value_()) in seen:
                    break
                seen.add(int(task.value_()))
                pid, comm = int(task.pid.value_()), printable(task.comm.string_())
        except Unavailable:
            break
        if pid == 0:
            break
        found.append(Parent(pid=pid, comm=comm))
    return found
