"""Who has the memory: counters with what CPUs keep, the sum, and what is left over."""

from __future__ import annotations

from typing import Any

import pytest
from drgn import Object

from crashkit.decode import memory, memory_counts, memory_slabs
from crashkit.decode.memory import memory_use
from crashkit.decode.memory_counts import page_counters, pages_on_cpu_lists, percpu_counter
from crashkit.decode.memory_slabs import flag_words
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel
from tests.unit.memory_doubles import machine, with_counters

COUNTERS = {
    "NR_FREE_PAGES": 2000, "NR_SLAB_UNRECLAIMABLE_B": 3000, "NR_SLAB_RECLAIMABLE_B": 500,
    "NR_ANON_MAPPED": 1000, "NR_FILE_PAGES": 1500, "NR_SHMEM": 700, "NR_SWAPCACHE": 100,
    "NR_KERNEL_STACK_KB": 400, "NR_PAGETABLE": 50,
}  # fmt: skip


def two_cpus(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, node: Object) -> None:
    """Per-CPU objects of CPU 1 lie right behind those of CPU 0, wherever they are."""

    def per_cpu_ptr(pointer: Object, cpu: int) -> Object:
        return pointer + cpu

    monkeypatch.setattr(memory_counts, "for_each_possible_cpu", lambda _prog: iter(range(2)))
    monkeypatch.setattr(memory_counts, "for_each_online_pgdat", lambda _prog: iter([node]))
    monkeypatch.setattr(memory_counts, "per_cpu_ptr", per_cpu_ptr)


def one_cpu(monkeypatch: pytest.MonkeyPatch, node: Object) -> None:
    monkeypatch.setattr(memory_counts, "for_each_possible_cpu", lambda _prog: iter(range(1)))
    monkeypatch.setattr(memory_counts, "for_each_online_pgdat", lambda _prog: iter([node]))
    monkeypatch.setattr(memory_counts, "per_cpu_ptr", lambda pointer, _cpu: pointer)


def measured(monkeypatch: pytest.MonkeyPatch, **pages: int) -> None:
    """What is no counter of a node: given, or not to be had."""

    def had(name: str) -> Any:
        def read(*_: object) -> int:
            if name not in pages:
                raise Unavailable(name, Reason.NOT_IN_DUMP, "dropped")
            return pages[name]

        return read

    for name in ("_percpu_pages", "_hugetlb_pages"):
        monkeypatch.setattr(memory, name, had(name))
    monkeypatch.setattr(memory, "_vmapped_stacks", lambda _prog: True)


def test_what_cpus_keep_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine()
    node = with_counters(kernel, {"NR_SHMEM": 100, "NR_FREE_PAGES": 40})
    two_cpus(monkeypatch, kernel, node)
    kernel.set(node.per_cpu_nodestats, {"vm_node_stat_diff[4]": 7})
    kernel.set(node.per_cpu_nodestats + 1, {"vm_node_stat_diff[4]": -2})
    kernel.set(node.node_zones[1].per_cpu_zonestats, {"vm_stat_diff[0]": -11})
    counters = page_counters(kernel.prog)
    assert counters["NR_SHMEM"] == 105
    assert counters["NR_FREE_PAGES"] == 29


def test_a_sum_below_zero_is_zero_as_the_kernel_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine()
    node = with_counters(kernel, {"NR_SHMEM": -3})
    one_cpu(monkeypatch, node)
    assert page_counters(kernel.prog)["NR_SHMEM"] == 0


def test_counters_that_are_not_in_the_dump_are_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = machine()
    node = with_counters(kernel, COUNTERS)
    one_cpu(monkeypatch, node)
    kernel.drop(kernel.prog["vm_node_stat"].address_of_().value_())
    with pytest.raises(Unavailable) as missing:
        page_counters(kernel.prog)
    assert missing.value.reason is Reason.NOT_IN_DUMP


def test_an_impossible_list_of_a_cpu_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine()
    node = with_counters(kernel, COUNTERS)
    one_cpu(monkeypatch, node)
    assert pages_on_cpu_lists(kernel.prog) == 10
    kernel.set(node.node_zones[0].per_cpu_pageset, {"count": -1})
    with pytest.raises(Unavailable) as missing:
        pages_on_cpu_lists(kernel.prog)
    assert missing.value.reason is Reason.CORRUPTED


