"""A slab object was written to while it was free.

slub_debug fills a freed object with POISON_FREE (include/linux/poison.h) and looks at it
when it is allocated next.

Recognised by: the red zones say that the object is free, and its poison is damaged in
memory. The red zone alone damaged is another matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.slab_values import bytes_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Value

if TYPE_CHECKING:
    from crashkit.decode.slab_report import Area, Difference, SlabReport

META = Meta(
    id="slab-write-after-free",
    claim="a free slab object was written to: its poison is damaged",
    references=("mm/slub.c: init_object(), check_object(); include/linux/poison.h",),
    matches=("kind-poisonwrite",),
    rejects=("kind-redzone",),
    told_apart_from=(
        "an object in use that was written past its end: its red zones are those of one in use",
    ),
    advice="look who used it after it was freed",
)

_FREE, _USED = 0xBB, 0xCC
# SLUB_RED_INACTIVE and SLUB_RED_ACTIVE (include/linux/poison.h).


def applies(crash: Crash) -> bool:
    """Whether slub_debug found a slab object damaged."""
    if crash.target.format == "text" or crash.oops is None:
        return False  # the words alone are the kernel's own finding
    return crash.oops.kind == "slab-corruption"


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("free", "its red zone says it is free", lambda: _is_free(scene))
    yield necessary("poison", "its poison is damaged", lambda: _is_hit(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def report(self) -> SlabReport:
        # As of a free object: its red zones tell whether it is one.
        from crashkit.crash.panics.slab import read
        from crashkit.decode.slab_report import read_slab_report

        found = read(self.crash)
        if found is None:
            raise Unavailable("the slab object", Reason.NOT_SAVED, "no report names it")
        return read_slab_report(self.crash.prog, found.report.object, free=True)

    def area(self, *names: str) -> Area:
        for area in self.report.areas:
            if area.name in names and area.size:
                return area
        detail = f"slub_debug keeps none in {self.report.cache_name}"
        raise Unavailable(names[0], Reason.NOT_APPLICABLE, detail)

    @cached_property
    def damage(self) -> Difference | None:
        return next(iter(self.area("poison").differences), None)

    def bytes_at(self, name: str, place: int, size: int) -> Value:
        return bytes_value(self.crash.prog, name, place, size, self.report.cache_name)


def _is_free(scene: _Scene) -> Observation:
    area = scene.area("left red zone", "right red zone")
    zone = scene.bytes_at(area.name, area.address, area.size)
    held = bytes.fromhex(str(zone.value))
    free, used = held.count(_FREE), held.count(_USED)
    if 2 * max(free, used) <= area.size:
        raise Unavailable(area.name, Reason.AMBIGUOUS, "most of it was overwritten")
    return seen(free > used, zone, note="" if free > used else "it is in use")


def _is_hit(scene: _Scene) -> Observation:
    area, one = scene.area("poison"), scene.damage
    if one is None:
        return seen(False, scene.bytes_at("poison", area.address, min(area.size, 64)))
    written = scene.bytes_at("what is there", one.address, min(one.length, 64))
    note = f"{one.length} byte{'s' * (one.length > 1)} at +{one.offset}" + (
        f": {one.text!r}" if one.text else ""
    )
    return seen(True, written, note=note)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name who freed it."""
    if META.advice is None or any(check.holds is not True for check in found):
        return ()
    report, place = _Scene(crash).report, _Scene(crash).damage
    freed = [track.caller for track in report.tracks if track.what == "freed"]
    where = f", at offset {place.offset}" if place is not None else ""
    who = f"{freed[0]} freed it" if freed and freed[0] else ""
    return (who, META.advice + where) if who else (META.advice + where,)
