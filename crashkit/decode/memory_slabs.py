"""The slab caches that hold the most memory."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, TypeKind, cast
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_order

from crashkit.decode.fields import Absent, Fields, has_member, naming, text_at
from crashkit.decode.slab import cache_aliases, cache_name
from crashkit.decode.slab_free import allocator
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_CACHES = 10_000
MAX_PARTIAL = 8192
"""Partial slabs of all caches together that are looked at."""
_MAX_NODES = 1024
_MAX_NAMES = 64
_MOST = 1 << 40
_LARGEST_ORDER = 20


@facts
class CacheUse:
    """What one slab cache holds. A None field has its reason in ``absent``."""

    cache: int
    """``struct kmem_cache *``."""
    name: str | None
    """Escaped; of the first of the merged caches."""
    aliases: tuple[str, ...] | None
    """Names of other caches merged into this one, escaped."""
    pages: int
    """Slabs times the pages of one."""
    slabs: int
    objects: int
    """Objects the slabs have room for."""
    used: int | None
    """Objects not free; one on a list of a CPU counts as used, as the kernel counts."""
    object_size: int | None
    """Bytes the cache's user asked for."""
    reclaimable: bool | None
    absent: Absent


@facts
class SlabUse:
    """The caches with the most pages, largest first."""

    caches: tuple[CacheUse, ...]
    number: int
    """Caches there are."""
    pages: int
    """Pages of all caches together; kmalloc's largest objects are of none."""
    unreadable: int
    """Caches that could not be read."""


def slab_use(prog: Program, most: int = 10) -> SlabUse:
    """Find the slab caches that hold the most memory.

    :param most: how many caches are read in full
    :raises Unavailable: no cache can be read, or the kernel does not count slabs
        (without CONFIG_SLUB_DEBUG)
    """
    with allocator("slab caches"):
        caches = list(bounded(for_each_slab_cache(prog), MAX_CACHES, "slab caches"))
    sizes: list[tuple[int, int, int, Object]] = []
    why: Unavailable | None = None
    for cache in caches:
        try:
            pages, slabs, objects = _counts(cache)
        except Unavailable as missing:
            why = missing
            continue
        sizes.append((pages, slabs, objects, cache))
    if not sizes and why is not None:
        raise why
    sizes.sort(key=lambda row: (-row[0], row[3].value_()))
    left = MAX_PARTIAL
    used: list[CacheUse] = []
    for row in sizes[:most]:
        if row[0]:
            one, looked_at = _use(*row, left)
            used.append(one)
            left -= looked_at
    return SlabUse(
        caches=tuple(used),
        number=len(caches),
        pages=sum(row[0] for row in sizes),
        unreadable=len(caches) - len(sizes),
    )


def _nodes(cache: Object) -> Iterator[Object]:
    # ``struct kmem_cache_node *``; moved by Linux kernel commit 5ba6bc27b1f9 ("slab: decouple
    # pointer to barn from kmem_cache_node") (in v7.1).
    nodes = cache.per_node if has_member(cache, "per_node") else cache.node
    for index in range(_number_of_nodes(nodes)):
        node = (nodes[index].node if has_member(nodes[index], "node") else nodes[index]).read_()
        if node:
            yield node


def _number_of_nodes(nodes: Object) -> int:
    # A kernel for one node has a macro (include/linux/nodemask.h) and an array of one.
    if nodes.type_.kind is TypeKind.ARRAY and nodes.type_.length == 1:
        return 1
    return min(int(nodes.prog_["nr_node_ids"].value_()), _MAX_NODES)


def _counts(cache: Object) -> tuple[int, int, int]:
    # Pages, slabs and objects.
    with allocator("a slab cache"):
        slabs = objects = 0
        for node in _nodes(cache):
            slabs += int(node.nr_slabs.counter.value_())
            objects += int(node.total_objects.counter.value_())
        order = int(slab_cache_order(cache))
    if not 0 <= slabs < _MOST or not 0 <= order <= _LARGEST_ORDER or not 0 <= objects < _MOST:
        raise Unavailable("a slab cache", Reason.CORRUPTED, f"{slabs} slabs of order {order}")
    return slabs << order, slabs, objects


