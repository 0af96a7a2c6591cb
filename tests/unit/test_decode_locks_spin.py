"""Spinlocks: the word of one, and the queue of CPUs behind it."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode.locks_spin import decode_rwlock, decode_spinlock
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel
from tests.unit.lock_doubles import add_cpus, lock_kernel, per_cpu_variable

QNODES = 0x2000


def _lock(kernel: Kernel, value: int) -> Object:
    lock = kernel.allocate("raw_spinlock_t")
    kernel.set(lock, {"raw_lock.val.counter": value})
    return lock


def _tail(cpu: int, node: int = 0) -> int:
    return (cpu + 1) << 18 | node << 16


def test_locked_alone() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    found = decode_spinlock(_lock(kernel, 1))
    assert (found.locked, found.pending, found.tail_cpu, found.queue) == (True, False, None, ())
    assert found.absent["owner"].reason is Reason.NOT_APPLICABLE


def test_the_queue_is_followed_to_its_head() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 4)
    nodes = per_cpu_variable(kernel, "qnodes", "struct qnode [4]", QNODES, 4)
    for cpu in (1, 2, 3):
        kernel.set(nodes[cpu], {"[0][0].mcs.count": 1})
    # CPU 2 came first, then 1, then 3.
    for cpu, following in ((2, 1), (1, 3)):
        kernel.set(nodes[cpu], {"[0][0].mcs.next": nodes[following].value_()})
    found = decode_spinlock(_lock(kernel, _tail(3) | 0x101))
    assert [entry.cpu for entry in found.queue] == [2, 1, 3]
    assert [entry.head for entry in found.queue] == [True, False, False]
    assert found.pending
    assert found.tail_cpu == 3


def test_a_ring_of_nodes_ends() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    nodes = per_cpu_variable(kernel, "qnodes", "struct qnode [4]", QNODES, 2)
    for cpu in (0, 1):
        kernel.set(nodes[cpu], {"[0][0].mcs.count": 1})
        kernel.set(nodes[cpu], {"[0][0].mcs.next": nodes[1 - cpu].value_()})
    found = decode_spinlock(_lock(kernel, _tail(1) | 1))
    assert [entry.cpu for entry in found.queue] == [0, 1]


def test_without_the_nodes_the_tail_is_known() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    found = decode_spinlock(_lock(kernel, _tail(1, 2) | 1))
    assert [(entry.cpu, entry.node) for entry in found.queue] == [(1, 2)]
    assert found.absent["queue"].reason is Reason.NO_DEBUGINFO


def test_debug_spinlocks_name_their_owner() -> None:
    kernel = lock_kernel()
    kernel.struct("raw_spinlock", 24, ("raw_lock", "struct qspinlock", 0),
                  ("owner_cpu", "unsigned int", 8), ("owner", "void *", 16))  # fmt: skip
    kernel.typedef("raw_spinlock_t", "struct raw_spinlock")
    add_cpus(kernel, 2)
    lock = _lock(kernel, 1)
    kernel.set(lock, {"owner_cpu": 1, "owner": 0xFFFF_8880_0000_1000})
    assert decode_spinlock(lock).owner_cpu == 1
    kernel.set(lock, {"owner_cpu": 0xFFFF_FFFF, "owner": (1 << 64) - 1})
    assert decode_spinlock(lock).owner is None


def test_rwlock_counts_its_readers() -> None:
    kernel = lock_kernel()
    add_cpus(kernel, 2)
    lock = kernel.allocate("struct rwlock")
    kernel.set(lock, {"raw_lock.cnts.counter": 3 << 9 | 0x100})
    found = decode_rwlock(lock)
    assert (found.readers, found.locked, found.pending) == (3, False, True)


def test_tickets_are_not_supported() -> None:
    kernel = lock_kernel()
    kernel.struct("raw_spinlock", 4, ("head_tail", "unsigned int", 0))
    kernel.typedef("raw_spinlock_t", "struct raw_spinlock")
    add_cpus(kernel, 1)
    with pytest.raises(Unavailable) as caught:
        decode_spinlock(kernel.allocate("raw_spinlock_t"))
    assert caught.value.reason is Reason.UNSUPPORTED
