"""A pointer differs in one bit from one that is surely good.

Such a pointer is what failing memory leaves behind, and also what a bit operation of
software on a wrong address does: the dump does not tell them apart.

Recognised by: nothing is where the pointer leads; with exactly one of its 64 bits changed
it is the start of an allocated slab object of a fitting size, the start of a symbol, or a
list node that points back. The place it was read from still holds it, and is not free.
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
    read_from_free_object,
    word_value,
)
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, excluding, necessary, seen
from crashkit.memory import is_kernel_address, read_u64
from crashkit.recipe import Meta

if TYPE_CHECKING:
    from crashkit.fault.diagnosis_bits import OneBit

META = Meta(
    id="one-bit-flip",
    claim="the pointer that was followed differs in one bit from a good one, and so does memory",
    references=("Documentation/admin-guide/ras.rst: EDAC, machine checks",),
    matches=("kind-bitflip", "kind-bitflip55"),
    rejects=("kind-random", "kind-ascii"),
    told_apart_from=(
        "a pointer of other garbage: no single bit makes it good, or several do",
        "memory that was freed: what it holds was good, or never a pointer",
    ),
    advice=(
        "look in the log and the BMC for EDAC and machine-check messages, and test this machine's"
        " memory; the same crash on other machines means software: set_bit() and its like"
    ),
)


def applies(crash: Crash) -> bool:
    """Whether the fault went through a pointer that leads nowhere."""
    fault = crash.fault
    if fault is None or fault.access == "exec" or not leads_nowhere(fault):
        return False
    bad = bad_pointer(crash)
    return bad is not None and bad.place is not None and fault.diagnosis.kind != "freed-object"


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("bit", "one bit makes it a good pointer", lambda: _is_one_bit(scene))
    yield necessary("held", "memory holds the bad one", lambda: _is_held(scene))
    yield excluding(
        "free",
        "memory that was freed",
        lambda: read_from_free_object(crash, scene.bad),
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def bad(self) -> BadPointer:
        return found_bad_pointer(self.crash)

    @cached_property
    def found(self) -> OneBit | None:
        from crashkit.fault.diagnosis_bits import one_bit_off

        bad = self.bad
        return one_bit_off(self.crash.prog, bad.value, place=bad.place, ctype=bad.ctype)


def _is_one_bit(scene: _Scene) -> Observation:
    bad, found = scene.bad, scene.found
    if found is None:
        _all_were_seen(scene)
        return seen(False, bad.shown(), note="none does, or several do")
    first = read_u64(scene.crash.prog, found.good, "the good pointer's target")
    target = word_value(f"*({found.good:#x})", found.good, first, found.words)
    return seen(True, bad.shown(), target, note=f"bit {found.bit}: {found.words}")


def _all_were_seen(scene: _Scene) -> None:
    # A pointer that may be good leaves it open: what is there is not in the dump.
    from crashkit.decode.address_regions import is_canonical, region_at
    from crashkit.decode.slab import slab_identity

    prog = scene.crash.prog
    for value in (scene.bad.value ^ (1 << bit) for bit in range(64)):
        if not is_kernel_address(value) or not is_canonical(prog, value):
            continue
        region = region_at(prog, value)
        if region is None or region.kind != "direct-map":
            continue
        try:
            slab = slab_identity(prog, value, aliases=False)
        except Unavailable as missing:
            if missing.reason is not Reason.NOT_APPLICABLE:
                raise
            continue
        if slab.is_start and slab.allocated is None:
            raise slab.absent["allocated"]


def _is_held(scene: _Scene) -> Observation:
    return seen(True, held_now(scene.crash, scene.bad))


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the physical page to look up, where the dump tells it."""
    bad = bad_pointer(crash)
    if META.advice is None or bad is None or bad.place is None or found[0].holds is not True:
        return ()
    return (f"the wrong bit is in the 8 bytes at {bad.place:#x} (crash: vtop)", META.advice)
