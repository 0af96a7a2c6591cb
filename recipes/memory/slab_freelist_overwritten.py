"""The allocator followed a free list that leads out of its slab.

A free object holds the pointer to the next one (mm/slub.c: freelist_ptr()). Whoever writes
to an object after freeing it, or past the end of the one before, overwrites it; what faults
is a later allocation of the same size, anywhere in the kernel.

Recognised by: the allocator faulted, the address is where the crashed CPU's free list of a
cache begins, and that is no object of the CPU's slab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.bad_pointer import leads_nowhere
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.decode.slab_damage import LostList

META = Meta(
    id="slab-freelist-overwritten",
    claim="a CPU's free list leads out of its slab: the pointer in a free object was overwritten",
    references=("mm/slub.c: get_freepointer(), CONFIG_SLAB_FREELIST_HARDENED",),
    matches=("kind-freelist",),
    told_apart_from=(
        "a bad pointer of the faulting function's own: no free list begins there",
        "a bad pointer that was to be freed: the allocator faults, and no free list begins there",
        "a fault of the one who asked for memory: the allocator's caller did nothing wrong",
    ),
    advice="boot with slub_debug=FZPU: the write is then found where the object is used next",
)


def applies(crash: Crash) -> bool:
    """Whether the allocator faulted at an address that no pointer of the kernel has.

    It reads the pointer in a free object itself: whoever else faults had the bad pointer from
    elsewhere.
    """
    fault = crash.fault
    if fault is None or fault.address is None or fault.access == "exec":
        return False
    if not _is_allocator(crash.faulting_function):
        return False
    return leads_nowhere(fault) and fault.diagnosis.kind != "user-pointer"


def _is_allocator(function: str | None) -> bool:
    return (function or "").lstrip("_").startswith(("kmem_cache_", "kmalloc", "slab_alloc"))


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary(
        "list", "a free list of the crashed CPU begins where the fault is", lambda: _leads(scene)
    )
    yield supporting("written", "what was written there is known", lambda: _written(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @property
    def address(self) -> int:
        if self.crash.fault is None or self.crash.fault.address is None:
            raise Unavailable("the address that faulted", Reason.NOT_IN_DUMP)
        return self.crash.fault.address

    @cached_property
    def lost(self) -> LostList | None:
        from crashkit.decode.slab_damage import lost_list

        return lost_list(self.crash.prog, self.address)


def _leads(scene: _Scene) -> Observation:
    accessed = Value(
        name="address accessed",
        value=scene.address,
        origin=Origin.REGISTER,
        reread=Reread(crash="bt", crashkit="crash.fault.address"),
    )
    lost = scene.lost
    if lost is None:
        return seen(False, accessed, note="none does")
    place = _head_place(scene, lost)
    head = Value(
        name=f"free list of CPU {lost.cpu}",
        value=lost.head,
        origin=Origin.MEMORY,
        address=place,
        identity=lost.cache_name,
        reread=Reread(crash=f"rd {place:016x}", crashkit=f"prog.read_u64({place:#x})"),
    )
    return seen(True, accessed, head, note=f"of {lost.cache_name}, whose slab has no such object")


def _head_place(scene: _Scene, lost: LostList) -> int:
    from drgn.helpers.linux.percpu import per_cpu_ptr

    cache = Object(scene.crash.prog, "struct kmem_cache *", lost.cache)
    place = per_cpu_ptr(cache.cpu_slab, lost.cpu).freelist.address_
    if place is None:
        raise Unavailable("free list of a CPU", Reason.NOT_IN_DUMP)
    return int(place)


def _written(scene: _Scene) -> Observation:
    from crashkit.decode.fields import printable

    lost = scene.lost
    if lost is None or not lost.written:
        raise Unavailable("what was written", Reason.NOT_APPLICABLE)
    value = Value(
        name="written over the pointer",
        value=int.from_bytes(lost.written, "little"),
        origin=Origin.MEMORY,
        certainty=Certainty.INFERRED,
        reread=Reread(crash="kmem -s"),
    )
    place = lost.objects[0] if len(lost.objects) == 1 else None
    note = f"{len(lost.written)} bytes, {printable(lost.written)}"
    if place is not None:
        note += f": object {place:#x} still holds them"
    return seen(True, value, note=note)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the object that was written to, as far as it is known."""
    if META.advice is None or not found or found[0].holds is not True:
        return ()
    lost = _Scene(crash).lost
    if lost is None or (lost.likely is None and len(lost.objects) != 1):
        return (META.advice,)
    place = lost.objects[0] if len(lost.objects) == 1 else lost.likely
    return (f"look at object {place:#x} of {lost.cache_name} and the one before it", META.advice)
