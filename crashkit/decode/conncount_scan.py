"""``struct nf_conncount_data`` without a rule: found by what its work function is."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Program
from drgn.helpers.linux.slab import for_each_slab_cache

from crashkit.decode.conncount_layout import Layouts
from crashkit.decode.conntrack_slab import find_slabs
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded

MAX_CACHES = 10_000
_WORKER = "tree_gc_worker"


def scanned_data(prog: Program, layouts: Layouts) -> Iterator[int]:
    """Yield every allocated object of its kmalloc caches whose ``gc_work.func`` is the module's.

    :raises Unavailable: the slabs cannot be found, or not all be read
    """
    what = "objects of connlimit in slabs"
    with naming(what):
        worker = prog.symbol(_WORKER).address.to_bytes(8, "little")
        caches = _kmalloc_caches(prog, layouts.data_size)
    place = layouts.gc_work_function
    for slabs in find_slabs(prog, caches).values():
        for address, data in slabs.objects():
            if data[place : place + 8] == worker and not slabs.is_free(address):
                yield address


def _kmalloc_caches(prog: Program, size: int) -> tuple[int, ...]:
    # Those of the smallest size that fits. There are several where allocations are accounted
    # to cgroups or spread by chance (CONFIG_RANDOM_KMALLOC_CACHES).
    found: dict[int, list[int]] = {}
    for cache in bounded(for_each_slab_cache(prog), MAX_CACHES, "slab caches"):
        if cache.name.string_().startswith(b"kmalloc-"):
            found.setdefault(int(cache.object_size), []).append(int(cache))
    fitting = [length for length in found if length >= size]
    if not fitting:
        raise Unavailable("kmalloc caches", Reason.NOT_APPLICABLE, f"none of {size} bytes")
    return tuple(found[min(fitting)])
