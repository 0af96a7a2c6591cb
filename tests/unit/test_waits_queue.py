"""The head of a wait queue, found from a task's own entry."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.crash.panics.waits_queue import find_queue
from crashkit.symbols.lookup import names_of
from tests.unit.kernel_doubles import Kernel, list_of
from tests.unit.lock_doubles import lock_kernel, task

FUNC = 0xFFFF_FFFF_8100_0100


def _kernel() -> Kernel:
    kernel = lock_kernel()
    kernel.struct("wait_queue_entry", 40, ("flags", "unsigned int", 0), ("private", "void *", 8),
                  ("func", "void *", 16), ("entry", "struct list_head", 24))  # fmt: skip
    kernel.struct("wait_queue_head", 24, ("lock", "unsigned int", 0),
                  ("head", "struct list_head", 8))  # fmt: skip
    names_of(kernel.prog).text = (0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8200_0000)
    return kernel


def _entry(kernel: Kernel, sleeper: Object) -> Object:
    return kernel.allocate("struct wait_queue_entry", private=sleeper.value_(), func=FUNC)


def _words(entry: Object) -> list[tuple[int, int | None]]:
    return [(entry.value_() + 8, int(entry.private)), (entry.value_() + 16, FUNC), (8, None)]


def test_the_one_node_that_is_no_entry_is_the_head() -> None:
    kernel = _kernel()
    me, other = task(kernel, 1), task(kernel, 2)
    head = kernel.allocate("struct wait_queue_head")
    mine, theirs = _entry(kernel, me), _entry(kernel, other)
    list_of(kernel, head.head.address_of_(), "entry", theirs, mine)
    assert find_queue(kernel.prog, me.value_(), _words(mine)) == head.value_()


def test_an_entry_left_over_from_an_earlier_sleep_does_not_count() -> None:
    kernel = _kernel()
    me, other = task(kernel, 1), task(kernel, 2)
    head = kernel.allocate("struct wait_queue_head")
    mine, theirs = _entry(kernel, me), _entry(kernel, other)
    list_of(kernel, head.head.address_of_(), "entry", theirs)
    # The old entry still points at the head, which lists it no longer.
    kernel.set(mine, {"entry.next": head.head.address_of_().value_()})
    assert find_queue(kernel.prog, me.value_(), _words(mine)) is None


@pytest.mark.parametrize("func", [0, 0xFFFF_8880_0000_0000])
def test_what_wakes_nobody_is_no_entry(func: int) -> None:
    kernel = _kernel()
    me = task(kernel, 1)
    head = kernel.allocate("struct wait_queue_head")
    mine = _entry(kernel, me)
    list_of(kernel, head.head.address_of_(), "entry", mine)
    kernel.set(mine, {"func": func})
    assert find_queue(kernel.prog, me.value_(), _words(mine)) is None


def test_a_ring_without_a_head_ends() -> None:
    kernel = _kernel()
    me = task(kernel, 1)
    mine, more = _entry(kernel, me), _entry(kernel, me)
    nodes = [entry.entry.address_of_().value_() for entry in (mine, more)]
    kernel.set(mine, {"entry.next": nodes[1]})
    kernel.set(more, {"entry.next": nodes[1]})
    assert find_queue(kernel.prog, me.value_(), _words(mine)) is None


def test_without_the_types_there_is_nothing_to_find() -> None:
    kernel = lock_kernel()
    assert find_queue(kernel.prog, 1, [(8, 1)]) is None
