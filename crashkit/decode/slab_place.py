"""Where the allocator keeps a free slab object: which list, of which CPU or node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, Program, cast
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import page_to_virt
from drgn.helpers.linux.nodemask import for_each_node_state
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.fields import has_member, naming
from crashkit.decode.slab_free import (
    MAX_CPUS,
    MAX_IN_SLAB,
    MAX_NODES,
    MAX_SHEAVES,
    allocator,
    free_chain,
    sheaf_barns,
    sheaf_objects,
)
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.decode.slab import SlabIdentity

_MAX_PARTIAL = 4096


@facts
class FreePlace:
    """A list of free objects that holds an object."""

    kind: str
    """``cpu``: a CPU's free list; ``cpu-slab``: its active slab's own list; ``cpu-partial``
    and ``node-partial``: the list of a slab that a CPU or a node keeps for later; ``slab``:
    of a slab on none of these lists; ``sheaf``: a CPU's store; ``barn``: a node's."""
    words: str
    """E.g. ``the free list of CPU 1``."""
    number: int | None
    """Of the CPU or node."""


@facts
class SlabPages:
    """The objects of one slab."""

    slab: int
    """``struct slab *``, before Linux 5.17 ``struct page *``."""
    first: int
    """Address of the first object."""
    size: int
    """Bytes from one object to the next."""
    objects: int

    def holds(self, address: int) -> bool:
        """Whether an object begins at ``address``."""
        index, rest = divmod(address - self.first, self.size)
        return rest == 0 and 0 <= index < self.objects


def slab_pages(cache: Object, slab: Object) -> SlabPages:
    """Read where the objects of a slab lie.

    :param cache: ``struct kmem_cache *``
    :param slab: ``struct slab *``, or ``struct page *`` before Linux 5.17
    :raises Unavailable: a missing page or type, or impossible numbers
    """
    with allocator("slab"):
        size, objects = int(cache.size.value_()), int(slab.objects.value_())
        first = int(page_to_virt(cast("struct page *", slab)).value_())
        if has_member(cache, "red_left_pad"):
            first += int(cache.red_left_pad.value_())
    if not 0 < size <= 1 << 32 or not 0 < objects <= MAX_IN_SLAB:
        raise Unavailable("slab", Reason.CORRUPTED, f"{objects} objects of {size} bytes")
    return SlabPages(slab=int(slab.value_()), first=first, size=size, objects=objects)


def free_place(cache: Object, slab: Object, start: int) -> FreePlace | None:
    """Find the list of free objects that holds an object.

    :param cache: ``struct kmem_cache *``
    :param slab: as for :func:`slab_pages`
    :param start: address of the object's first byte
    :returns: None: none does, all were followed to their end, so it is allocated
    :raises Unavailable: a list is damaged or cannot be read, and none before it has the
        object
    """
    pages = slab_pages(cache, slab)
    if not pages.holds(start):
        raise Unavailable("slab object", Reason.NOT_APPLICABLE, f"none begins at {start:#x}")
    cpu = _cpu_with(cache, pages)
    own = None if cpu is None else _cpu_slab(cache, cpu).freelist
    if own is not None and _entries_without(cache, own, pages, start) is None:
        return FreePlace(kind="cpu", words=f"the free list of CPU {cpu}", number=cpu)
    kept = _in_stores(cache, start)
    if kept is not None:
        return kept
    entries = _entries_without(cache, slab.freelist, pages, start)
    if entries is not None:
        _require_whole(slab, pages, entries)
        return None
    if cpu is not None:
        words = f"the free list of CPU {cpu}'s slab"
        return FreePlace(kind="cpu-slab", words=words, number=cpu)
    return _whose_slab(cache, slab)


def _entries_without(cache: Object, head: Object, pages: SlabPages, start: int) -> int | None:
    # How many objects a list has; None: the object is one of them.
    with allocator("free list of a slab"):
        first = int(head.value_())
    if first and not pages.holds(first):
        raise Unavailable("free list of a slab", Reason.CORRUPTED, f"begins at {first:#x}")
    count = 0
    for entry in free_chain(cache, first, lambda value, _address: pages.holds(value)):
        if entry == start:
            return None
        count += 1
    return count


def _require_whole(slab: Object, pages: SlabPages, entries: int) -> None:
    # A slab's list and its count change together (mm/slub.c: cmpxchg_double_slab()). A list
    # that was cut short proves nothing allocated. A CPU's own list is not counted.
    if not has_member(slab, "inuse"):
        return
    with allocator("slab"):
        free = pages.objects - int(slab.inuse.value_())
    if entries != free:
        detail = f"it is damaged: {entries} entries, {free} free by the slab's count"
        raise Unavailable("free list of a slab", Reason.CORRUPTED, detail)


def _cpu_slab(cache: Object, cpu: int) -> Object:
    with allocator("a CPU's slab"):
        return per_cpu_ptr(cache.cpu_slab, cpu)


def _cpus(cache: Object) -> Iterator[int]:
    with allocator("possible CPUs"):
        yield from bounded(for_each_possible_cpu(cache.prog_), MAX_CPUS, "possible CPUs")


def _cpu_with(cache: Object, pages: SlabPages) -> int | None:
    # Whose active slab it is. None are kept since Linux kernel commit 32c894c7274b ("slab:
    # remove struct kmem_cache_cpu") (in v7.0).
    if not has_member(cache, "cpu_slab"):
        return None
    for cpu in _cpus(cache):
        own = _cpu_slab(cache, cpu)
        with allocator("a CPU's slab"):
            active = own.slab if has_member(own, "slab") else own.page
            if int(active.value_()) == pages.slab:
                return cpu
    return None


def _in_stores(cache: Object, start: int) -> FreePlace | None:
    # Sheaves: Linux kernel commit 2d517aa09bbc ("slab: add opt-in caching layer of percpu
    # sheaves") (in v6.18).
    if not has_member(cache, "cpu_sheaves"):
        return None
    with allocator("sheaves of a slab cache"):
        if not cache.cpu_sheaves.value_():
            return None
        for cpu in _cpus(cache):
            stores = per_cpu_ptr(cache.cpu_sheaves, cpu)
            for name in ("main", "spare", "rcu_free"):
                if start in sheaf_objects(stores.member_(name).read_()):
                    words = f"the {name} sheaf of CPU {cpu}"
                    return FreePlace(kind="sheaf", words=words, number=cpu)
        for barn in sheaf_barns(cache):
            full = barn.sheaves_full.address_of_()
            walk = list_for_each_entry("struct slab_sheaf", full, "barn_list")
            for sheaf in bounded(walk, MAX_SHEAVES, "full sheaves"):
                if start in sheaf_objects(sheaf):
                    return FreePlace(kind="barn", words="a full sheaf of a node", number=None)
    return None


def _whose_slab(cache: Object, slab: Object) -> FreePlace:
    # The object is proved free; on which list its slab is may stay unknown.
    for find in (_cpu_partial, _node_partial):
        try:
            found = find(cache, slab)
        except Unavailable:
            continue
        if found is not None:
            return found
    return FreePlace(kind="slab", words="the free list of its slab", number=None)


def _cpu_partial(cache: Object, slab: Object) -> FreePlace | None:
    if not has_member(cache, "cpu_slab"):
        return None
    wanted = int(slab.value_())
    for cpu in _cpus(cache):
        own = _cpu_slab(cache, cpu)
        with allocator("partial slabs of a CPU"):
            if not has_member(own, "partial"):
                return None
            if wanted in _linked(own.partial):
                words = f"the free list of a partial slab of CPU {cpu}"
                return FreePlace(kind="cpu-partial", words=words, number=cpu)
    return None


def _linked(slab: Object) -> set[int]:
    seen: set[int] = set()
    while slab and int(slab.value_()) not in seen and len(seen) < _MAX_PARTIAL:
        seen.add(int(slab.value_()))
        slab = slab.next.read_()
    return seen


def _node_partial(cache: Object, slab: Object) -> FreePlace | None:
    prog = cache.prog_
    type_ = slab.type_.type
    link = "slab_list" if has_member(slab, "slab_list") else "lru"
    with allocator("partial slabs of a node"):
        for node in bounded(_nodes(prog), MAX_NODES, "nodes"):
            nodes = cache.per_node[node].node if has_member(cache, "per_node") else cache.node[node]
            if not nodes:
                continue
            walk = list_for_each_entry(type_, nodes.partial.address_of_(), link)
            if any(each == slab for each in bounded(walk, _MAX_PARTIAL, "partial slabs")):
                words = f"the free list of a partial slab of node {node}"
                return FreePlace(kind="node-partial", words=words, number=node)
    return None


def _nodes(prog: Program) -> Iterator[int]:
    with naming("nodes"):
        yield from for_each_node_state(prog, prog.constant("N_MEMORY"))


def free_place_of(prog: Program, found: SlabIdentity) -> FreePlace | None:
    """As :func:`free_place`, for an object that was identified.

    :raises Unavailable: as :func:`free_place`
    """
    if found.slab is None:
        raise Unavailable("slab", Reason.NOT_APPLICABLE, "the object's slab is not known")
    with allocator("slab"):
        cache = Object(prog, "struct kmem_cache *", found.cache)
        slab = Object(prog, _slab_type(prog), found.slab)
    return free_place(cache, slab, found.object_start)


def _slab_type(prog: Program) -> str:
    # Since Linux kernel commit bb192ed9aa71 ("mm/slub: Convert most struct page to struct
    # slab by spatch") (in v5.17).
    try:
        prog.type("struct slab")
    except LookupError:
        return "struct page *"
    return "struct slab *"
