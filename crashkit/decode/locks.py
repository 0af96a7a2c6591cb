"""Sleeping locks and what else a task sleeps on: who has it, who waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from drgn import Object

from crashkit.decode.fields import Absent, Fields, has_member, member, pointer
from crashkit.decode.identity import identify
from crashkit.decode.locks_lists import Waiter, in_tree, listed, queued
from crashkit.decode.locks_owner import Held, mutex_owner, rt_mutex_owner, rwsem_owner
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class Lock:
    """A lock, or another thing that tasks wait for; None with a reason in ``absent``."""

    kind: str
    """``mutex``, ``rwsem``, ``semaphore``, ``rt_mutex``, ``percpu_rwsem``, ``completion`` or
    ``wait queue``."""
    address: int
    name: str | None
    """What the address is: ``rtnl_mutex``, ``slab object ext4_inode_cache+0x88``."""
    held: str | None
    """``write``, ``read``, ``held``, ``free``; of a completion ``done`` or ``not done``."""
    owner: int | None
    """The ``struct task_struct`` that the lock says has it."""
    hint: int | None
    """The last task that took an rwsem for reading or a semaphore: it may have let go of it
    since. Of a percpu_rwsem the writer that waits for its readers."""
    readers: int | None
    """How many have an rwsem for reading."""
    flags: tuple[str, ...]
    """``handoff``, ``pickup``, ``waiters``, …"""
    waiters: tuple[Waiter, ...] | None
    """First come first."""
    absent: Absent


Decode = Callable[[Object], Held]


def _semaphore(lock: Object) -> Held:
    # struct semaphore keeps no owner; with CONFIG_DETECT_HUNG_TASK_BLOCKER (v6.16) it has a
    # last_holder, which up() by another task does not clear (kernel/locking/semaphore.c).
    count = int(member(lock, "count").value_())
    last = int(member(lock, "last_holder").value_()) if has_member(lock, "last_holder") else 0
    return Held(
        state="free" if count else "held",
        hint=last or None,
        why=Unavailable("owner", Reason.NOT_APPLICABLE, "a semaphore keeps no owner"),
    )


def _completion(lock: Object) -> Held:
    done = int(member(lock, "done").value_())
    why = Unavailable("owner", Reason.NOT_APPLICABLE, "nothing says who will complete it")
    return Held(state="done" if done else "not done", why=why)


def _percpu_rwsem(lock: Object) -> Held:
    if has_member(lock, "rw_sem"):  # up to 7f26482a872c (v5.6)
        return rwsem_owner(member(lock, "rw_sem"))
    why = Unavailable("owner", Reason.NOT_APPLICABLE, "a percpu_rwsem keeps no owner")
    blocked = int(member(lock, "block").counter.value_())
    writer = int(lock.writer.task.value_())
    flags = ("writer waits for readers",) if writer else ()
    return Held(state="write" if blocked else "read or free", hint=writer or None, flags=flags,
                why=why)  # fmt: skip


def _nothing(_lock: Object) -> Held:
    why = Unavailable("owner", Reason.NOT_APPLICABLE, "a wait queue has no owner")
    return Held(state=None, why=why)


def _mutex_waiters(lock: Object) -> Iterator[Waiter]:
    if has_member(lock, "rtmutex"):  # PREEMPT_RT
        return in_tree(member(lock, "rtmutex"))
    return listed(member(lock, "wait_list"), "struct mutex_waiter")


def _rwsem_waiters(lock: Object) -> Iterator[Waiter]:
    if has_member(lock, "rwbase"):  # PREEMPT_RT
        return in_tree(lock.rwbase.rtmutex)
    return listed(member(lock, "wait_list"), "struct rwsem_waiter")


def _semaphore_waiters(lock: Object) -> Iterator[Waiter]:
    return listed(member(lock, "wait_list"), "struct semaphore_waiter")


def _completion_waiters(lock: Object) -> Iterator[Waiter]:
    return queued(member(lock, "wait"))


def _percpu_waiters(lock: Object) -> Iterator[Waiter]:
    if has_member(lock, "rw_sem"):
        return _rwsem_waiters(member(lock, "rw_sem"))
    return queued(member(lock, "waiters"))


def _rt_waiters(lock: Object) -> Iterator[Waiter]:
    return in_tree(member(lock, "rtmutex") if has_member(lock, "rtmutex") else lock)


@dataclass(frozen=True)
class LockType:
    """How one kind of lock is read."""

    ctype: str
    """The pointer type."""
    owner: Decode
    waiters: Callable[[Object], Iterator[Waiter]]


LOCK_TYPES: Mapping[str, LockType] = {
    "mutex": LockType("struct mutex *", mutex_owner, _mutex_waiters),
    "rwsem": LockType("struct rw_semaphore *", rwsem_owner, _rwsem_waiters),
    "rt_mutex": LockType("struct rt_mutex_base *", rt_mutex_owner, _rt_waiters),
    "semaphore": LockType("struct semaphore *", _semaphore, _semaphore_waiters),
    "completion": LockType("struct completion *", _completion, _completion_waiters),
    "percpu_rwsem": LockType("struct percpu_rw_semaphore *", _percpu_rwsem, _percpu_waiters),
    "wait queue": LockType("struct wait_queue_head *", _nothing, queued),
}
"""By the name in :attr:`Lock.kind`."""


def decode_lock(kind: str, lock: Object) -> Lock:
    """Decode a sleeping lock.

    :param kind: a key of :data:`LOCK_TYPES`
    :param lock: a pointer of that row's type
    :raises Unavailable: nothing of it can be read, or the pointer is none of the kernel's
    """
    row = LOCK_TYPES[kind]
    address = pointer(lock, kind)
    fields = Fields(kind)
    held = fields.take("held", lambda: row.owner(lock)) or Held(state=None)
    waiters = fields.take("waiters", lambda: tuple(row.waiters(lock)))
    absent = dict(fields.reasons())
    if held.owner is None:
        absent["owner"] = held.why or absent.get("held") or _nobody(held)
    if held.hint is None:
        absent["hint"] = Unavailable("hint", Reason.NOT_APPLICABLE, "the lock keeps none")
    return Lock(
        kind=kind,
        address=address,
        name=identify(lock.prog_, address),
        held=held.state,
        owner=held.owner,
        hint=held.hint,
        readers=held.readers,
        flags=held.flags,
        waiters=waiters,
        absent=absent,
    )


def _nobody(held: Held) -> Unavailable:
    return Unavailable("owner", Reason.NOT_APPLICABLE, f"nobody's: it is {held.state}")


def waits_on(kind: str, lock: Object, task: int) -> bool:
    """Whether a task is among those that a lock says wait for it.

    :param task: address of a ``struct task_struct``
    :raises Unavailable: the waiters cannot be read up to it
    """
    return any(waiter.task == task for waiter in LOCK_TYPES[kind].waiters(lock))
