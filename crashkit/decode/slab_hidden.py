"""Free-list pointers as the allocator hides them in free objects."""

from __future__ import annotations

from drgn import Object, Program
from drgn.helpers.linux.slab import slab_object_info

from crashkit.decode.fields import has_member
from crashkit.decode.slab_free import allocator
from crashkit.decode.slab_place import SlabPages, slab_pages
from crashkit.memory import U64_MAX, is_kernel_address
from crashkit.value import facts

_WORD = 8


@facts
class HiddenPointer:
    """A value that, unhidden, is a free-list pointer of the slab it was read from."""

    cache: int
    """``struct kmem_cache *``."""
    object_start: int
    """The object whose free-list pointer it is."""
    next_free: int
    """The object it points to; 0: the last of the list."""


def hidden_pointer(prog: Program, value: int, place: int) -> HiddenPointer | None:
    """Read a value as the free-list pointer that a slab object has at ``place``.

    With CONFIG_SLAB_FREELIST_HARDENED the pointer is XORed with the cache's secret and its
    place, whose bytes are swapped since Linux kernel commit 1ad53d9fa3f6 ("slub: improve
    bit diffusion for freelist ptr obfuscation") (in v5.7). Without, the value is plain. That a
    value is neither by chance: it has to come out as an object of the same slab, or as 0.

    :param value: unsigned 64 bit, as it was read
    :param place: address it was read from
    :returns: None: it is no such pointer
    :raises Unavailable: the slab of ``place`` cannot be read
    """
    if not is_kernel_address(place) or not value:
        return None
    with allocator(f"slab object at {place:#x}"):
        found = slab_object_info(prog, place)
        if found is None or not has_member(found.slab_cache, "offset"):
            return None
        cache = found.slab_cache
        if place != found.address + int(cache.offset.value_()):
            return None
        pages = slab_pages(cache, found.slab)
        next_free = _unhidden(cache, pages, value, place)
    if next_free is None:
        return None
    return HiddenPointer(cache=int(cache.value_()), object_start=found.address, next_free=next_free)


def _unhidden(cache: Object, pages: SlabPages, value: int, place: int) -> int | None:
    if not has_member(cache, "random"):
        return value if pages.holds(value) else None
    secret = int(cache.random.value_())
    swapped = int.from_bytes(place.to_bytes(_WORD, "little"), "big")
    for mask in (swapped, place):
        found = (value ^ secret ^ mask) & U64_MAX
        if not found or pages.holds(found):
            return found
    return None
