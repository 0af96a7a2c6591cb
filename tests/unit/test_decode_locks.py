"""Sleeping locks: whose they are, who waits, and what a damaged one gives."""

from __future__ import annotations

import pytest

from crashkit.decode.locks import decode_lock, waits_on
from crashkit.decode.locks_work import workers_of
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import list_of
from tests.unit.lock_doubles import lock_kernel, task, wait_on

WAITERS, HANDOFF, PICKUP = 1, 2, 4


def test_mutex_owner_without_its_flags() -> None:
    kernel = lock_kernel()
    owner, waiter = task(kernel, 1), task(kernel, 2)
    lock = kernel.allocate("struct mutex")
    kernel.set(lock, {"owner.counter": owner.value_() | WAITERS | PICKUP})
    wait_on(kernel, lock.wait_list.address_of_(), "struct mutex_waiter", "list", waiter)
    found = decode_lock("mutex", lock)
    assert found.owner == owner.value_()
    assert found.held == "held"
    assert found.flags == ("waiters", "pickup")
    assert [w.task for w in found.waiters or ()] == [waiter.value_()]
    assert waits_on("mutex", lock, waiter.value_())
    assert not waits_on("mutex", lock, owner.value_())


def test_free_mutex_has_no_owner_and_says_so() -> None:
    kernel = lock_kernel()
    lock = kernel.allocate("struct mutex")
    list_of(kernel, lock.wait_list.address_of_(), "list")
    found = decode_lock("mutex", lock)
    assert (found.held, found.owner, found.waiters) == ("free", None, ())
    assert found.absent["owner"].reason is Reason.NOT_APPLICABLE


def test_old_mutex_has_a_count_and_a_pointer() -> None:
    kernel = lock_kernel()
    kernel.struct("mutex", 32, ("count", "atomic_t", 0), ("wait_list", "struct list_head", 8),
                  ("owner", "struct task_struct *", 24))  # fmt: skip
    owner = task(kernel, 1)
    lock = kernel.allocate("struct mutex", owner=owner.value_())
    kernel.set(lock, {"count.counter": -1})
    assert decode_lock("mutex", lock).owner == owner.value_()
    kernel.set(lock, {"count.counter": 1})
    assert decode_lock("mutex", lock).held == "free"


def test_a_mutex_of_preempt_rt_asks_its_rt_mutex() -> None:
    kernel = lock_kernel()
    kernel.struct("mutex", 32, ("rtmutex", "struct rt_mutex_base", 0))
    owner = task(kernel, 1)
    lock = kernel.allocate("struct mutex")
    kernel.set(lock, {"rtmutex.owner": owner.value_() | 1})
    found = decode_lock("mutex", lock)
    assert found.owner == owner.value_()
    assert found.flags == ("waiters",)


def test_rwsem_of_a_writer() -> None:
    kernel = lock_kernel()
    owner, reader = task(kernel, 1), task(kernel, 2)
    lock = kernel.allocate("struct rw_semaphore")
    kernel.set(lock, {"count.counter": 1 | 2, "owner.counter": owner.value_()})
    waiter = kernel.allocate("struct rwsem_waiter", task=reader.value_(), type=1)
    list_of(kernel, lock.wait_list.address_of_(), "list", waiter)
    found = decode_lock("rwsem", lock)
    assert (found.held, found.owner, found.hint) == ("write", owner.value_(), None)
    assert found.waiters is not None
    assert found.waiters[0].wants == "read"


def test_rwsem_of_readers_gives_a_hint_and_no_owner() -> None:
    kernel = lock_kernel()
    reader = task(kernel, 1)
    lock = kernel.allocate("struct rw_semaphore")
    kernel.set(lock, {"count.counter": 3 << 8, "owner.counter": reader.value_() | 1})
    list_of(kernel, lock.wait_list.address_of_(), "list")
    found = decode_lock("rwsem", lock)
    assert (found.held, found.readers) == ("read", 3)
    assert found.owner is None
    assert found.hint == reader.value_()
    assert found.absent["owner"].reason is Reason.NOT_SAVED


def test_semaphore_and_completion_keep_no_owner() -> None:
    kernel = lock_kernel()
    waiter = task(kernel, 1)
    semaphore = kernel.allocate("struct semaphore")
    wait_on(kernel, semaphore.wait_list.address_of_(), "struct semaphore_waiter", "list", waiter)
    completion = kernel.allocate("struct completion")
    head = completion.wait.task_list.address_of_()
    wait_on(kernel, head, "struct swait_queue", "task_list", waiter)
    assert decode_lock("semaphore", semaphore).held == "held"
    assert decode_lock("completion", completion).held == "not done"
    for kind, lock in (("semaphore", semaphore), ("completion", completion)):
        assert decode_lock(kind, lock).absent["owner"].reason is Reason.NOT_APPLICABLE
        assert waits_on(kind, lock, waiter.value_())


