"""Whom a mutex, an rwsem or an rt_mutex belongs to, by its own words."""

from __future__ import annotations

from drgn import Object

from crashkit.decode.fields import has_member, member, names_of
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_FLAGS = 7
"""Low bits of an owner word that are flags: a task_struct is aligned to more than 8."""
_MUTEX_FLAGS = {0: "waiters", 1: "handoff", 2: "pickup"}  # kernel/locking/mutex.h

# kernel/locking/rwsem.c
_RWSEM_OWNER = {1: "no spinning", 2: "no spinning (write)"}
_READER_OWNED = 1
_WRITER_LOCKED = 1
_RWSEM_COUNT = {1: "waiters", 2: "handoff"}
_READER_SHIFT = 8
_READERS = (1 << 55) - 1  # up to RWSEM_FLAG_READFAIL, bit 63
_RT_HAS_WAITERS = 1  # kernel/locking/rtmutex_common.h


@facts
class Held:
    """What a lock's own words say."""

    state: str | None
    """``write``, ``read``, ``held``, ``free``."""
    owner: int | None = None
    """Address of a ``struct task_struct``."""
    hint: int | None = None
    """The same, of a task that may have let go."""
    readers: int | None = None
    flags: tuple[str, ...] = ()
    why: Unavailable | None = None
    """Why there is no owner although it is held."""


def mutex_owner(lock: Object) -> Held:
    """Read whom a mutex belongs to.

    :param lock: ``struct mutex *``
    :raises Unavailable: it cannot be read
    """
    if has_member(lock, "rtmutex"):  # PREEMPT_RT: kernel/locking/rtmutex_api.c
        return rt_mutex_owner(member(lock, "rtmutex"))
    owner = member(lock, "owner")
    if has_member(owner, "counter"):
        word = int(owner.counter.value_()) & ((1 << 64) - 1)
        task = word & ~_FLAGS
        flags = names_of(word & _FLAGS, _MUTEX_FLAGS)
        return Held(state="held" if task else "free", owner=task or None, flags=flags)
    # A task pointer beside a count, up to 3ca0ff571b09 ("locking/mutex: Rework mutex::owner")
    # (in v4.10): 1 is free, 0 held, less held with waiters. The owner is set after the count.
    count = int(lock.count.counter.value_())
    task = int(owner.value_())
    if count == 1:
        return Held(state="free")
    why = Unavailable("owner", Reason.NOT_SAVED, "taken, its owner not yet noted")
    return Held(state="held", owner=task or None, flags=("waiters",) if count < 0 else (), why=why)


def rwsem_owner(lock: Object) -> Held:
    """Read whom an rwsem belongs to.

    :param lock: ``struct rw_semaphore *``
    :raises Unavailable: it cannot be read
    """
    if has_member(lock, "rwbase"):  # PREEMPT_RT: kernel/locking/rwbase_rt.c
        return _rt_rwsem(lock.rwbase)
    owner = member(lock, "owner")
    if not has_member(owner, "counter"):
        return _old_rwsem(lock, owner)
    # Since 94a9717b3c40 ("locking/rwsem: Make rwsem->owner an atomic_long_t") and
    # 64489e78004c ("locking/rwsem: Implement a new locking scheme") (both in v5.3).
    word = int(owner.counter.value_()) & ((1 << 64) - 1)
    count = int(lock.count.counter.value_()) & ((1 << 64) - 1)
    readers = count >> _READER_SHIFT & _READERS
    task = word & ~_FLAGS
    flags = names_of(count & 6, _RWSEM_COUNT) + names_of(word & 6, _RWSEM_OWNER)
    if count & _WRITER_LOCKED:
        why = Unavailable("owner", Reason.NOT_SAVED, "taken, its owner not yet noted")
        owned = task if task and not word & _READER_OWNED else None
        return Held(state="write", owner=owned, flags=flags, readers=0, why=why)
    if not readers:
        return Held(state="free", flags=flags, readers=0)
    return Held(
        state="read",
        hint=task if task and word & _READER_OWNED else None,
        readers=readers,
        flags=flags,
        why=_readers_unknown(),
    )


def _readers_unknown() -> Unavailable:
    return Unavailable("owner", Reason.NOT_SAVED, "an rwsem does not list its readers")


def _old_rwsem(lock: Object, owner: Object) -> Held:
    # kernel/locking/rwsem-xadd.c, include/asm-generic/rwsem.h up to v5.2: the low 32 bits
    # count those that have it or try to; the bias of -1 << 32 is of a writer or of waiters.
    counted = lock.count.counter if has_member(lock.count, "counter") else lock.count
    count = int(counted.value_())
    word = int(owner.value_())
    task = word & ~_FLAGS
    active = count & 0xFFFF_FFFF
    flags = ("waiters or writer",) if count < 0 else ()
    if not active:
        return Held(state="free", flags=flags)
    if task and not word & _FLAGS:
        return Held(state="write", owner=task, flags=flags)
    return Held(state="read", flags=flags, why=_readers_unknown())


def rt_mutex_owner(lock: Object) -> Held:
    """Read whom an rt_mutex belongs to.

    :param lock: ``struct rt_mutex_base`` or ``struct rt_mutex``, or a pointer to one
    :raises Unavailable: it cannot be read
    """
    base = member(lock, "rtmutex") if has_member(lock, "rtmutex") else lock
    word = int(member(base, "owner").value_())
    task = word & ~_RT_HAS_WAITERS
    flags = ("waiters",) if word & _RT_HAS_WAITERS else ()
    return Held(state="held" if task else "free", owner=task or None, flags=flags)


def _rt_rwsem(base: Object) -> Held:
    # include/linux/rwbase_rt.h: READER_BIAS is 1 << 31, WRITER_BIAS 1 << 30.
    count = int(base.readers.counter.value_()) & 0xFFFF_FFFF
    owned = rt_mutex_owner(base.rtmutex)
    if count == 1 << 30:
        return Held(state="write", owner=owned.owner, flags=owned.flags)
    readers = count & ((1 << 30) - 1)
    if not readers:
        return Held(state="free" if owned.owner is None else "write", owner=owned.owner)
    return Held(state="read", readers=readers, flags=owned.flags, why=_readers_unknown())
