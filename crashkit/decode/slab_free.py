"""The free objects of a slab cache: lists of slabs and CPUs, and sheaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from drgn import Object
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.nodemask import for_each_node_state
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.address_regions import unnamed_errors
from crashkit.decode.fields import has_member, naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import IMPOSSIBLE, bounded, is_kernel_address, read_u64

MAX_CPUS = 8192
MAX_NODES = 1024
MAX_SHEAVES = 65536
MAX_IN_SLAB = 1 << 16
"""``struct slab`` counts its objects in 15 or 16 bits (mm/slab.h)."""

_WORD = 8


@contextmanager
def allocator(what: str) -> Iterator[None]:
    """Turn what drgn raises over a damaged allocator into a reason for ``what``.

    :raises Unavailable: a missing page or type, or an impossible number
    """
    try:
        with naming(what), unnamed_errors(what):
            yield
    except IMPOSSIBLE as damage:
        raise Unavailable(what, Reason.CORRUPTED, f"{type(damage).__name__}: {damage}") from damage


def free_on_cpus(cache: Object, same_slab: Callable[[int, int], bool]) -> Iterator[int]:
    """Yield the free objects that a CPU or node keeps apart from their slabs.

    :param cache: ``struct kmem_cache *``
    :param same_slab: whether two addresses are objects of one slab
    :raises Unavailable: a list cannot be followed
    """
    # A CPU's own slab has a second free list; none of it since Linux kernel commit
    # 32c894c7274b ("slab: remove struct kmem_cache_cpu") (in v7.0).
    if has_member(cache, "cpu_slab"):
        for own in _per_cpu(cache, "cpu_slab"):
            with allocator("free list of a CPU"):
                head = int(own.freelist.value_())
            yield from free_chain(cache, head, same_slab)
    yield from _in_sheaves(cache)


def _per_cpu(cache: Object, name: str) -> list[Object]:
    with allocator(f"{name} of a slab cache"):
        cpus = bounded(for_each_possible_cpu(cache.prog_), MAX_CPUS, "possible CPUs")
        return [per_cpu_ptr(cache.member_(name), cpu) for cpu in cpus]


def free_chain(cache: Object, head: int, same_slab: Callable[[int, int], bool]) -> Iterator[int]:
    """Follow a free list from its first object.

    :param cache: ``struct kmem_cache *``
    :param head: address of the first object, 0 for an empty list
    :param same_slab: whether two addresses are objects of one slab
    :raises Unavailable: it is a cycle, leaves its slab, or a page is missing
    """
    seen: set[int] = set()
    while head:
        if head in seen or len(seen) >= MAX_IN_SLAB or not is_kernel_address(head):
            raise Unavailable("free list of a slab", Reason.CORRUPTED, f"at {head:#x}")
        seen.add(head)
        yield head
        head = _next(cache, head, same_slab)


def _next(cache: Object, address: int, same_slab: Callable[[int, int], bool]) -> int:
    # A free pointer points into its own slab or is NULL. With CONFIG_SLAB_FREELIST_HARDENED it
    # is XORed with a secret and its place, whose bytes are swapped since Linux kernel commit
    # 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist ptr obfuscation") (in v5.7);
    # nothing but the outcome tells whether they are.
    with allocator("free list of a slab"):
        place = address + int(cache.offset.value_())
        stored = read_u64(cache.prog_, place, "free list of a slab")
        secret = int(cache.random.value_()) if has_member(cache, "random") else None
    if secret is None:
        choices: tuple[int, ...] = (stored,)
    else:
        swapped = int.from_bytes(place.to_bytes(_WORD, "little"), "big")
        choices = (stored ^ secret ^ swapped, stored ^ secret ^ place)
    for value in choices:
        if not value or same_slab(value, address):
            return value
    raise Unavailable("free list of a slab", Reason.CORRUPTED, f"after {address:#x}")


def _in_sheaves(cache: Object) -> Iterator[int]:
    # Stores of free objects, for each CPU and node, since Linux kernel commit 2d517aa09bbc
    # ("slab: add opt-in caching layer of percpu sheaves") (in v6.18).
    if not has_member(cache, "cpu_sheaves"):
        return
    with allocator("sheaves of a slab cache"):
        if not cache.cpu_sheaves.value_():
            return
        for stores in _per_cpu(cache, "cpu_sheaves"):
            for name in ("main", "spare", "rcu_free"):
                yield from sheaf_objects(stores.member_(name).read_())
        for barn in sheaf_barns(cache):
            full = barn.sheaves_full.address_of_()
            walk = list_for_each_entry("struct slab_sheaf", full, "barn_list")
            for sheaf in bounded(walk, MAX_SHEAVES, "full sheaves"):
                yield from sheaf_objects(sheaf)


def sheaf_barns(cache: Object) -> Iterator[Object]:
    """Yield the nodes' stores of sheaves (``struct node_barn *``) of a cache that has them."""
    # In struct kmem_cache_node, then moved by Linux kernel commit 5ba6bc27b1f9 ("slab: decouple
    # pointer to barn from kmem_cache_node") (in v7.1).
    nodes = cache.per_node if has_member(cache, "per_node") else cache.node
    state = cache.prog_.constant("N_MEMORY")
    for node in bounded(for_each_node_state(cache.prog_, state), MAX_NODES, "nodes"):
        barn = nodes[node].barn.read_()
        if barn:
            yield barn


def sheaf_objects(sheaf: Object) -> Iterator[int]:
    """Yield the addresses of the objects in a store.

    :param sheaf: ``struct slab_sheaf *``, may be NULL
    :raises Unavailable: it says it is impossibly large
    """
    if not sheaf:
        return
    size = int(sheaf.size.value_())
    if not 0 <= size <= MAX_IN_SLAB:
        raise Unavailable("sheaf", Reason.CORRUPTED, f"of {size} objects")
    for number in range(size):
        yield int(sheaf.objects[number].value_())
