"""A slab object was written past its end.

slub_debug puts a red zone behind each object (mm/slub.c, above init_object()) and looks at
it when the object is freed or allocated.

Recognised by: in memory, the zone's first bytes, which follow the object's last, are not
the zone's. Damage that begins elsewhere is no overrun of this object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.slab_values import bytes_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Value

if TYPE_CHECKING:
    from crashkit.decode.slab_report import Area, Difference, SlabReport

META = Meta(
    id="slab-overrun",
    claim="bytes right behind the end of a slab object were overwritten",
    references=("mm/slub.c: init_object(), check_object(); include/linux/poison.h",),
    matches=("kind-redzone",),
    rejects=("kind-poisonwrite",),
    told_apart_from=(
        "a write to a freed object: the red zone behind it is whole",
        "a stray write: it does not begin where the object ends",
    ),
    advice="look at the code that fills the object, and at the size it asked for",
)


def applies(crash: Crash) -> bool:
    """Whether slub_debug found a slab object damaged."""
    if crash.target.format == "text" or crash.oops is None:
        return False  # the words alone are the kernel's own finding
    return crash.oops.kind == "slab-corruption"


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("zone", "the red zone behind the object is damaged", lambda: _is_hit(scene))
    yield necessary("end", "the damage begins at the object's end", lambda: _from_end(scene))
    yield supporting("inside", "nothing else of the object is damaged", lambda: _alone(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def report(self) -> SlabReport:
        from crashkit.crash.panics.slab import read

        found = read(self.crash)
        if found is None:
            raise Unavailable("the slab object", Reason.NOT_SAVED, "no report names it")
        return found.report

    @cached_property
    def zone(self) -> Area:
        for area in self.report.areas:
            if area.name == "right red zone":
                return area
        detail = f"{self.report.cache_name} has no red zone behind its objects"
        raise Unavailable("the red zone", Reason.NOT_APPLICABLE, detail)

    def damage(self) -> Difference:
        if not self.zone.differences:
            raise Unavailable("the damage", Reason.NOT_APPLICABLE, "the zone is whole")
        return self.zone.differences[0]

    def bytes_at(self, name: str, place: int, size: int) -> Value:
        return bytes_value(self.crash.prog, name, place, size, self.report.cache_name)


def _is_hit(scene: _Scene) -> Observation:
    zone = scene.bytes_at("right red zone", scene.zone.address, scene.zone.size)
    return seen(bool(scene.zone.differences), zone, note=scene.report.cache_name)


def _from_end(scene: _Scene) -> Observation:
    one = scene.damage()
    written = scene.bytes_at("what is there", one.address, min(one.length, 64))
    note = f"{one.length} bytes at +{one.offset}" + (f": {one.text!r}" if one.text else "")
    return seen(one.offset == scene.report.object_size, written, note=note)


def _alone(scene: _Scene) -> Observation:
    names = [area.name for area in scene.report.damaged if area.name != scene.zone.name]
    zone = scene.bytes_at("right red zone", scene.zone.address, scene.zone.size)
    return seen(not names, zone, note=", ".join(names))


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name who allocated it."""
    if META.advice is None or any(check.holds is not True for check in found[:2]):
        return ()
    report = _Scene(crash).report
    owners = [track.caller for track in report.tracks if track.what == "allocated"]
    who = f"{owners[0]} allocated it, {report.object_size} bytes" if owners and owners[0] else ""
    return (who, META.advice) if who else (META.advice,)
