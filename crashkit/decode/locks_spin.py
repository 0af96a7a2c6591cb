"""Spinning locks: the word of a queued spinlock or rwlock, and the CPUs queued at it."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.fields import Absent, Fields, has_member, member, pointer
from crashkit.decode.identity import identify
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

MAX_QUEUE = 512
"""CPUs of one queue that are followed."""

# include/asm-generic/qspinlock_types.h: bits 0-7 locked, then pending, 2 bits of the queue
# node's index, the CPU + 1. Pending has 8 bits below 16384 CPUs, else 1.
_LOCKED = 0xFF
_PENDING = 0x100
_MANY_CPUS = 1 << 14
# include/asm-generic/qrwlock.h
_QW_WAITING = 0x100
_QR_SHIFT = 9


@facts
class QueuedCpu:
    """A CPU that spins in the queue of a spinlock."""

    cpu: int
    node: int
    """Which of its four queue nodes: 1 is one interrupt deeper than 0."""
    head: bool
    """It is the first of the queue: it spins on the lock's own word."""


@facts
class SpinLock:
    """A queued spinlock or rwlock; None with a reason in ``absent``."""

    kind: str
    """``spinlock`` or ``rwlock``."""
    address: int
    name: str | None
    value: int | None
    """Its 32-bit word."""
    locked: bool | None
    pending: bool | None
    """A CPU spins on it that did not need to queue; a waiting writer of an rwlock."""
    readers: int | None
    """How many have an rwlock for reading."""
    tail_cpu: int | None
    """The last CPU of the queue."""
    queue: tuple[QueuedCpu, ...]
    """CPUs with a queue node that leads to the tail, those that come first, first."""
    owner: int | None
    """The task that has it, which CONFIG_DEBUG_SPINLOCK notes."""
    owner_cpu: int | None
    absent: Absent


def decode_spinlock(lock: Object) -> SpinLock:
    """Decode a spinlock.

    :param lock: ``spinlock_t *``, ``raw_spinlock_t *`` or ``struct qspinlock *``
    :raises Unavailable: it cannot be read, or it is no queued spinlock
    """
    address = pointer(lock, "spinlock")
    fields = Fields("spinlock")
    raw = _raw(lock)
    word = fields.take("value", lambda: _word(_arch(raw)))
    fields.reasons()
    tail = None if word is None else _tail(lock.prog_, word)
    notes = _debug(fields, raw)
    return SpinLock(
        kind="spinlock",
        address=address,
        name=identify(lock.prog_, address),
        value=word,
        locked=None if word is None else bool(word & _LOCKED),
        pending=None if word is None else bool(word & _PENDING),
        readers=None,
        tail_cpu=None if tail is None else tail[0],
        queue=() if tail is None else _queue(fields, lock.prog_, tail),
        owner=notes[0],
        owner_cpu=notes[1],
        absent=fields.absent,
    )


def _raw(lock: Object) -> Object:
    # spinlock_t { union { struct raw_spinlock rlock } }, include/linux/spinlock_types.h
    return member(lock, "rlock") if has_member(lock, "rlock") else lock


def _arch(raw: Object) -> Object:
    return member(raw, "raw_lock") if has_member(raw, "raw_lock") else raw


def _word(arch: Object) -> int:
    if not has_member(arch, "val"):
        detail = "it is no queued spinlock (tickets, or a kernel for one CPU)"
        raise Unavailable("spinlock", Reason.UNSUPPORTED, detail)
    return int(arch.val.counter.value_()) & 0xFFFF_FFFF


def _debug(fields: Fields, raw: Object) -> tuple[int | None, int | None]:
    if not has_member(raw, "owner_cpu"):
        why = Unavailable("owner", Reason.NOT_APPLICABLE, "a spinlock keeps no owner")
        fields.absent |= {"owner": why, "owner_cpu": why}
        return None, None
    owner = fields.take("owner", lambda: int(member(raw, "owner").value_()))
    cpu = fields.take("owner_cpu", lambda: int(member(raw, "owner_cpu").value_()))
    # SPINLOCK_OWNER_INIT is -1, include/linux/spinlock_types_raw.h
    free = owner in (0, (1 << 64) - 1)
    return (None, None) if free else (owner, cpu)


