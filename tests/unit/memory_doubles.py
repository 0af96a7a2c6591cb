"""A small machine for the memory accounting: one node, two zones, two CPUs."""

from __future__ import annotations

from drgn import Object

from tests.unit.kernel_doubles import Kernel

NODE_ITEMS = (
    "NR_SLAB_RECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE_B", "NR_ANON_MAPPED", "NR_FILE_PAGES",
    "NR_SHMEM", "NR_KERNEL_STACK_KB", "NR_PAGETABLE", "NR_SWAPCACHE", "NR_VM_NODE_STAT_ITEMS",
)  # fmt: skip
ZONE_ITEMS = ("NR_FREE_PAGES", "NR_MLOCK", "NR_VM_ZONE_STAT_ITEMS")


def machine() -> Kernel:
    """Types and a node with zones DMA and Normal of 1000 and 9000 managed pages."""
    kernel = Kernel()
    kernel.struct("atomic_long", 8, ("counter", "long", 0))
    kernel.typedef("atomic_long_t", "struct atomic_long")
    kernel.enum("node_stat_item", **{name: n for n, name in enumerate(NODE_ITEMS)})
    kernel.enum("zone_stat_item", **{name: n for n, name in enumerate(ZONE_ITEMS)})
    for names in (NODE_ITEMS, ZONE_ITEMS):
        for number, name in enumerate(names):
            kernel.constant(name, "int", number)
    kernel.constant("WMARK_MIN", "int", 0)
    kernel.struct("free_area", 8, ("nr_free", "unsigned long", 0))
    kernel.struct("per_cpu_pages", 8, ("count", "int", 0))
    kernel.struct("per_cpu_zonestat", 8, ("vm_stat_diff", "signed char [2]", 0))
    kernel.struct("per_cpu_nodestat", 16, ("vm_node_stat_diff", "signed char [8]", 0))
    kernel.declare("pglist_data")
    kernel.struct("zone", 192,
        ("_watermark", "unsigned long [1]", 0), ("watermark_boost", "unsigned long", 8),
        ("zone_pgdat", "struct pglist_data *", 16),
        ("per_cpu_pageset", "struct per_cpu_pages *", 24),
        ("per_cpu_zonestats", "struct per_cpu_zonestat *", 32),
        ("managed_pages", "atomic_long_t", 40), ("present_pages", "unsigned long", 48),
        ("name", "char *", 56), ("free_area", "struct free_area [3]", 64),
        ("vm_stat", "atomic_long_t [2]", 96))  # fmt: skip
    kernel.struct("pglist_data", 512,
        ("node_zones", "struct zone [2]", 0), ("nr_zones", "int", 384), ("node_id", "int", 388),
        ("per_cpu_nodestats", "struct per_cpu_nodestat *", 392))  # fmt: skip
    return kernel


def with_counters(
    kernel: Kernel, counters: dict[str, int], managed: tuple[int, int] = (1000, 9000)
) -> Object:
    """Write the counters; returns the node, ``struct pglist_data *``."""
    node_values = kernel.variable("vm_node_stat", f"atomic_long_t [{len(NODE_ITEMS) - 1}]")
    zone_values = kernel.variable("vm_zone_stat", f"atomic_long_t [{len(ZONE_ITEMS) - 1}]")
    for items, values in ((NODE_ITEMS, node_values), (ZONE_ITEMS, zone_values)):
        for number, name in enumerate(items[:-1]):
            if name in counters:
                kernel.set(values, {f"[0][{number}].counter": counters[name]})
    node = kernel.allocate("struct pglist_data", nr_zones=2)
    stats = kernel.allocate("struct per_cpu_nodestat")
    kernel.allocate("struct per_cpu_nodestat")
    for index, (zone, pages) in enumerate(zip((b"DMA", b"Normal"), managed, strict=True)):
        text = kernel.allocate("char [8]")
        kernel.put(text.value_(), zone + b"\0")
        kernel.set(node, {
            f"node_zones[{index}].name": text.value_(),
            f"node_zones[{index}].managed_pages.counter": pages,
            f"node_zones[{index}].present_pages": pages,
            f"node_zones[{index}].zone_pgdat": node.value_(),
            f"node_zones[{index}].per_cpu_zonestats":
                kernel.allocate("struct per_cpu_zonestat").value_(),
            f"node_zones[{index}].per_cpu_pageset":
                kernel.allocate("struct per_cpu_pages", count=5).value_(),
        })  # fmt: skip
    kernel.set(node, {"per_cpu_nodestats": stats.value_()})
    return node