def _use(pages: int, slabs: int, objects: int, cache: Object, left: int) -> tuple[CacheUse, int]:
    # The second is the number of partial slabs that were looked at.
    fields = Fields("a slab cache")
    free = fields.take("used", lambda: _free_objects(cache, left))
    address = int(cache.value_())
    name = fields.take("name", lambda: cache_name(cache))
    use = CacheUse(
        cache=address,
        name=name,
        aliases=fields.take("aliases", lambda: cache_aliases(cache.prog_).get(address, ())),
        pages=pages,
        slabs=slabs,
        objects=objects,
        used=None if free is None else objects - free[0],
        object_size=fields.number("object_size", cache, "object_size"),
        reclaimable=fields.take("reclaimable", lambda: _reclaimable(cache)),
        absent=fields.absent,
    )
    return use, 0 if free is None else free[1]


def _free_objects(cache: Object, left: int) -> tuple[int, int]:
    # Of the slabs on the nodes' partial lists, and the number of these slabs.
    free = slabs = 0
    nodes = list(_nodes(cache))
    if sum(int(node.nr_partial.value_()) for node in nodes) > left:
        raise Unavailable("used", Reason.BUDGET, f"more than {left} partial slabs")
    for node in nodes:
        with allocator("partial slabs"):
            for slab in bounded(_partial(node), MAX_PARTIAL, "partial slabs"):
                free += int(slab.objects.value_()) - int(slab.inuse.value_())
                slabs += 1
    return free, slabs


def _partial(node: Object) -> Iterator[Object]:
    head = node.partial.address_of_()
    try:
        # struct slab since Linux kernel commit d122019bf061 ("mm: Split slab into its own
        # type") (in v5.17).
        node.prog_.type("struct slab")
    except LookupError:
        name = "slab_list" if _page_has_slab_list(node.prog_) else "lru"
        yield from list_for_each_entry("struct page", head, name)
        return
    yield from list_for_each_entry("struct slab", head, "slab_list")


def _page_has_slab_list(prog: Program) -> bool:
    return has_member(Object(prog, "struct page *", 0), "slab_list")


def _reclaimable(cache: Object) -> bool:
    # SLAB_RECLAIM_ACCOUNT is a macro on most kernels; the pages are asked for accordingly.
    mask = gfp_mask(cache.prog_, "__GFP_RECLAIMABLE")
    return bool(int(cache.allocflags.value_()) & mask)


def gfp_mask(prog: Program, name: str) -> int:
    """Find the bits of a GFP flag in the kernel's table of their names.

    :param name: e.g. ``__GFP_RECLAIMABLE``
    :raises Unavailable: there is no such name
    """
    for mask, known in flag_names(prog, "gfpflag_names"):
        if known == name:
            return mask
    raise Unavailable(name, Reason.NOT_APPLICABLE, "not in gfpflag_names")


def flag_names(prog: Program, table: str) -> tuple[tuple[int, str], ...]:
    """Read a table of flags' names that the kernel prints them by.

    :param table: ``gfpflag_names`` or ``pageflag_names`` (mm/debug.c)
    :returns: mask and name, in the table's order
    :raises Unavailable: the table is not in the dump
    """
    key = ("crashkit.flag_names", table)
    found: tuple[tuple[int, str], ...] | None = prog.cache.get(key)
    if found is None:
        with naming(table):
            first = cast("struct trace_print_flags *", prog[table].address_of_())
            rows = []
            for index in range(_MAX_NAMES):
                name = int(first[index].name.value_())
                if not name:
                    break
                rows.append((int(first[index].mask.value_()), text_at(prog, name)))
        found = prog.cache[key] = tuple(rows)
    return found


def flag_words(value: int, names: tuple[tuple[int, str], ...]) -> str:
    """Write flags as the kernel does: the names whose bits are all set, joined by ``|``."""
    words = []
    rest = value
    for mask, name in names:
        if mask and rest & mask == mask:
            words.append(name)
            rest &= ~mask
    if rest or not words:
        words.append(f"{rest:#x}")
    return "|".join(words)
