"""Who has the memory: every page the kernel manages, counted once, and what is left over.

Each consumer is a counter of the kernel's own. Where two counters count the same pages one
is taken off the other, as the consumer's ``origin`` says, so that the sum can be compared
with the total; the rest is what nobody counts: pages that drivers and others take from the
page allocator for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drgn import Object, Program
from drgn.helpers.linux.hugetlb import for_each_hstate

from crashkit.decode.fields import counter, has_member, naming
from crashkit.decode.memory_counts import Zone, memory_zones, page_counters, pages_on_cpu_lists
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_HSTATES = 16
_KIB_PER_PAGE = 4
_PAGE = 4096
_LARGEST_ORDER = 40


@facts
class Consumer:
    """What a part of the memory is used for."""

    key: str
    """A short name that stays."""
    name: str
    pages: int | None
    """None: see ``unavailable``."""
    origin: str
    """The kernel's counter, or how several make the number."""
    unavailable: Unavailable | None = None


@facts
class MemoryUse:
    """The pages the kernel manages, by use. Pages are of 4096 bytes."""

    total_pages: int
    total_origin: str
    zones: tuple[Zone, ...]
    consumers: tuple[Consumer, ...]
    """Largest first, those that cannot be read last; none that uses nothing."""
    beside: tuple[Consumer, ...]
    """Numbers that are part of a consumer, or no pages at all: not in the sum."""
    accounted_pages: int
    unaccounted_pages: int
    """Total minus the sum; below 0 where counters count pages twice. Includes every consumer
    that could not be read."""
    percent_unaccounted: float

    def pages(self, key: str) -> int | None:
        """Pages of one consumer; 0 where it uses none, None where that cannot be read."""
        return next((one.pages for one in self.consumers if one.key == key), 0)


@facts
class _Row:
    key: str
    name: str
    plus: tuple[str, ...]
    """Counters; the first of alternatives ("a|b") that the kernel has."""
    minus: tuple[str, ...] = ()


# include/linux/mmzone.h, Linux 4.9 to 7.0; fs/proc/meminfo.c adds them up likewise.
_ROWS = (
    _Row(key="free", name="free", plus=("NR_FREE_PAGES",)),
    _Row(key="slab_unreclaimable", name="unreclaimable slab",
         plus=("NR_SLAB_UNRECLAIMABLE_B|NR_SLAB_UNRECLAIMABLE",)),
    _Row(key="slab_reclaimable", name="reclaimable slab",
         plus=("NR_SLAB_RECLAIMABLE_B|NR_SLAB_RECLAIMABLE",)),
    _Row(key="anonymous", name="anonymous memory of processes",
         plus=("NR_ANON_MAPPED|NR_ANON_PAGES",)),
    _Row(key="page_cache", name="page cache of files", plus=("NR_FILE_PAGES",),
         minus=("NR_SHMEM", "NR_SWAPCACHE")),
    _Row(key="shmem", name="tmpfs and shared memory", plus=("NR_SHMEM",)),
    _Row(key="page_tables", name="page tables", plus=("NR_PAGETABLE",)),
    _Row(key="secondary_page_tables", name="page tables of guests and IOMMUs",
         plus=("NR_SECONDARY_PAGETABLE",)),
    _Row(key="zsmalloc", name="compressed memory (zsmalloc)", plus=("NR_ZSPAGES",)),
    _Row(key="bounce", name="bounce buffers", plus=("NR_BOUNCE",)),
    _Row(key="misc_reclaimable", name="reclaimable pages of drivers",
         plus=("NR_KERNEL_MISC_RECLAIMABLE",)),
    _Row(key="balloon", name="balloon", plus=("NR_BALLOON_PAGES",)),
    _Row(key="gpu", name="pages of GPU drivers", plus=("NR_GPU_ACTIVE",)),
    _Row(key="gpu_pool", name="pages GPU drivers keep", plus=("NR_GPU_RECLAIM",)),
)  # fmt: skip
_BESIDE = (
    _Row(key="swap_cache", name="swap cache (part of anonymous where mapped)",
         plus=("NR_SWAPCACHE",)),
    _Row(key="free_cma", name="free for CMA (part of free)", plus=("NR_FREE_CMA_PAGES",)),
    _Row(key="unaccepted", name="not yet accepted (part of free)", plus=("NR_UNACCEPTED",)),
    _Row(key="dirty", name="dirty", plus=("NR_FILE_DIRTY",)),
    _Row(key="writeback", name="under writeback", plus=("NR_WRITEBACK",)),
    _Row(key="unevictable", name="not evictable", plus=("NR_UNEVICTABLE",)),
    _Row(key="pinned", name="pinned now (pins acquired less released)",
         plus=("NR_FOLL_PIN_ACQUIRED",), minus=("NR_FOLL_PIN_RELEASED",)),
)  # fmt: skip


