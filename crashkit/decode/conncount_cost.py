"""What connlimit's objects cost: caches by pointer, whatever name they are accounted to."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.mm import totalram_pages
from drgn.helpers.linux.nodemask import for_each_online_node
from drgn.helpers.linux.vmstat import global_node_page_state, nr_free_pages

from crashkit.decode.fields import Absent, Fields, counter, has_member, naming
from crashkit.decode.slab import cache_aliases, cache_name, cache_of_variable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_NODES = 1024


@facts
class CacheCost:
    """One of connlimit's two caches. A None field has its reason in ``absent``."""

    variable: str
    """The module's variable that points to it."""
    cache: int | None
    """``struct kmem_cache *``"""
    name: str | None
    """Name of the first of the merged caches, escaped."""
    aliases: tuple[str, ...] | None
    """Names of the others."""
    object_size: int | None
    """Bytes from one object to the next."""
    slabs: int | None
    """Slabs of the cache, all nodes; of all that were merged into it."""
    slab_bytes: int | None
    """Their size."""
    absent: Absent


@facts
class MemoryTotals:
    """Memory of the whole system, bytes. A None field has its reason in ``absent``."""

    total: int | None
    free: int | None
    slab: int | None
    """Both reclaimable and not, as /proc/meminfo's Slab; per-CPU remainders are left out."""
    absent: Absent


def cache_cost(prog: Program, variable: str) -> CacheCost:
    """Describe the cache that a variable of the module points to."""
    fields = Fields(variable)
    address = fields.take("cache", lambda: cache_of_variable(prog, variable))
    cache = Object(prog, "struct kmem_cache *", address or 0)

    def size() -> int:
        return int(cache.size)

    if address is None:
        why = fields.absent["cache"]
        names = ("name", "aliases", "object_size", "slabs", "slab_bytes")
        absent = {**fields.absent, **dict.fromkeys(names, why)}
        return CacheCost(
            variable=variable, cache=None, name=None, aliases=None, object_size=None, slabs=None,
            slab_bytes=None, absent=absent,
        )  # fmt: skip
    return CacheCost(
        variable=variable,
        cache=address,
        name=fields.take("name", lambda: cache_name(cache)),
        aliases=fields.take("aliases", lambda: cache_aliases(prog).get(address, ())),
        object_size=fields.take("object_size", size),
        slabs=fields.take("slabs", lambda: _slabs(cache)),
        slab_bytes=fields.take("slab_bytes", lambda: _slabs(cache) * _slab_size(cache)),
        absent=fields.absent,
    )


def _slabs(cache: Object) -> int:
    # nr_slabs is there with CONFIG_SLUB_DEBUG.
    nodes = bounded(for_each_online_node(cache.prog_), MAX_NODES, "nodes")
    return sum(counter(_node(cache, node).nr_slabs) for node in nodes)


def _node(cache: Object, node: int) -> Object:
    # cache->node[], on 7.3 cache->per_node[].node
    return cache.per_node[node].node if has_member(cache, "per_node") else cache.node[node]


def _slab_size(cache: Object) -> int:
    # mm/slub.c: oo_order() of cache->oo, the order new slabs are tried with.
    order = int(cache.oo.x) >> 16
    return int(cache.prog_["PAGE_SIZE"]) << order


def memory_totals(prog: Program) -> MemoryTotals:
    """Read how much memory there is, is free, and is in slabs."""
    fields = Fields("memory")
    with naming("PAGE_SIZE"):
        page = int(prog["PAGE_SIZE"])

    def slab() -> int:
        kinds = ("NR_SLAB_RECLAIMABLE", "NR_SLAB_UNRECLAIMABLE")
        return page * sum(_node_state(prog, kind) for kind in kinds)

    return MemoryTotals(
        total=fields.take("total", lambda: page * int(totalram_pages(prog))),
        free=fields.take("free", lambda: page * int(nr_free_pages(prog))),
        slab=fields.take("slab", slab),
        absent=fields.absent,
    )


def _node_state(prog: Program, name: str) -> int:
    # Named ..._B since Linux kernel commit d42f3245c7e2 ("mm: memcg: convert vmstat slab
    # counters to bytes") (in v5.9); still pages for a node.
    try:
        item = prog.constant(f"{name}_B")
    except LookupError:
        item = prog.constant(name)
    return int(global_node_page_state(prog, item))
