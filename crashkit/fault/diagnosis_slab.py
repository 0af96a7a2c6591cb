"""What the slab allocator says of an address, in words for a diagnosis."""

from __future__ import annotations

from drgn import Program

from crashkit.decode.address import classify_address
from crashkit.decode.address_facts import AddressFacts
from crashkit.decode.slab import SlabIdentity, slab_identity
from crashkit.decode.slab_place import FreePlace, free_place_of
from crashkit.decode.slab_report import read_slab_report
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class SlabState:
    """Whether a slab object is free, and who says so."""

    free: FreePlace | None
    """The list that has it."""
    doubt: Unavailable | None
    """Why the lists do not tell; None: they do."""

    @property
    def words(self) -> str:
        """State it: free and where, allocated, or not known and why."""
        if self.free is not None:
            return f"the object is free: {self.free.words} has it"
        if self.doubt is None:
            return "the object is allocated: no free list has it"
        damaged = self.doubt.reason is Reason.CORRUPTED
        return f"{'a free list is corrupted' if damaged else 'not known if free'}: {self.doubt}"


def slab_state(prog: Program, slab: SlabIdentity) -> SlabState:
    """Follow the free lists that can have an object."""
    try:
        return SlabState(free=free_place_of(prog, slab), doubt=None)
    except Unavailable as missing:
        return SlabState(free=None, doubt=missing)


def object_words(slab: SlabIdentity) -> str:
    """Name the object an address lies in: ``0x18 bytes into slab object kmalloc-64``."""
    name = f"slab object {slab.cache_name or '?'} at {slab.object_start:#x}"
    return f"{slab.offset:#x} bytes into {name}" if slab.offset else name


def alias_words(prog: Program, slab: SlabIdentity) -> str | None:
    """Name the caches merged into an object's cache, so far as it is merged."""
    try:
        merged = slab_identity(prog, slab.address).aliases
    except Unavailable:
        return None
    if not merged:
        return None
    return f"the cache {slab.cache_name or '?'} is also that of {', '.join(merged)}"


def track_words(prog: Program, slab: SlabIdentity) -> tuple[str, ...]:
    """Say who allocated and freed an object, where slub_debug kept it."""
    try:
        found = read_slab_report(prog, slab.object_start, free=True).tracks
    except Unavailable:
        return ()
    return tuple(
        f"slub_debug: {track.what} by {track.caller or hex(track.address)}, pid {track.pid}, "
        f"CPU {track.cpu}" + (f", {track.age_s} s before the dump" if track.age_s else "")
        for track in found
    )


def past_end(slab: SlabIdentity) -> str | None:
    """Say that an address is in the red zone or padding behind the object's own bytes."""
    if slab.object_size is None or slab.offset < slab.object_size:
        return None
    return f"that is past the {slab.object_size:#x} bytes of the object"


def place_words(prog: Program, place: int) -> tuple[tuple[str, ...], FreePlace | None]:
    """Say where a value was read from, and in which state that memory is.

    :returns: sentences, and the list of free objects that has it
    """
    facts = classify_address(prog, place, aliases=False)
    if facts.slab is None:
        return (f"it was read from {place:#x}: {facts.words}",), None
    state = slab_state(prog, facts.slab)
    where = f"it was read from {place:#x}: {object_words(facts.slab)}"
    return tuple(filter(None, (where, state.words, past_end(facts.slab)))), state.free


def state_words(prog: Program, facts: AddressFacts) -> tuple[str, ...]:
    """Say all that is known of the slab object that an address lies in."""
    if facts.slab is None:
        return ()
    state = slab_state(prog, facts.slab).words
    return tuple(filter(None, (state, past_end(facts.slab))))