def memory_use(prog: Program) -> MemoryUse:
    """Add up the memory of a kernel.

    :raises Unavailable: the total or the page counters cannot be read
    """
    counters = page_counters(prog)
    zones = memory_zones(prog)
    total = sum(zone.managed for zone in zones)
    consumers = [found for row in _ROWS if (found := _by_counters(row, counters)) is not None]
    consumers += _measured(prog, counters)
    beside = [found for row in _BESIDE if (found := _by_counters(row, counters)) is not None]
    beside += [_read("tcp", "TCP socket buffers (part of slab and others)",
                     "tcp_memory_allocated", lambda: counter(prog["tcp_memory_allocated"])),
               _read("swap_free", "free swap", "nr_swap_pages",
                     lambda: counter(prog["nr_swap_pages"])),
               _read("swap_total", "swap", "total_swap_pages",
                     lambda: int(prog["total_swap_pages"].value_()))]  # fmt: skip
    accounted = sum(one.pages or 0 for one in consumers)
    return MemoryUse(
        total_pages=total,
        total_origin="managed_pages of the zones",
        zones=zones,
        consumers=tuple(sorted((c for c in consumers if c.pages != 0), key=_largest_first)),
        beside=tuple(one for one in beside if one.pages),
        accounted_pages=accounted,
        unaccounted_pages=total - accounted,
        percent_unaccounted=round(100 * (total - accounted) / total, 1) if total else 0.0,
    )


def _largest_first(one: Consumer) -> tuple[bool, int]:
    return one.pages is None, -(one.pages or 0)


def _by_counters(row: _Row, counters: Mapping[str, int]) -> Consumer | None:
    # None: this kernel has no such counter.
    added = [_present(choice, counters) for choice in row.plus]
    names = [name for name in added if name is not None]
    if not names:
        return None
    less = [name for name in row.minus if name in counters]
    pages = sum(counters[name] for name in names) - sum(counters[name] for name in less)
    origin = " - ".join([" + ".join(names), *less])
    return Consumer(key=row.key, name=row.name, pages=max(pages, 0), origin=origin)


def _present(choice: str, counters: Mapping[str, int]) -> str | None:
    return next((name for name in choice.split("|") if name in counters), None)


def _measured(prog: Program, counters: Mapping[str, int]) -> list[Consumer]:
    # What no counter of the zones and nodes holds.
    stacks = _stack_pages(counters)
    mapped = _vmapped_stacks(prog)
    taken = stacks if mapped else 0
    minus = " - kernel stacks, which are in it" if mapped else ""
    return [
        _read("free_cpu", "free on CPU lists", "per_cpu_pages.count",
              lambda: pages_on_cpu_lists(prog)),
        _read("kernel_stacks", "kernel stacks", "NR_KERNEL_STACK_KB", lambda: stacks),
        _read("per_cpu", "per-CPU data", "(pcpu_nr_populated - first chunk) * pcpu_nr_units",
              lambda: _percpu_pages(prog)),
        _vmalloc(prog, counters, taken, minus),
        _read("hugetlb", "huge pages (hugetlbfs)", "hstates[].nr_huge_pages",
              lambda: _hugetlb_pages(prog)),
    ]  # fmt: skip


def _read(key: str, name: str, origin: str, read: Callable[[], int]) -> Consumer:
    try:
        with naming(name):
            return Consumer(key=key, name=name, pages=read(), origin=origin)
    except Unavailable as missing:
        return Consumer(key=key, name=name, pages=None, origin=origin, unavailable=missing)


def _stack_pages(counters: Mapping[str, int]) -> int:
    # The counter's name says its unit; NR_KERNEL_STACK of older kernels counts stacks.
    if "NR_KERNEL_STACK_KB" in counters:
        return counters["NR_KERNEL_STACK_KB"] // _KIB_PER_PAGE
    raise Unavailable("kernel stacks", Reason.UNSUPPORTED, "counted in stacks of unknown size")


def _vmapped_stacks(prog: Program) -> bool:
    # CONFIG_VMAP_STACK: stacks come from vmalloc.
    with naming("struct task_struct"):
        return has_member(Object(prog, "struct task_struct *", 0), "stack_vm_area")


def _vmalloc(prog: Program, counters: Mapping[str, int], taken: int, minus: str) -> Consumer:
    name = "vmalloc"
    if "NR_VMALLOC" in counters:
        pages = max(counters["NR_VMALLOC"] - taken, 0)
        return Consumer(key=name, name=name, pages=pages, origin=f"NR_VMALLOC{minus}")
    return _read(name, name, f"nr_vmalloc_pages{minus}",
                 lambda: max(counter(prog["nr_vmalloc_pages"]) - taken, 0))  # fmt: skip


def _percpu_pages(prog: Program) -> int:
    # The first chunk lies in memory the kernel kept for itself at boot, which is not managed
    # (mm/percpu.c: pcpu_setup_first_chunk() counts it as populated all the same).
    first = prog["pcpu_first_chunk"].read_()
    end = int(first.base_addr.value_()) + int(first.nr_pages.value_()) * _PAGE
    size = end - int(first.end_offset.value_()) - int(prog["pcpu_base_addr"].value_())
    populated = int(prog["pcpu_nr_populated"].value_()) - size // _PAGE
    units = int(prog["pcpu_nr_units"].value_())
    if populated < 0 or size < 0 or not 0 < units <= 1 << 16:
        detail = f"{populated} pages beyond the first chunk, {units} units"
        raise Unavailable("per-CPU data", Reason.CORRUPTED, detail)
    return populated * units


def _hugetlb_pages(prog: Program) -> int:
    total = 0
    for state in bounded(for_each_hstate(prog), MAX_HSTATES, "sizes of huge pages"):
        order, count = int(state.order.value_()), int(state.nr_huge_pages.value_())
        if order > _LARGEST_ORDER or count >= 1 << _LARGEST_ORDER:
            raise Unavailable("huge pages", Reason.CORRUPTED, f"{count} of order {order}")
        total += count << order
    return total
