"""Recovering socket buffers from registers, as an engineer with crash does.

First the registers at the fault, then what the callers' registers held (pushed by the
prologues of the functions they called), then ``nf_queue_entry.skb``. Every candidate
is tested; a test ranks and annotates, it does not prove.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from drgn import FaultError, Object, Program

from crashkit.decode.skb_validation import SkbValidation, validate_skb
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.registers import CALLEE_SAVED, CALLER_SAVED
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import facts

_FIRST = CALLEE_SAVED + CALLER_SAVED
MAX_CANDIDATES = 256


@facts
class SkbCandidate:
    """An address that may be a ``struct sk_buff``, and where it was found."""

    address: int
    frame: Frame
    """Frame in which the register held it."""
    register: str
    slot: int | None
    """Stack address it was read from; None for a register at the fault."""
    found_by: str
    """The proof in words: ``R13 of nf_reinject, pushed by nf_iterate at ffff…8a0``."""
    also: tuple[str, ...] = ()
    """Other places of this stack that lead to the same address."""
    validation: SkbValidation


def find_skbs(prog: Program, frames: tuple[Frame, ...]) -> tuple[SkbCandidate, ...]:
    """Find the plausible socket buffers of a stack, nearest to the fault first.

    :param frames: from the faulting frame outward
    """
    places: dict[int, list[_Place]] = {}
    for place in _registers(frames):
        places.setdefault(place.held.value, []).append(place)
    found: dict[int, SkbCandidate] = {}
    for value, where in list(places.items())[:MAX_CANDIDATES]:
        also = tuple(dict.fromkeys(place.words for place in where[1:]))
        candidate = _candidate(prog, value, where[0], where[0].words, also)
        if candidate is not None:
            found[value] = candidate
    for skb, place, words in _queue_entries(prog, frames):
        known = found.get(skb)
        if known is not None:
            found[skb] = replace(known, also=(*known.also, words))
            continue
        candidate = _candidate(prog, skb, place, words, ())
        if candidate is not None:
            found[skb] = candidate
    return tuple(found.values())


@dataclass(frozen=True)
class _Place:
    # A register of a frame.
    frame: Frame
    register: str
    held: RegisterValue

    @property
    def words(self) -> str:
        name, held, function = self.register.upper(), self.held, self.frame.function
        if held.saved_by is not None and held.slot is not None:
            return f"{name} of {function}, pushed by {held.saved_by} at {held.slot:016x}"
        return f"{name} at {function}+{self.frame.offset or 0:#x}"


def _registers(frames: tuple[Frame, ...]) -> Iterator[_Place]:
    # Every register of every frame; one that is only handed on is named once.
    slots: set[int] = set()
    kept: set[tuple[str, int]] = set()
    for frame in frames:
        for name in _FIRST:
            held = frame.registers.get(name)
            if held is None or not _can_be_object(held.value):
                continue
            if (name, held.value) in kept and (held.slot is None or held.slot in slots):
                continue
            kept.add((name, held.value))
            if held.slot is not None:
                slots.add(held.slot)
            yield _Place(frame, name, held)


def _can_be_object(value: int) -> bool:
    # A slab object is in the direct map and aligned to a word.
    return is_kernel_address(value) and value % 8 == 0


def _candidate(
    prog: Program, address: int, place: _Place, words: str, also: tuple[str, ...]
) -> SkbCandidate | None:
    try:
        validation = validate_skb(Object(prog, "struct sk_buff *", address))
    except Unavailable:
        return None  # not readable as an skb: not a candidate
    except LookupError as missing:
        raise Unavailable("struct sk_buff", Reason.NO_DEBUGINFO, str(missing)) from missing
    if not validation.plausible:
        return None
    return SkbCandidate(
        address=address,
        frame=place.frame,
        register=place.register,
        slot=place.held.slot,
        found_by=words,
        also=also,
        validation=validation,
    )


# Functions whose callee-saved registers hold the struct nf_queue_entry they work on.
_QUEUE_FUNCTIONS = ("nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict", "nf_queue")


def _queue_entries(prog: Program, frames: tuple[Frame, ...]) -> Iterator[tuple[int, _Place, str]]:
    seen: set[int] = set()
    for frame in frames:
        if frame.function not in _QUEUE_FUNCTIONS:
            continue
        for name in CALLEE_SAVED:
            held = frame.registers.get(name)
            if held is None or held.value in seen or not _can_be_object(held.value):
                continue
            seen.add(held.value)
            skb = _entry_skb(prog, held.value)
            if skb is not None:
                place = _Place(frame, name, held)
                yield skb, place, f"nf_queue_entry {held.value:016x} ({place.words})"


def _entry_skb(prog: Program, address: int) -> int | None:
    try:
        entry = Object(prog, "struct nf_queue_entry *", address)
        if int(entry.state.hook) >= 8 or int(entry.state.pf) >= 16:
            return None  # NF_MAX_HOOKS, NFPROTO_NUMPROTO (include/uapi/linux/netfilter.h)
        skb = int(entry.skb)
    except (FaultError, LookupError, AttributeError):
        return None
    return skb if _can_be_object(skb) else None
