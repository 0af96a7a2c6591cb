"""A slab object was freed while it was on a free list.

With CONFIG_SLAB_FREELIST_HARDENED, set_freepointer() (mm/slub.c) stops the kernel when an
object would become its own successor: it is the first of the free list, and freed again.
Without slub_debug no other double free is noticed.

Recognised by: what the allocator had in its registers is the start of a slab object, a free
list has it, and it holds a link as the allocator writes it. An object on a list alone proves
nothing: a damaged list may lead to objects in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.others import slab_was_reported
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, excluding, necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.decode.slab import SlabIdentity
    from crashkit.decode.slab_place import FreePlace

META = Meta(
    id="slab-double-free",
    claim="the object that was freed is on a free list already",
    references=("mm/slub.c: set_freepointer(), CONFIG_SLAB_FREELIST_HARDENED",),
    told_apart_from=(
        "a damaged free list that leads to an object in use: that holds no link",
        "a fault inside the allocator: it stopped itself here",
    ),
    advice="look for the other kfree(): with slub_debug=U, crashkit and crash show who freed it",
)

# set_freepointer() is inlined into one of these, by version and configuration.
_FREEING = frozenset(
    {
        "kfree", "kfree_sensitive", "kvfree", "kmem_cache_free", "kmem_cache_free_bulk",
        "__kmem_cache_free", "___cache_free", "__slab_free", "slab_free", "do_slab_free",
        "set_freepointer",
    }
)  # fmt: skip


def applies(crash: Crash) -> bool:
    """Whether the allocator stopped the kernel while something was freed."""
    plain = (crash.faulting_function or "").partition(".")[0]
    if plain not in _FREEING or crash.fault is None:
        return False
    return (crash.fault.instruction or "").startswith("ud2")


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("object", "a slab object was being freed", lambda: _is_object(scene))
    yield necessary("free", "it is on a free list", lambda: _is_free(scene))
    yield necessary("link", "it holds a link as free objects do", lambda: _has_link(scene))
    yield excluding("slab-damage", "a damaged slab, reported", lambda: slab_was_reported(crash))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def _object(self) -> tuple[SlabIdentity, str]:
        # set_freepointer() compares the object with the list's first: two registers hold it.
        from crashkit.decode.slab import slab_identity
        from crashkit.memory import is_kernel_address

        fault = self.crash.fault
        if fault is None or self.crash.fault_frame is None:
            raise Unavailable("the freed object", Reason.NOT_IN_DUMP, "no registers of the fault")
        names: dict[int, list[str]] = {}
        for register, held in fault.registers.items():
            if is_kernel_address(held):
                names.setdefault(held, []).append(register)
        found = []
        for address in (address for address, held_by in names.items() if len(held_by) > 1):
            try:
                slab = slab_identity(self.crash.prog, address, aliases=False)
            except Unavailable as missing:
                if missing.reason is not Reason.NOT_APPLICABLE:
                    raise
                continue
            if slab.is_start:
                found.append((slab, names[address][0]))
        if len(found) != 1:
            detail = f"{len(found)} objects are in two registers"
            raise Unavailable("the freed object", Reason.AMBIGUOUS, detail)
        return found[0]

    @property
    def slab(self) -> SlabIdentity:
        return self._object[0]

    @property
    def register(self) -> str:
        return self._object[1]

    @cached_property
    def free(self) -> FreePlace | None:
        from crashkit.decode.slab_place import free_place_of

        return free_place_of(self.crash.prog, self.slab)

    def cache(self) -> Object:
        return Object(self.crash.prog, "struct kmem_cache *", self.slab.cache)


def _is_object(scene: _Scene) -> Observation:
    start, register = scene.slab.object_start, scene.register
    held = Value(
        name=register.upper(),
        value=start,
        origin=Origin.REGISTER,
        identity=scene.slab.cache_name,
        reread=Reread(crash="bt", crashkit=f"crash.fault.registers[{register!r}]"),
    )
    return seen(True, held, note=f"{scene.slab.object_size} bytes of {scene.slab.cache_name}")


def _is_free(scene: _Scene) -> Observation:
    start = scene.slab.object_start
    value = Value(
        name="on a free list",
        value=int(scene.free is not None),
        origin=Origin.MEMORY,
        address=start,
        identity=scene.slab.cache_name,
        reread=Reread(crash=f"kmem -S {start:016x}", crashkit=f"slab_object_info(prog, {start:#x})"),
    )
    return seen(scene.free is not None, value, note=scene.free.words if scene.free else "")


def _has_link(scene: _Scene) -> Observation:
    from crashkit.crash.bad_pointer import word_value
    from crashkit.decode.slab_hidden import hidden_pointer
    from crashkit.memory import read_u64

    prog, start = scene.crash.prog, scene.slab.object_start
    place = start + int(scene.cache().offset)
    held = read_u64(prog, place, "the free pointer")
    stored = word_value("free pointer as stored", place, held)
    link = hidden_pointer(prog, held, place)
    if link is not None:
        note = f"the next is {link.next_free:016x}" if link.next_free else "the last of its list"
        return seen(True, stored, note=note)
    if not held and _wipes(scene):
        raise Unavailable("the link", Reason.AMBIGUOUS, "init_on_free may have cleared it")
    return seen(False, stored, note="the allocator did not write it")


def _wipes(scene: _Scene) -> bool:
    # slab_free_hook() clears an object before its link is written.
    return bool(scene.crash.prog["init_on_free"].key.enabled.counter)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say who allocated and freed it, where slub_debug kept that."""
    from crashkit.fault.diagnosis_slab import track_words

    if any(check.holds is not True for check in found[:3]):
        return ()
    return track_words(crash.prog, _Scene(crash).slab)
