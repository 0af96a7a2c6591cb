"""Recovering socket buffers from registers, as an engineer with crash does.

First the registers at the fault, then what the callers' registers held (pushed by the
prologues of the functions they called), then ``nf_queue_entry.skb``. Every candidate
is tested; a test ranks and annotates, it does not prove.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Object, Program

from crashkit.decode.skb_validation import SkbValidation, validate_skb
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.registers import CALLEE_SAVED, CALLER_SAVED
from crashkit.unwind import Frame, RegisterValue

_FIRST = CALLEE_SAVED + CALLER_SAVED
MAX_CANDIDATES = 256


@dataclass(frozen=True, kw_only=True)
class SkbCandidate:
    """An address that may be a ``struct sk_buff``, and where it was found."""

    address: int
    frame: Frame
    """Frame in which the register held it."""
    register: str
    slot: int | None
    """Stack address it was read from; None for a register at the fault."""
    found_by: str
    """The proof in words: ``R13, pushed by nf_iterate at ffff…8a0``."""
    validation: SkbValidation


def find_skbs(prog: Program, frames: tuple[Frame, ...]) -> tuple[SkbCandidate, ...]:
    """Find the plausible socket buffers of a stack, nearest to the fault first.

    :param frames: from the faulting frame outward
    """
    found: dict[int, SkbCandidate] = {}
    for tried, (frame, name, held) in enumerate(_registers(frames)):
        if tried >= MAX_CANDIDATES:
            break
        candidate = _candidate(prog, frame, name, held.value, held.slot, _how(frame, name, held))
        if candidate is not None:
            found.setdefault(candidate.address, candidate)
    for candidate in _queue_entries(prog, frames):
        found.setdefault(candidate.address, candidate)
    return tuple(found.values())


def _registers(frames: tuple[Frame, ...]) -> Iterator[tuple[Frame, str, RegisterValue]]:
    seen: set[int] = set()
    for frame in frames:
        for name in _FIRST:
            held = frame.registers.get(name)
            if held is None or held.value in seen or not _can_be_object(held.value):
                continue
            seen.add(held.value)
            yield frame, name, held


def _can_be_object(value: int) -> bool:
    # A slab object is in the direct map and aligned to a word.
    return is_kernel_address(value) and value % 8 == 0


def _how(frame: Frame, name: str, held: RegisterValue) -> str:
    if held.saved_by is not None and held.slot is not None:
        return f"{name.upper()} of {frame.function}, pushed by {held.saved_by} at {held.slot:016x}"
    return f"{name.upper()} at {frame.function}+{frame.offset or 0:#x}"


def _candidate(
    prog: Program, frame: Frame, name: str, address: int, slot: int | None, how: str
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
        frame=frame,
        register=name,
        slot=slot,
        found_by=how,
        validation=validation,
    )


# Functions whose callee-saved registers hold the struct nf_queue_entry they work on.
_QUEUE_FUNCTIONS = ("nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict", "nf_queue")


def _queue_entries(prog: Program, frames: tuple[Frame, ...]) -> Iterator[SkbCandidate]:
    for frame in frames:
        if frame.function not in _QUEUE_FUNCTIONS:
            continue
        for name in CALLEE_SAVED:
            held = frame.registers.get(name)
            if held is None or not _can_be_object(held.value):
                continue
            skb = _entry_skb(prog, held.value)
            if skb is None:
                continue
            how = f"nf_queue_entry {held.value:016x}, {_how(frame, name, held)}"
            candidate = _candidate(prog, frame, name, skb, None, how)
            if candidate is not None:
                yield candidate


def _entry_skb(prog: Program, address: int) -> int | None:
    from drgn import FaultError

    try:
        entry = Object(prog, "struct nf_queue_entry *", address)
        if int(entry.state.hook) >= 8 or int(entry.state.pf) >= 16:
            return None  # NF_MAX_HOOKS, NFPROTO_NUMPROTO (include/uapi/linux/netfilter.h)
        skb = int(entry.skb)
    except (FaultError, LookupError, AttributeError):
        return None
    return skb if _can_be_object(skb) else None