def test_the_sum_and_the_rest_make_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine()
    node = with_counters(kernel, COUNTERS)
    one_cpu(monkeypatch, node)
    measured(monkeypatch, _percpu_pages=20, _hugetlb_pages=0)
    kernel.variable("nr_vmalloc_pages", "atomic_long_t", None)
    kernel.set(kernel.prog["nr_vmalloc_pages"].address_of_(), {"counter": 350})
    use = memory_use(kernel.prog)
    pages = {one.key: one.pages for one in use.consumers}
    assert pages == {
        "slab_unreclaimable": 3000, "free": 2000, "anonymous": 1000,
        "page_cache": 1500 - 700 - 100, "shmem": 700, "slab_reclaimable": 500,
        "vmalloc": 350 - 100, "kernel_stacks": 100, "page_tables": 50, "per_cpu": 20,
        "free_cpu": 10,
    }  # fmt: skip
    assert use.total_pages == 10_000
    assert use.accounted_pages == sum(filter(None, pages.values()))
    assert use.unaccounted_pages == 10_000 - use.accounted_pages
    assert use.consumers[0].key == "slab_unreclaimable"
    assert {one.key for one in use.beside if one.pages} == {"swap_cache"}


def test_what_cannot_be_read_is_named_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = machine()
    node = with_counters(kernel, COUNTERS)
    one_cpu(monkeypatch, node)
    measured(monkeypatch, _hugetlb_pages=0)
    use = memory_use(kernel.prog)  # without nr_vmalloc_pages
    unread = {one.key: one.unavailable for one in use.consumers if one.pages is None}
    assert set(unread) == {"per_cpu", "vmalloc"}
    assert unread["per_cpu"] is not None
    assert unread["per_cpu"].reason is Reason.NOT_IN_DUMP
    assert use.pages("vmalloc") is None
    assert use.pages("no such use") == 0
    assert use.consumers[-1].pages is None


def test_a_percpu_counter_has_the_parts_of_cpus_that_a_panic_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel()
    kernel.struct("percpu_counter", 16, ("count", "long", 0), ("counters", "int *", 8))
    parts = kernel.allocate("int [2]")
    kernel.set(parts, {"[0][0]": 5, "[0][1]": -2})
    counter = kernel.allocate("struct percpu_counter", count=40, counters=parts.value_())
    monkeypatch.setattr(memory_counts, "per_cpu_ptr", lambda pointer, cpu: pointer + cpu)
    assert percpu_counter(counter[0], (0, 1)) == 43
    kernel.set(counter, {"count": -100})
    assert percpu_counter(counter[0], (0, 1)) == 0


@pytest.mark.parametrize(("slabs", "order"), [(-1, 0), (1, 1 << 16), (1 << 41, 0)])
def test_impossible_slabs_are_corrupt(
    monkeypatch: pytest.MonkeyPatch, slabs: int, order: int
) -> None:
    kernel = Kernel()
    kernel.struct("atomic_long", 8, ("counter", "long", 0))
    kernel.struct("kmem_cache_node", 16, ("nr_slabs", "struct atomic_long", 0),
                  ("total_objects", "struct atomic_long", 8))  # fmt: skip
    kernel.struct("kmem_cache", 8, ("node", "struct kmem_cache_node *", 0))
    node = kernel.allocate("struct kmem_cache_node")
    kernel.set(node, {"nr_slabs.counter": slabs, "total_objects.counter": 5})
    cache = kernel.allocate("struct kmem_cache", node=node.value_())
    monkeypatch.setattr(memory_slabs, "for_each_slab_cache", lambda _prog: iter([cache]))
    monkeypatch.setattr(memory_slabs, "slab_cache_order", lambda _cache: order)
    monkeypatch.setattr(memory_slabs, "_nodes", lambda _cache: iter([node]))
    with pytest.raises(Unavailable) as missing:
        memory_slabs.slab_use(kernel.prog)
    assert missing.value.reason is Reason.CORRUPTED


@pytest.mark.parametrize(
    ("value", "words"),
    [(0xCC0, "GFP_KERNEL"), (0x40CC0, "GFP_KERNEL|__GFP_COMP"), (0, "0x0"), (8, "0x8")],
)
def test_flags_are_written_as_the_kernel_writes_them(value: int, words: str) -> None:
    names = ((0xCC0, "GFP_KERNEL"), (0x40, "__GFP_IO"), (0x40000, "__GFP_COMP"))
    assert flag_words(value, names) == words
