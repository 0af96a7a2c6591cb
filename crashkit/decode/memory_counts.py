"""The kernel's page counters, the differences that CPUs still keep added to them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.fields import has_member, naming, text_at
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, read_bytes
from crashkit.value import facts

MAX_CPUS = 8192
MAX_NODES = 1024
MAX_ZONES = 16
MAX_ITEMS = 1024
_WORD = 8
_MAX_ORDERS = 32
_MAX_PCP = 1 << 20


@facts
class Zone:
    """One populated memory zone; numbers are pages."""

    node: int
    name: str
    managed: int
    free: int
    """With what its CPUs' counters still keep, without the pages on CPU lists."""
    watermark_min: int
    """With the boost, as the allocator compares."""
    free_by_order: tuple[int, ...]
    """Free blocks of 1, 2, 4, ... pages; those on CPU lists not included."""


def possible_cpus(prog: Program) -> tuple[int, ...]:
    """List the CPUs there may be: counters of one that a panic stopped still count."""
    with naming("possible CPUs"):
        return tuple(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))


def for_each_node(prog: Program) -> Iterator[Object]:
    """Yield ``struct pglist_data *`` of each online node."""
    with naming("memory nodes"):
        yield from bounded(for_each_online_pgdat(prog), MAX_NODES, "memory nodes")


def for_each_zone(prog: Program) -> Iterator[Object]:
    """Yield ``struct zone *`` of each populated zone."""
    for node in for_each_node(prog):
        for index in range(min(int(node.nr_zones.value_()), MAX_ZONES)):
            zone = node.node_zones[index].address_of_()
            if zone.present_pages.value_():
                yield zone


def page_counters(prog: Program) -> Mapping[str, int]:
    """Read the counters of ``enum node_stat_item`` and ``enum zone_stat_item`` by name.

    The unit is the counter's own: pages, or KiB for names that end in ``_KB``. Counters in
    bytes (``_B``) are kept in pages globally (mm/vmstat.c: ``__mod_node_page_state()``).

    :raises Unavailable: the counters or their types are not in the dump
    """
    with naming("page counters"):
        node = _sums(prog, "enum node_stat_item", "vm_node_stat", _node_differences)
        zone = _sums(prog, "enum zone_stat_item", "vm_zone_stat", _zone_differences)
    return {name: max(value, 0) for name, value in (node | zone).items()}


def _sums(
    prog: Program,
    enumeration: str,
    variable: str,
    differences: Callable[[Program], Iterator[array[int]]],
) -> dict[str, int]:
    items = {e.name: int(e.value) for e in prog.type(enumeration).enumerators or ()}
    count = max(items.values(), default=0)
    if not 0 < count <= MAX_ITEMS:
        raise Unavailable(variable, Reason.CORRUPTED, f"{count} counters")
    totals = array("q", read_bytes(prog, prog[variable].address_of_().value_(), count * _WORD))
    for part in differences(prog):
        for index, value in enumerate(part[:count]):
            totals[index] += value
    return {name: totals[value] for name, value in items.items() if value < count}


def _node_differences(prog: Program) -> Iterator[array[int]]:
    for node in for_each_node(prog):
        if node.per_cpu_nodestats.value_():
            for cpu in possible_cpus(prog):
                own = per_cpu_ptr(node.per_cpu_nodestats, cpu)
                yield array("b", own.vm_node_stat_diff.to_bytes_())


def _zone_differences(prog: Program) -> Iterator[array[int]]:
    for zone in for_each_zone(prog):
        for cpu in possible_cpus(prog):
            yield array("b", _zone_statistics(zone, cpu).vm_stat_diff.to_bytes_())


def _zone_statistics(zone: Object, cpu: int) -> Object:
    # Apart from the CPU's list of free pages since Linux kernel commit 28f836b6777b
    # ("mm/page_alloc: split per cpu page lists and zone stats") (in v5.14).
    if has_member(zone, "per_cpu_zonestats"):
        return per_cpu_ptr(zone.per_cpu_zonestats, cpu)
    return per_cpu_ptr(zone.pageset, cpu)


def pages_on_cpu_lists(prog: Program) -> int:
    """Count the free pages that CPUs keep apart from the zones' free lists.

    :raises Unavailable: a list's count is missing or cannot be
    """
    total = 0
    with naming("free pages of CPUs"):
        for zone in for_each_zone(prog):
            split = has_member(zone, "per_cpu_pageset")
            for cpu in possible_cpus(prog):
                own = per_cpu_ptr(zone.per_cpu_pageset if split else zone.pageset, cpu)
                count = int((own if split else own.pcp).count.value_())
                if not 0 <= count <= _MAX_PCP:
                    detail = f"{count} on CPU {cpu}"
                    raise Unavailable("free pages of CPUs", Reason.CORRUPTED, detail)
                total += count
    return total


def memory_zones(prog: Program) -> tuple[Zone, ...]:
    """Read the populated zones.

    :raises Unavailable: they are not in the dump
    """
    with naming("memory zones"):
        return tuple(_zone(zone) for zone in for_each_zone(prog))


def _zone(zone: Object) -> Zone:
    prog = zone.prog_
    item = int(prog.constant("NR_FREE_PAGES").value_())
    free = int(zone.vm_stat[item].counter.value_())
    for cpu in possible_cpus(prog):
        free += int(_zone_statistics(zone, cpu).vm_stat_diff[item].value_())
    managed = zone.managed_pages
    areas = zone.free_area
    orders = range(min(areas.type_.length or 0, _MAX_ORDERS))
    return Zone(
        node=int(zone.zone_pgdat.node_id.value_()),
        name=text_at(prog, int(zone.name.value_()), 16),
        # An atomic since Linux kernel commit 9705bea5f833 ("mm: convert zone->managed_pages
        # to atomic variable") (in v5.0).
        managed=int((managed.counter if has_member(managed, "counter") else managed).value_()),
        free=max(free, 0),
        watermark_min=_watermark(zone),
        free_by_order=tuple(int(areas[order].nr_free.value_()) for order in orders),
    )


def _watermark(zone: Object) -> int:
    index = int(zone.prog_.constant("WMARK_MIN").value_())
    if not has_member(zone, "_watermark"):
        return int(zone.watermark[index].value_())
    return int(zone._watermark[index].value_()) + int(zone.watermark_boost.value_())


def percpu_counter(counter: Object, cpus: tuple[int, ...]) -> int:
    """Sum a ``struct percpu_counter`` over the possible CPUs; never below 0.

    drgn's ``percpu_counter_sum()`` asks the online CPUs, and a panic takes the others offline.
    """
    total = int(counter.count.value_())
    if counter.counters.value_():
        total += sum(int(per_cpu_ptr(counter.counters, cpu)[0].value_()) for cpu in cpus)
    return max(total, 0)