def _tail(prog: Program, word: int) -> tuple[int, int] | None:
    # (CPU, index of its node); None: nobody queues.
    index_at = 16 if 8 * sizeof(prog.type("struct cpumask")) < _MANY_CPUS else 9
    cpu = word >> index_at + 2
    return (cpu - 1, word >> index_at & 3) if cpu else None


def _queue(fields: Fields, prog: Program, tail: tuple[int, int]) -> tuple[QueuedCpu, ...]:
    found = fields.take("queue", lambda: tuple(_followed(prog, tail)))
    return (QueuedCpu(cpu=tail[0], node=tail[1], head=False),) if found is None else found


def _followed(prog: Program, tail: tuple[int, int]) -> Iterator[QueuedCpu]:
    # Every node points at the next one; the one nobody of those points at is the head.
    nodes = dict(_nodes(prog))
    before = {after: node for node, (_place, after) in nodes.items() if after}
    at = next((node for node, (place, _n) in nodes.items() if place == tail), None)
    chain: list[tuple[int, int]] = []
    while at is not None and len(chain) < MAX_QUEUE and nodes[at][0] not in chain:
        chain.append(nodes[at][0])
        at = before.get(at)
    # A CPU that just queued may not yet be linked: the head is known only from its mcs.locked.
    for number, (cpu, node) in enumerate(reversed(chain)):
        yield QueuedCpu(cpu=cpu, node=node, head=number == 0)
    if not chain:
        yield QueuedCpu(cpu=tail[0], node=tail[1], head=False)


_Place = tuple[int, int]


def _nodes(prog: Program) -> Iterator[tuple[int, tuple[_Place, int]]]:
    # kernel/locking/qspinlock.c: DEFINE_PER_CPU_ALIGNED(struct qnode, qnodes[MAX_NODES]);
    # count of the first says how many are in use.
    for cpu in _possible(prog):
        nodes = per_cpu(prog["qnodes"], cpu)
        used = int(nodes[0].mcs.count.value_())
        for index in range(min(max(used, 0), len(nodes))):
            mcs = nodes[index].mcs
            yield mcs.address_of_().value_(), ((cpu, index), int(mcs.next.value_()))


def _possible(prog: Program) -> Iterator[int]:
    for cpu in for_each_possible_cpu(prog):
        if cpu < MAX_QUEUE:
            yield cpu


def decode_rwlock(lock: Object) -> SpinLock:
    """Decode an rwlock.

    :param lock: ``rwlock_t *`` or ``struct qrwlock *``
    :raises Unavailable: it cannot be read, or it is no queued rwlock
    """
    address = pointer(lock, "rwlock")
    fields = Fields("rwlock")
    arch = _arch(lock)
    word = fields.take("value", lambda: int(arch.cnts.counter.value_()) & 0xFFFF_FFFF)
    fields.reasons()
    tail = _wait_tail(fields, arch)
    notes = _debug(fields, lock)
    readers = None if word is None else word >> _QR_SHIFT
    return SpinLock(
        kind="rwlock",
        address=address,
        name=identify(lock.prog_, address),
        value=word,
        locked=None if word is None else bool(word & _LOCKED),
        pending=None if word is None else bool(word & _QW_WAITING),
        readers=readers,
        tail_cpu=None if tail is None else tail[0],
        queue=() if tail is None else _queue(fields, lock.prog_, tail),
        owner=notes[0],
        owner_cpu=notes[1],
        absent=fields.absent,
    )


def _wait_tail(fields: Fields, arch: Object) -> tuple[int, int] | None:
    word = fields.take("tail_cpu", lambda: _word(member(arch, "wait_lock")))
    return None if word is None else _tail(arch.prog_, word)
