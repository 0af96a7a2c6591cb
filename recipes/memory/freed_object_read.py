"""A pointer was followed that had been read from a slab object which is free.

Recognised by: the bad pointer is what memory holds where it was read, that place lies in a
slab object, and a free list of the allocator has the object. Where the value is the
allocator's own (a free-list pointer, or slub_debug's poison) the object was free when it was
read; anything else is left over from its user.

An object that was freed and is in use again is on no list: it is refuted here, though it was
freed too early as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.bad_pointer import (
    BadPointer,
    bad_pointer,
    found_bad_pointer,
    held_now,
    leads_nowhere,
    place_of,
)
from crashkit.crash.slab_values import on_free_list
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.decode.slab import SlabIdentity
    from crashkit.decode.slab_place import FreePlace

META = Meta(
    id="freed-object-read",
    claim="the pointer that was followed was read from a slab object that is free",
    references=("mm/slub.c: set_freepointer(), freelist_ptr(); include/linux/poison.h",),
    matches=("kind-uaflist", "kind-poison6b"),
    rejects=("kind-random", "kind-ascii", "kind-uaf"),
    classes=("free-list pointer", "poison", "left over"),
    told_apart_from=(
        "an object in use whose bytes are wrong: no free list has it",
        "a damaged free list: the object cannot then be proved free",
    ),
    advice="boot with slub_debug=FZPU: who freed it is then in the dump",
)


def applies(crash: Crash) -> bool:
    """Whether the fault went through a bad pointer that was read from memory."""
    bad = bad_pointer(crash)
    if bad is None or bad.place is None or crash.fault is None:
        return False
    if crash.fault.diagnosis.kind == "poison" or leads_nowhere(crash.fault):
        return True
    # Anything read from it is stale, also 0.
    return bad.base is not None and (bad.base.identity or "").startswith("free slab object")


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("object", "it was read from a slab object", lambda: _is_in_slab(scene))
    yield necessary(
        "free", "that object is on a free list", lambda: on_free_list(scene.slab, scene.free)
    )
    yield necessary("held", "the object still holds the bad pointer", lambda: _is_held(scene))
    yield supporting("base", "a register pointed into the object", lambda: _has_base(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def bad(self) -> BadPointer:
        return found_bad_pointer(self.crash)

    @property
    def place(self) -> int:
        return place_of(self.bad)

    @cached_property
    def slab(self) -> SlabIdentity:
        from crashkit.decode.slab import slab_identity

        return slab_identity(self.crash.prog, self.place, aliases=False)

    @cached_property
    def free(self) -> FreePlace | None:
        from crashkit.decode.slab_place import free_place_of

        return free_place_of(self.crash.prog, self.slab)


def _is_in_slab(scene: _Scene) -> Observation:
    held = Value(
        name=f"&{scene.bad.expression}",
        value=scene.place,
        origin=Origin.REGISTER,
        reread=Reread(crash=f"kmem {scene.place:016x}"),
    )
    try:
        slab = scene.slab
    except Unavailable as missing:
        if missing.reason is not Reason.NOT_APPLICABLE:
            raise
        return seen(False, held, note="it is in none")
    return seen(True, held, note=f"{slab.offset:#x} bytes into {slab.cache_name}")


def _is_held(scene: _Scene) -> Observation:
    held = held_now(scene.crash, scene.bad)
    return seen(True, scene.bad.shown(), held, note=_class(scene))


def _class(scene: _Scene) -> str:
    from crashkit.decode.slab_hidden import hidden_pointer
    from crashkit.fault.diagnosis import BadValue, diagnose

    if hidden_pointer(scene.crash.prog, scene.bad.value, scene.place) is not None:
        return "free-list pointer"
    found = diagnose(BadValue(name="", value=scene.bad.value))
    return "poison" if found.kind == "poison" else "left over"


def _has_base(scene: _Scene) -> Observation:
    base, slab = scene.bad.base, scene.slab
    if base is None or base.value is None or base.certainty is not Certainty.PROVED:
        raise Unavailable("the pointer to the object", Reason.NOT_SAVED)
    value = Value(
        name=base.expression,
        value=base.value,
        origin=Origin.REGISTER,
        ctype=base.ctype,
        reread=Reread(crash="bt"),
    )
    inside = 0 <= base.value - slab.object_start < (slab.object_size or 1)
    return seen(inside, value)


def classes(_crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say what the object holds there."""
    held = next((check for check in found if check.id == "held" and check.holds), None)
    return (held.note,) if held is not None else ()


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say who freed it, where slub_debug kept that."""
    from crashkit.fault.diagnosis_slab import track_words

    if any(check.holds is not True for check in found[:3]):
        return ()
    words = track_words(crash.prog, _Scene(crash).slab)
    return (*words, "look for who still had the pointer after that") if words else ()
