"""``slab``: a slab object the allocator found damaged or freed twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from drgn import FaultError, Object

from crashkit.crash.panics.call_sites import argument, has_frame
from crashkit.crash.panics.printed import printed_lines, registers_of, report_ip
from crashkit.decode.bug_table import find_bug
from crashkit.decode.slab import slab_identity
from crashkit.decode.slab_hidden import hidden_pointer
from crashkit.decode.slab_report import Neighbour, SlabReport, read_slab_report
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_u64
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

# mm/slub.c: slab_bug(), print_trailer(), check_bytes_and_report()
_WHAT = re.compile(r"^BUG (?P<cache>[\w:.-]{1,64}) \(.{1,60}?\): (?P<what>.{1,100})")
_AREA = re.compile(r"^\[(?P<what>[\w ]{1,40} overwritten)\] 0x")
# Newer kernels, 6.12 among them, name the area before the title, which is "Object corrupt".
_OBJECT = re.compile(r"^(?:INFO: )?Object 0x(?P<object>[0-9a-f]{16}) @offset=")
_BYTES = re.compile(
    r"0x(?P<from>[0-9a-f]{16})-0x(?P<to>[0-9a-f]{16})(?: @offset=\d+)?\. First byte"
    r" 0x(?P<found>[0-9a-f]{1,2}) instead of 0x(?P<expected>[0-9a-f]{1,2})"
)
# The function that found it and what it calls the object.
_ARGUMENTS = (
    ("kmem_cache_free", "x"),
    ("kmem_cache_free", "objp"),
    ("kfree", "objp"),
    ("kfree", "object"),
    ("kfree", "x"),
    ("__kmem_cache_free", "x"),
    ("__slab_free", "head"),
    ("__slab_free", "object"),
    ("free_to_partial_list", "head"),
    ("free_debug_processing", "head"),
    ("alloc_debug_processing", "object"),
    ("check_object", "object"),
    ("object_err", "object"),
)
_BEFORE = 120
# A panic over the taint that a report sets comes after all its lines.
_BUG = "a check of mm/slub.c while an object was freed"


@facts
class SlabDamage:
    """A slab object found damaged. A None field has its reason in ``absent``."""

    what: str
    """What the check found, in the kernel's words or those of mm/slub.c."""
    double_free: bool | None
    """True: it was being freed and is on a free list already. None: not told."""
    origin: str
    """Where the object's address comes from: ``argument``, ``log``, or ``register``: the only
    one that held the start of a free object (inferred)."""
    printed_bytes: str | None
    """The bytes the kernel names: ``0x… to 0x…, first 0x41 instead of 0xcc``."""
    corroborated: bool | None
    """Memory still differs at the first of them."""
    report: SlabReport
    absent: Mapping[str, Reason]


def read(crash: Crash) -> SlabDamage | None:
    """Read the object; None where the crash is none of the allocator's checks.

    :raises Unavailable: the object's address is not known, or it cannot be read
    """
    printed = _printed(crash)
    double = printed.what is None and _is_slub_bug(crash)
    if printed.what is None and not double:
        return None
    address, origin = printed.object, "log"
    if address is None:
        address, origin = _object(crash, among_registers=double)
    free = True if double or "oison" in (printed.what or "") else None
    report = read_slab_report(crash.prog, address, free=free)
    if double and report.allocated is False and _ends_the_list(crash, report):
        report = replace(report, neighbours=tuple(map(_untold, report.neighbours)))
    words, first = None, None
    if printed.bytes is not None:
        found = printed.bytes
        first = int(found["from"], 16)
        words = (
            f"0x{found['from']} to 0x{found['to']}, first 0x{found['found']}"
            f" instead of 0x{found['expected']}"
        )
    return SlabDamage(
        what=printed.what or _BUG,
        double_free=True if double and report.allocated is False else None,
        origin=origin,
        printed_bytes=words,
        corroborated=None if first is None else _differs_at(report, first),
        report=report,
        absent={},
    )


def _ends_the_list(crash: Crash, report: SlabReport) -> bool:
    # slab_free_freelist_hook() of some kernels (6.1, not 6.12) writes the end of a list into
    # the object that is freed, before set_freepointer() finds it on one: what followed is lost.
    try:
        offset = int(Object(crash.prog, "struct kmem_cache *", report.cache).offset.value_())
        place = report.object + offset
        held = read_u64(crash.prog, place, "the free pointer")
        link = hidden_pointer(crash.prog, held, place)
    except (FaultError, LookupError, AttributeError, Unavailable):
        return True
    return link is None or not link.next_free


def _untold(neighbour: Neighbour) -> Neighbour:
    return neighbour if neighbour.allocated is False else replace(neighbour, allocated=None)


def _differs_at(report: SlabReport, address: int) -> bool:
    return any(
        one.address <= address < one.address + one.length
        for area in report.areas
        for one in area.differences
    )


@facts
class _Printed:
    what: str | None = None
    object: int | None = None
    bytes: re.Match[str] | None = None


def _printed(crash: Crash) -> _Printed:
    what = area = place = held = None
    for line in printed_lines(crash, before=_BEFORE, after=60):
        if what is None and (found := _WHAT.search(line)):
            what = found["what"]
        if area is None and (found := _AREA.search(line)):
            area = found["what"]
        if place is None and (found := _OBJECT.search(line)):
            place = int(found["object"], 16)
        if held is None and (found := _BYTES.search(line)):
            held = found
    return _Printed(what=area or what, object=place, bytes=held) if what else _Printed()


def _is_slub_bug(crash: Crash) -> bool:
    # mm/slub.c: set_freepointer() has BUG_ON(object == fp) against an object freed twice.
    if crash.oops is not None and "mm/slub.c" in crash.oops.message:
        return True
    address = report_ip(crash)
    if address is None:
        return False
    try:
        found = find_bug(crash.prog, address)
    except Unavailable:
        return False
    return found is not None and bool(found.file) and str(found.file).endswith("mm/slub.c")


def _object(crash: Crash, *, among_registers: bool) -> tuple[int, str]:
    try:
        return _argument(crash), "argument"
    except Unavailable:
        found = set(_free_objects(crash)) if among_registers else set()
        if len(found) != 1:
            raise
        return found.pop(), "register"


def _free_objects(crash: Crash) -> Iterator[int]:
    # The object that is freed is in some register: set_freepointer() has just compared it.
    for value in set(registers_of(crash).values()):
        try:
            found = slab_identity(crash.prog, value, aliases=False)
        except Unavailable:
            continue
        if found.is_start and found.allocated is False:
            yield value


def _argument(crash: Crash) -> int:
    for function, name in _ARGUMENTS:
        if not has_frame(crash, function):
            continue
        try:
            return argument(crash, function, name)
        except Unavailable:
            continue
    raise Unavailable("the slab object", Reason.NOT_SAVED, "no frame's arguments tell it")
