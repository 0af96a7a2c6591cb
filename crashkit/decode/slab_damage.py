"""A CPU's free list that was led astray by a write into a free object."""

from __future__ import annotations

from drgn import FaultError, Object, Program
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.sched import task_cpu
from drgn.helpers.linux.slab import for_each_slab_cache

from crashkit.decode.fields import has_member
from crashkit.decode.slab import cache_name
from crashkit.decode.slab_free import allocator
from crashkit.decode.slab_place import SlabPages, slab_pages
from crashkit.errors import Reason, Unavailable
from crashkit.memory import U64_MAX, bounded, read_u64
from crashkit.value import facts

_MAX_CACHES = 10_000
_WORD = 8


@facts
class LostList:
    """A CPU's free list whose first object lies outside its slab."""

    cache: int
    """``struct kmem_cache *``."""
    cache_name: str
    """Escaped."""
    cpu: int
    head: int
    """Where the list leads."""
    objects: tuple[int, ...]
    """Objects of the CPU's slab that hold what reads as ``head``; none if it is gone."""
    written: bytes
    """What was written over a free-list pointer, as in memory: its first bytes, as many as
    are the same whichever object of the slab it was."""
    likely: int | None
    """The one object for which what was written is one byte repeated; an inference."""


def lost_list(prog: Program, address: int) -> LostList | None:
    """Find the free list of the crashed CPU that leads to an address outside its slab.

    The allocator hands out the head and follows it at the next allocation; it faults then.

    :param address: the head, or the place of the free-list pointer in it
    :raises Unavailable: the caches or the CPU's lists cannot be read
    """
    cpu = _crashed_cpu(prog)
    with allocator("slab caches"):
        for cache in bounded(for_each_slab_cache(prog), _MAX_CACHES, "slab caches"):
            if not has_member(cache, "cpu_slab"):
                return None  # since Linux 7.0, see slab_place
            own = per_cpu_ptr(cache.cpu_slab, cpu)
            head = int(own.freelist.value_())
            if head and address in (head, (head + int(cache.offset.value_())) & U64_MAX):
                return _described(prog, cache, own, cpu, head)
    return None


def _crashed_cpu(prog: Program) -> int:
    try:
        return int(task_cpu(prog.crashed_thread().object))
    except (FaultError, LookupError, ValueError, AttributeError) as missing:
        raise Unavailable("crashed CPU", Reason.NOT_IN_DUMP, str(missing)) from missing


def _described(prog: Program, cache: Object, own: Object, cpu: int, head: int) -> LostList | None:
    slab = (own.slab if has_member(own, "slab") else own.page).read_()
    if not slab:
        return None
    pages = slab_pages(cache, slab)
    if pages.holds(head):
        return None
    over = _written(cache, pages, head, swaps=_swaps(prog, cpu))
    offset = int(cache.offset.value_())
    alike = [
        place for place, value in over.items() if len(set(value.to_bytes(_WORD, "little"))) == 1
    ]
    return LostList(
        cache=int(cache.value_()),
        cache_name=cache_name(cache),
        cpu=cpu,
        head=head,
        objects=tuple(
            place - offset for place, value in over.items() if _stored(prog, place) == value
        ),
        written=_common([value.to_bytes(_WORD, "little") for value in over.values()]),
        likely=alike[0] - offset if len(alike) == 1 else None,
    )


def _stored(prog: Program, place: int) -> int | None:
    try:
        return read_u64(prog, place)
    except Unavailable:
        return None


def _written(cache: Object, pages: SlabPages, head: int, *, swaps: bool) -> dict[int, int]:
    # What each object of the slab would have to hold for the list to lead to head.
    secret = int(cache.random.value_()) if has_member(cache, "random") else None
    found = {}
    for number in range(pages.objects):
        place = pages.first + number * pages.size + int(cache.offset.value_())
        found[place] = head if secret is None else head ^ secret ^ _mask(place, swaps=swaps)
    return found


def _mask(place: int, *, swaps: bool) -> int:
    return int.from_bytes(place.to_bytes(_WORD, "little"), "big") if swaps else place


def _common(words: list[bytes]) -> bytes:
    same = 0
    while same < _WORD and len({word[: same + 1] for word in words}) == 1:
        same += 1
    return words[0][:same]


def _swaps(prog: Program, cpu: int) -> bool:
    # Since Linux kernel commit 1ad53d9fa3f6 ("slub: improve bit diffusion for freelist ptr
    # obfuscation") (in v5.7), and in older stable kernels; only a sound list tells.
    for cache in bounded(for_each_slab_cache(prog), _MAX_CACHES, "slab caches"):
        own = per_cpu_ptr(cache.cpu_slab, cpu)
        head = int(own.freelist.value_())
        slab = (own.slab if has_member(own, "slab") else own.page).read_()
        if not head or not slab or not has_member(cache, "random"):
            continue
        pages = slab_pages(cache, slab)
        place = head + int(cache.offset.value_())
        stored = _stored(prog, place) if pages.holds(head) else None
        for swaps in (True, False):
            if stored is not None and pages.holds(
                stored ^ int(cache.random.value_()) ^ _mask(place, swaps=swaps)
            ):
                return swaps
    return True
