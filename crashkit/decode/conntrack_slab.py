"""The slabs of a cache, found in the memory map, and which of their objects are free.

drgn's walk over all slab objects asks for every page of the machine one by one. Here the
memory map is searched for the cache's address as bytes, and objects are given as bytes, so
that a caller can pass over most of them before it asks whether one is free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import field

from drgn import Object, Program, Type, cast, offsetof, sizeof
from drgn.helpers.linux.mm import PageSlab, for_each_valid_page_range, page_to_virt

from crashkit.decode.fields import has_member, naming, pointer
from crashkit.decode.netns import namespaces
from crashkit.decode.slab import cache_of_variable, conntrack_cache
from crashkit.decode.slab_free import MAX_IN_SLAB, allocator, free_chain, free_on_cpus
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, read_bytes
from crashkit.value import facts

MAX_PAGES = 1 << 28
"""Pages whose map is searched: 1 TiB of memory."""
MAX_RANGES = 1 << 20
MAX_SLABS = 1 << 22

_CHUNK = 1 << 20
_PIECE = 4096
_MAX_OBJECT = 1 << 16


@facts
class Slab:
    """One slab of a cache."""

    first: int
    """Address of the first object."""
    count: int
    """Number of objects."""
    page: Object = field(repr=False)
    """``struct slab *``, or ``struct page *`` before v5.17."""


class CacheSlabs:
    """The slabs of one cache.

    :ivar cache: ``struct kmem_cache *``
    :ivar size: bytes from one object to the next
    :ivar slabs: sorted by address
    :ivar broken: what could not be read; objects of it are missing
    """

    def __init__(self, cache: Object) -> None:
        with allocator("struct kmem_cache"):
            self.size = int(cache.size.value_())
            pad = cache.red_left_pad if has_member(cache, "red_left_pad") else 0
            self.left_pad = int(pad)
        if not 0 < self.size <= _MAX_OBJECT:
            raise Unavailable("struct kmem_cache", Reason.CORRUPTED, f"size {self.size}")
        self.cache = cache
        self.slabs: list[Slab] = []
        self.broken: list[Unavailable] = []
        self._starts: list[int] = []
        self._apart: set[int] | None = None
        self._free: dict[int, set[int]] = {}

    def add(self, page: Object) -> None:
        """Add a slab, or what is broken about it.

        :param page: ``struct page *`` that holds the cache's address where a slab has it
        """
        try:
            with allocator("a slab"):
                slab = cast(_slab_type(self.cache.prog_), page)
                if not PageSlab(page) or slab.slab_cache.value_() != self.cache.value_():
                    return
                count = int(slab.objects.value_())
                first = int(page_to_virt(page).value_()) + self.left_pad
            if not 0 < count <= MAX_IN_SLAB or len(self.slabs) >= MAX_SLABS:
                raise Unavailable("a slab", Reason.CORRUPTED, f"{count} objects at {first:#x}")
        except Unavailable as missing:
            self.broken.append(missing)
            return
        self.slabs.append(Slab(first=first, count=count, page=slab))

    def sort(self) -> None:
        """Bring the slabs in order, after the last was added."""
        self.slabs.sort(key=lambda slab: slab.first)
        self._starts = [slab.first for slab in self.slabs]

    def objects(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and bytes of every object, allocated or free.

        :raises Unavailable: some cannot be read; raised after all that can
        """
        missing = list(self.broken)
        for slab in self.slabs:
            try:
                data = read_bytes(self.cache.prog_, slab.first, slab.count * self.size, "slab")
            except Unavailable as unread:
                missing.append(unread)
                continue
            for start in range(0, len(data), self.size):
                yield slab.first + start, data[start : start + self.size]
        if missing:
            first = missing[0]
            what = f"{len(missing)} slabs or parts of the memory map"
            raise Unavailable(what, first.reason, first.detail)

    def holds(self, address: int) -> bool:
        """Whether an object of one of the slabs starts at ``address``."""
        return self._slab_of(address) is not None

    def is_free(self, address: int) -> bool:
        """Whether an object is on one of the allocator's free lists.

        :raises Unavailable: it is no object of this cache, or a list cannot be followed
        """
        slab = self._slab_of(address)
        if slab is None:
            raise Unavailable("slab object", Reason.NOT_APPLICABLE, f"none at {address:#x}")
        if self._apart is None:
            self._apart = set(free_on_cpus(self.cache, self._same_slab))
        if slab.first not in self._free:
            with allocator("free list of a slab"):
                head = int(slab.page.freelist.value_())
            self._free[slab.first] = set(free_chain(self.cache, head, self._same_slab))
        return address in self._apart or address in self._free[slab.first]

    def _slab_of(self, address: int) -> Slab | None:
        place = bisect_right(self._starts, address) - 1
        if place < 0:
            return None
        slab = self.slabs[place]
        offset = address - slab.first
        return slab if offset < slab.count * self.size and not offset % self.size else None

    def _same_slab(self, left: int, right: int) -> bool:
        slab = self._slab_of(left)
        return slab is not None and slab is self._slab_of(right)


