"""A slab object was freed while it was on a free list.

With CONFIG_SLAB_FREELIST_HARDENED, set_freepointer() (mm/slub.c) stops the kernel when an
object would become its own successor: it is the first of the free list, and freed again.
Without slub_debug no other double free is noticed.

Recognised by: what the allocator had in its registers is the start of a slab object, a free
list has it, and it holds a link as the allocator writes it.

A damaged list may lead to an object in use. That holds no link; but on older kernels, 6.1
among them, slab_free_freelist_hook() has just written one, which ends the list, before the
check. Such a link decides nothing: the verdict is then inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.bad_pointer import register_value, word_value
from crashkit.crash.others import slab_was_reported
from crashkit.crash.slab_values import on_free_list
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, excluding, necessary, seen
from crashkit.memory import read_u64
from crashkit.recipe import Meta

if TYPE_CHECKING:
    from crashkit.decode.slab import SlabIdentity
    from crashkit.decode.slab_place import FreePlace

META = Meta(
    id="slab-double-free",
    claim="the object that was freed was free already",
    references=("mm/slub.c: set_freepointer(), CONFIG_SLAB_FREELIST_HARDENED",),
    matches=("kind-dfree",),
    told_apart_from=(
        "a free list that was led to an object in use: that holds no link older than this kfree()",
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
    yield necessary("free", "it is on a free list", lambda: on_free_list(scene.slab, scene.free))
    yield necessary("link", "it holds a link as free objects do", lambda: _has_link(scene))
    yield excluding(
        "slab-damage", "the kernel reported a damaged slab", lambda: slab_was_reported(crash)
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def _object(self) -> tuple[SlabIdentity, str]:
        # set_freepointer() compares the object with the list's first, so that two registers
        # hold it; its cache is in another.
        fault = self.crash.fault
        if fault is None or self.crash.fault_frame is None:
            raise Unavailable("the freed object", Reason.NOT_IN_DUMP, "no registers of the fault")
        names: dict[int, list[str]] = {}
        for register, held in fault.registers.items():
            names.setdefault(held, []).append(register)
        twice = (held for held, held_by in names.items() if len(held_by) > 1)
        found = [slab for slab in self._starts(twice) if slab.cache in names]
        if len(found) != 1:
            detail = f"{len(found)} objects are in two registers, their caches in others"
            raise Unavailable("the freed object", Reason.AMBIGUOUS, detail)
        return found[0], names[found[0].object_start][0]

    def _starts(self, addresses: Iterable[int]) -> Iterator[SlabIdentity]:
        from crashkit.decode.slab import slab_identity

        for address in addresses:
            try:
                slab = slab_identity(self.crash.prog, address, aliases=False)
            except Unavailable as missing:
                if missing.reason is not Reason.NOT_APPLICABLE:
                    raise
                continue
            if slab.is_start:
                yield slab

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
    slab, register = scene.slab, scene.register
    held = register_value(register.upper(), register, slab.object_start)
    return seen(True, held, note=f"{slab.object_size} bytes of {slab.cache_name}")


def _has_link(scene: _Scene) -> Observation:
    from crashkit.decode.slab_hidden import hidden_pointer

    prog, start = scene.crash.prog, scene.slab.object_start
    place = start + int(scene.cache().offset)
    held = read_u64(prog, place, "the free pointer")
    stored = word_value("free pointer as stored", place, held)
    link = hidden_pointer(prog, held, place)
    if link is not None:
        if not link.next_free:
            raise Unavailable("the link", Reason.AMBIGUOUS, "this kfree() may have written it")
        return seen(True, stored, note=f"the next is {link.next_free:016x}")
    if not held and _wipes(scene):
        raise Unavailable("the link", Reason.AMBIGUOUS, "init_on_free may have cleared it")
    return seen(False, stored, note="the allocator did not write it")


def _wipes(scene: _Scene) -> bool:
    # slab_free_hook() clears an object before its link is written.
    return bool(scene.crash.prog["init_on_free"].key.enabled.counter)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say who allocated and freed it, where slub_debug kept that."""
    from crashkit.fault.diagnosis_slab import track_words

    if META.advice is None or any(check.holds is False for check in found[:3]):
        return ()
    who = track_words(crash.prog, _Scene(crash).slab) or (META.advice,)
    proved = all(check.holds for check in found[:3])
    return who if proved else (*who, "if there is none, the list itself was written to")
