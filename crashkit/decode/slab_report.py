"""A slab object as slub_debug lays it out: red zones, poison, and who had it last.

SLUB puts around each object what mm/slub.c describes above ``init_object()``: a left red
zone, the object, a right red zone, a free pointer, two tracks, padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from drgn import Object, Program, sizeof

from crashkit.decode.fields import has_member, naming
from crashkit.decode.slab import cache_name, slab_identity
from crashkit.decode.slab_free import allocator
from crashkit.decode.slab_tracks import Track, read_tracks
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.value import facts

# include/linux/poison.h
_INACTIVE, _ACTIVE, _FREE, _END, _IN_USE = 0xBB, 0xCC, 0x6B, 0xA5, 0x5A
# include/linux/slab.h: SLAB_*; newer kernels number the bits in enum _slab_flag_bits.
_FLAGS = {"RED_ZONE": 0x400, "POISON": 0x800, "STORE_USER": 0x10000}
_LARGEST = 1 << 16
_SHOWN = 64
_MAX_RUNS = 8


@facts
class Difference:
    """Bytes that are not as they should be."""

    address: int
    offset: int
    """From the object's start; below 0 in the left red zone."""
    length: int
    expected: int
    """The byte that should be there."""
    found: str
    """The first 64 bytes as hex."""
    text: str | None
    """The same as text, where all of it is printable."""


@facts
class Area:
    """One area whose bytes are known."""

    name: str
    """``left red zone``, ``right red zone``, ``poison``, ``padding``."""
    address: int
    size: int
    differences: tuple[Difference, ...]


@facts
class Neighbour:
    """The object before or after."""

    where: str
    address: int
    allocated: bool | None


@facts
class SlabReport:
    """A slab object and what surrounds it."""

    object: int
    cache: int
    """``struct kmem_cache *``."""
    cache_name: str
    aliases: tuple[str, ...]
    object_size: int
    size: int
    """From one object to the next."""
    allocated: bool | None
    debug: tuple[str, ...]
    """What slub_debug does for the cache: ``RED_ZONE``, ``POISON``, ``STORE_USER``."""
    areas: tuple[Area, ...]
    """Red zones, poison and padding that could be compared."""
    tracks: tuple[Track, ...]
    neighbours: tuple[Neighbour, ...]
    begins: str
    """The first 64 bytes of the object as hex."""

    @property
    def damaged(self) -> tuple[Area, ...]:
        """The areas that are not as they should be."""
        return tuple(area for area in self.areas if area.differences)


def read_slab_report(prog: Program, address: int, *, free: bool | None = None) -> SlabReport:
    """Read the slab object that contains an address, and compare what slub_debug put around it.

    :param free: whether to expect the bytes of a free object; None: as the free lists say
    :raises Unavailable: it is in no slab, or cannot be read
    """
    found = slab_identity(prog, address)
    cache = Object(prog, "struct kmem_cache *", found.cache)
    with allocator("struct kmem_cache"):
        layout = _Layout(cache)
        name = cache_name(cache)
        start = found.object_start
    is_free = found.allocated is False if free is None else free
    with naming("the object"):
        data = _Bytes(prog, start, layout)
        areas = tuple(_areas(layout, data, is_free))
        begins = read_bytes(prog, start, min(layout.object_size, _SHOWN), "the object").hex()
    tracks: tuple[Track, ...] = ()
    if "STORE_USER" in layout.debug:
        tracks = read_tracks(prog, start + layout.info_end)
    return SlabReport(
        object=start,
        cache=found.cache,
        cache_name=name,
        aliases=found.aliases or (),
        object_size=layout.object_size,
        size=layout.size,
        allocated=found.allocated,
        debug=layout.debug,
        areas=areas,
        tracks=tracks,
        neighbours=tuple(_neighbours(prog, start, layout.size, found.cache)),
        begins=begins,
    )