def test_a_list_that_does_not_end_is_corrupt() -> None:
    kernel = lock_kernel()
    lock = kernel.allocate("struct mutex")
    waiter = kernel.allocate("struct mutex_waiter")
    head, node = lock.wait_list.address_of_().value_(), waiter.list.address_of_().value_()
    kernel.put(head, node.to_bytes(8, "little"))
    kernel.put(node, node.to_bytes(8, "little"))
    found = decode_lock("mutex", lock)
    assert found.waiters is None
    assert found.absent["waiters"].reason in (Reason.CORRUPTED, Reason.BUDGET)


def test_a_lock_that_is_not_in_the_dump() -> None:
    kernel = lock_kernel()
    lock = kernel.allocate("struct mutex")
    kernel.drop(lock.value_())
    with pytest.raises(Unavailable) as caught:
        decode_lock("mutex", lock)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_the_worker_of_a_work_item() -> None:
    kernel = lock_kernel()
    kernel.struct("work_struct", 8, ("data", "atomic_long_t", 0))
    kernel.struct("worker", 8, ("current_work", "struct work_struct *", 0))
    kernel.struct("kthread", 8, ("data", "void *", 0))
    work = kernel.allocate("struct work_struct")
    worker = kernel.allocate("struct worker", current_work=work.value_())
    thread = kernel.allocate("struct kthread", data=worker.value_())
    idle = kernel.allocate("struct kthread", data=kernel.allocate("struct worker").value_())
    lazy = task(kernel, 6, flags=0x20, worker_private=idle.value_())
    lost = task(kernel, 9, flags=0x20)
    busy = task(kernel, 7, flags=0x20, worker_private=thread.value_())
    other = task(kernel, 8)
    assert workers_of([other, lazy, lost, busy]) == {work.value_(): busy.value_()}
    assert workers_of([other]) == {}


def test_a_percpu_rwsem_knows_its_state_and_the_writer_that_waits() -> None:
    kernel = lock_kernel()
    kernel.struct("rcuwait", 8, ("task", "struct task_struct *", 0))
    kernel.struct("wait_queue_head", 24, ("head", "struct list_head", 8))
    kernel.struct("wait_queue_entry", 40, ("private", "void *", 8),
                  ("entry", "struct list_head", 24))  # fmt: skip
    kernel.struct("percpu_rw_semaphore", 48, ("writer", "struct rcuwait", 0),
                  ("waiters", "struct wait_queue_head", 8), ("block", "atomic_t", 40))  # fmt: skip
    writer, waiter = task(kernel, 1), task(kernel, 2)
    lock = kernel.allocate("struct percpu_rw_semaphore")
    kernel.set(lock, {"block.counter": 1, "writer.task": writer.value_()})
    entry = kernel.allocate("struct wait_queue_entry", private=waiter.value_())
    list_of(kernel, lock.waiters.head.address_of_(), "entry", entry)
    found = decode_lock("percpu_rwsem", lock)
    assert (found.held, found.owner, found.hint) == ("write", None, writer.value_())
    assert waits_on("percpu_rwsem", lock, waiter.value_())
    kernel.set(lock, {"block.counter": 0, "writer.task": 0})
    assert decode_lock("percpu_rwsem", lock).held == "read or free"


def test_an_rwsem_up_to_5_2() -> None:
    kernel = lock_kernel()
    kernel.struct("rw_semaphore", 40, ("count", "atomic_long_t", 0),
                  ("wait_list", "struct list_head", 8),
                  ("owner", "struct task_struct *", 24))  # fmt: skip
    owner = task(kernel, 1)
    lock = kernel.allocate("struct rw_semaphore", owner=owner.value_())
    list_of(kernel, lock.wait_list.address_of_(), "list")
    kernel.set(lock, {"count.counter": 1 - (1 << 32)})
    assert decode_lock("rwsem", lock).owner == owner.value_()
    kernel.set(lock, {"count.counter": 2, "owner": 1})
    assert decode_lock("rwsem", lock).held == "read"
    kernel.set(lock, {"count.counter": 0, "owner": 0})
    assert decode_lock("rwsem", lock).held == "free"


def test_rt_mutex_lists_its_waiters() -> None:
    kernel = lock_kernel()
    owner, waiter = task(kernel, 1), task(kernel, 2)
    node = kernel.allocate("struct rt_mutex_waiter", task=waiter.value_())
    lock = kernel.allocate("struct rt_mutex_base", owner=owner.value_() | 1)
    kernel.set(lock, {"waiters.rb_root.rb_node": node.value_()})
    found = decode_lock("rt_mutex", lock)
    assert found.owner == owner.value_()
    assert [entry.task for entry in found.waiters or ()] == [waiter.value_()]
