"""Bad pointers to memory that was freed, or read from it."""

from __future__ import annotations

from crashkit.decode.address import classify_address
from crashkit.decode.address_stacks import freed_area_at
from crashkit.decode.fields import printable
from crashkit.decode.slab import SlabIdentity
from crashkit.decode.slab_damage import lost_list
from crashkit.decode.slab_hidden import hidden_pointer
from crashkit.fault.diagnosis_case import Case
from crashkit.fault.diagnosis_slab import (
    SlabState,
    alias_words,
    object_words,
    slab_state,
    state_words,
    track_words,
)
from crashkit.fault.model import Diagnosis


def hidden_free_pointer(case: Case) -> Diagnosis | None:
    """The value is what the allocator itself keeps in a free object.

    It writes it when an object is freed and when a slab is made, so an object that is
    allocated now has not been written there since, or was freed for a time.
    """
    if case.place is None:
        return None
    found = hidden_pointer(case.prog, case.bad.value, case.place)
    slab = classify_address(case.prog, case.place, aliases=False).slab
    if found is None or slab is None:
        return None
    state = slab_state(case.prog, slab)
    _note(case, slab, state)
    case.details["next_free"] = f"{found.next_free:#x}"
    points = f"object {found.next_free:#x}" if found.next_free else "none, it is the last"
    case.says(f"unhidden with the cache's secret, it points to the next free object: {points}")
    what = "the free-list pointer that the slab allocator keeps in a free object"
    if state.free is None:
        case.says("~ the object was free when it was read, or never written since it was allocated")
    kind = "freed-object" if state.free is not None else case.kind
    return case.is_(kind, f"{what} of {slab.cache_name or '?'}")


def free_slab_object(case: Case) -> Diagnosis | None:
    """The value points into a slab object that is free."""
    slab = case.facts.slab
    if slab is None:
        return None
    state = slab_state(case.prog, slab)
    _note(case, slab, state)
    case.says(*state_words(case.prog, case.facts))
    if state.free is None:
        return None
    return case.is_("freed-object", f"{object_words(slab)}, which is free")


def free_page(case: Case) -> Diagnosis | None:
    """The value points into a page that the page allocator has back."""
    if case.facts.use != "free":
        return None
    return case.is_("freed-object", f"in a page that is free ({case.facts.words})")


def freed_vmalloc_area(case: Case) -> Diagnosis | None:
    """The value points into a vmalloc area that was freed and not yet given back."""
    if case.facts.kind not in ("vmalloc-hole", "module-hole"):
        return None
    area = freed_area_at(case.prog, case.bad.value)
    if area is None:
        return None
    start, end = area
    case.details |= {"area": f"{start:#x}", "area_end": f"{end:#x}"}
    case.says("the kernel still has the area on its list of freed ones")
    return case.is_("freed-object", f"in a vmalloc area that was freed, {start:#x} to {end:#x}")


def read_from_free_object(case: Case) -> Diagnosis | None:
    """The value points nowhere and was read from an object or page that is free."""
    if case.place is None:
        return None
    facts = classify_address(case.prog, case.place, aliases=False)
    if facts.use == "free":
        return case.is_("freed-object", f"what is left in a free page at {case.place:#x}")
    if facts.slab is None:
        return None
    state = slab_state(case.prog, facts.slab)
    if state.free is None:
        return None
    _note(case, facts.slab, state)
    what = f"read from {object_words(facts.slab)}, which is free"
    return case.is_("freed-object", what)


def lost_free_list(case: Case) -> Diagnosis | None:
    """The value is where a damaged free list of the allocator leads."""
    if case.place is not None or case.facts.kind in ("user", "slab"):
        return None
    found = lost_list(case.prog, case.bad.value)
    if found is None:
        return None
    case.details |= {"cache": found.cache_name, "cpu": found.cpu, "head": f"{found.head:#x}"}
    what = f"where the corrupted free list of CPU {found.cpu} in {found.cache_name} leads"
    if found.written:
        value = int.from_bytes(found.written, "little")
        case.details["written"] = f"{value:#x}"
        case.says(
            f"where a free-list pointer belongs, {len(found.written)} bytes of {value:#x} "
            f"({printable(found.written)}) were written"
        )
    if len(found.objects) == 1:
        case.details["object"] = f"{found.objects[0]:#x}"
        case.says(f"object {found.objects[0]:#x} still holds it")
    elif found.likely is not None:
        case.details["object"] = f"{found.likely:#x}"
        case.says(f"~ into object {found.likely:#x}: there, all 8 bytes would be the same")
    case.says("~ a free object was written to, or the object before it was written past its end")
    return case.is_("freed-object", what)


def _note(case: Case, slab: SlabIdentity, state: SlabState) -> None:
    case.details["object"] = f"{slab.object_start:#x}"
    case.details["cache"] = slab.cache_name
    case.details["free_list"] = state.free.kind if state.free else None
    if state.free is not None:
        case.says(state.words, alias_words(case.prog, slab), *track_words(case.prog, slab))