def conntrack_slabs(prog: Program) -> tuple[CacheSlabs, ...]:
    """Give the slabs of ``struct nf_conn``: of one cache, or up to v4.6 of each namespace's.

    :raises Unavailable: a cache or the memory map cannot be had
    """
    caches = _conntrack_caches(prog)
    return tuple(find_slabs(prog, caches + _skb_caches(prog))[cache] for cache in caches)


def skb_slabs(prog: Program) -> tuple[CacheSlabs, ...]:
    """Give the slabs of ``struct sk_buff``: of the plain cache, then of that of pairs.

    :raises Unavailable: a cache or the memory map cannot be had
    """
    return tuple(find_slabs(prog, _skb_caches(prog)).values())


def _conntrack_caches(prog: Program) -> tuple[int, ...]:
    with naming("nf_conntrack_cachep"):
        own = has_member(Object(prog, "struct net *", 0).ct, "nf_conntrack_cachep")
    nets = namespaces(prog) if own else (None,)
    return tuple(dict.fromkeys(conntrack_cache(prog, net) for net in nets))


def _skb_caches(prog: Program) -> tuple[int, ...]:
    # In struct net_hotdata where it has them (include/net/hotdata.h, v6.9), before that
    # variables of their own (net/core/skbuff.c).
    with naming("net_hotdata"):
        if "net_hotdata" in prog:
            hot = prog["net_hotdata"]
            return (
                pointer(hot.skbuff_cache.read_(), "net_hotdata.skbuff_cache"),
                pointer(hot.skbuff_fclone_cache.read_(), "net_hotdata.skbuff_fclone_cache"),
            )
    plain = "skbuff_cache" if "skbuff_cache" in prog else "skbuff_head_cache"
    return cache_of_variable(prog, plain), cache_of_variable(prog, "skbuff_fclone_cache")


def find_slabs(prog: Program, caches: tuple[int, ...]) -> dict[int, CacheSlabs]:
    """Search the memory map once for the slabs of several caches.

    :param caches: addresses of ``struct kmem_cache``
    :return: by cache; what could not be read is in each one's ``broken``
    :raises Unavailable: the memory map or a cache cannot be had
    """
    known: dict[int, CacheSlabs] = prog.cache.setdefault("crashkit.cache_slabs", {})
    wanted = [cache for cache in caches if cache not in known]
    if wanted:
        found = {
            address: CacheSlabs(Object(prog, "struct kmem_cache *", address)) for address in wanted
        }
        _search(prog, found)
        known.update(found)
    return {cache: known[cache] for cache in caches}


def _search(prog: Program, found: dict[int, CacheSlabs]) -> None:
    with allocator("the memory map"):
        step = sizeof(prog.type("struct page"))
        offset = offsetof(_slab_type(prog).type, "slab_cache")
        ranges = list(bounded(for_each_valid_page_range(prog), MAX_RANGES, "memory map"))
    if sum(end - start for start, end, _map in ranges) > MAX_PAGES:
        raise Unavailable("the memory map", Reason.BUDGET, f"more than {MAX_PAGES} pages")
    needles = {address.to_bytes(8, "little"): slabs for address, slabs in found.items()}
    for start, end, memory_map in ranges:
        base = int(memory_map.value_())
        for address, data in _pieces(prog, base + start * step, base + end * step, found):
            for needle, slabs in needles.items():
                for place in _places(data, needle):
                    page = address + place - offset
                    if not (page - base) % step:
                        slabs.add(Object(prog, "struct page *", page))
    for slabs in found.values():
        slabs.sort()


def _slab_type(prog: Program) -> Type:
    # struct slab since Linux kernel commit d122019bf061 ("mm: Split slab into its own type")
    # (in v5.17); before that, its members were struct page's.
    try:
        return prog.pointer_type(prog.type("struct slab"))
    except LookupError:
        return prog.pointer_type(prog.type("struct page"))


def _pieces(
    prog: Program, start: int, end: int, found: dict[int, CacheSlabs]
) -> Iterator[tuple[int, bytes]]:
    for address in range(start, end, _CHUNK):
        size = min(_CHUNK, end - address)
        try:
            yield address, read_bytes(prog, address, size, "the memory map")
        except Unavailable:
            yield from _small_pieces(prog, address, size, found)


def _small_pieces(
    prog: Program, address: int, size: int, found: dict[int, CacheSlabs]
) -> Iterator[tuple[int, bytes]]:
    for place in range(address, address + size, _PIECE):
        length = min(_PIECE, address + size - place)
        try:
            yield place, read_bytes(prog, place, length, "the memory map")
        except Unavailable as missing:
            for slabs in found.values():
                slabs.broken.append(missing)


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    place = data.find(needle)
    while place >= 0:
        yield place
        place = data.find(needle, place + 1)