class _Layout:
    def __init__(self, cache: Object) -> None:
        self.size = int(cache.size.value_())
        self.object_size = int(cache.object_size.value_())
        self.inuse = int(cache.inuse.value_())
        self.free_pointer = int(cache.offset.value_())
        pad = cache.red_left_pad if has_member(cache, "red_left_pad") else None
        self.left = 0 if pad is None else int(pad.value_())
        flags = int(cache.flags.value_())
        self.debug = tuple(name for name in _FLAGS if flags & _mask(cache.prog_, name))
        sound = 0 < self.object_size <= self.inuse <= self.size <= _LARGEST
        if not sound or not 0 <= self.left <= self.size or self.free_pointer >= self.size:
            detail = f"objects of {self.object_size}, {self.inuse} and {self.size} bytes"
            raise Unavailable("struct kmem_cache", Reason.CORRUPTED, detail)
        # mm/slub.c: get_info_end(), freeptr_outside_object()
        self.outside = self.free_pointer >= self.inuse
        self.info_end = self.inuse + 8 * self.outside
        tracks = 2 * _track_size(cache.prog_) if "STORE_USER" in self.debug else 0
        self.tracks_end = self.info_end + tracks


def _mask(prog: Program, name: str) -> int:
    try:
        bit = int(prog.constant(f"_SLAB_{name}").value_())
    except LookupError:
        return _FLAGS[name]
    return 1 << bit


def _track_size(prog: Program) -> int:
    return int(sizeof(prog.type("struct track")))


class _Bytes:
    # The bytes from the left red zone to the end of the object's room.
    def __init__(self, prog: Program, start: int, layout: _Layout) -> None:
        self.start = start
        self.left = layout.left
        self.data = read_bytes(prog, start - layout.left, layout.size, "the object")

    def between(self, low: int, high: int) -> bytes:
        return self.data[low + self.left : high + self.left]


def _areas(layout: _Layout, data: _Bytes, is_free: bool) -> Iterator[Area]:
    if "RED_ZONE" in layout.debug:
        zone = _zone_byte(layout, data, is_free)
        if layout.left:
            yield _area("left red zone", data, -layout.left, 0, zone)
        if layout.inuse > layout.object_size:
            yield _area("right red zone", data, layout.object_size, layout.inuse, zone)
    if "POISON" not in layout.debug:
        return
    if is_free and layout.object_size > 1 and layout.outside:
        last = layout.object_size - 1
        yield _area("poison", data, 0, last, _FREE)
        yield _area("poison end", data, last, layout.object_size, _END)
    # The size asked of kmalloc() is kept behind the tracks since Linux kernel commit
    # 6edf2576a6cc ("mm/slub: enable debugging memory wasting of kmalloc") (in v6.1); whether
    # it is shows in no member, so its bytes are not compared.
    low, high = layout.tracks_end + 8, layout.size - layout.left
    if low < high:
        yield _area("padding", data, low, high, _IN_USE)


def _zone_byte(layout: _Layout, data: _Bytes, is_free: bool) -> int:
    # An object on its way in or out is on no list: the zone tells better whether it is free.
    zones = data.between(-layout.left, 0) + data.between(layout.object_size, layout.inuse)
    active, inactive = zones.count(_ACTIVE), zones.count(_INACTIVE)
    if active == inactive:
        return _INACTIVE if is_free else _ACTIVE
    return _ACTIVE if active > inactive else _INACTIVE


def _area(name: str, data: _Bytes, low: int, high: int, expected: int) -> Area:
    held = data.between(low, high)
    runs: list[Difference] = []
    position = low
    for wrong, group in groupby(held, key=lambda byte: byte != expected):
        part = bytes(group)
        if wrong and len(runs) < _MAX_RUNS:
            runs.append(_difference(data.start, position, part, expected))
        position += len(part)
    return Area(name=name, address=data.start + low, size=high - low, differences=tuple(runs))


def _difference(start: int, offset: int, found: bytes, expected: int) -> Difference:
    shown = found[:_SHOWN]
    printable = all(32 <= byte < 127 for byte in shown)
    return Difference(
        address=start + offset,
        offset=offset,
        length=len(found),
        expected=expected,
        found=shown.hex(),
        text=shown.decode("ascii") if printable else None,
    )


def _neighbours(prog: Program, start: int, size: int, cache: int) -> Iterator[Neighbour]:
    for where, address in (("before", start - size), ("after", start + size)):
        try:
            found = slab_identity(prog, address, aliases=False)
        except Unavailable:
            continue
        if found.cache == cache and found.object_start == address:
            yield Neighbour(where=where, address=address, allocated=found.allocated)
