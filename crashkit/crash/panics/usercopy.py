"""``usercopy``: a copy to or from user space beyond what of an object may be copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.call_sites import argument, has_frame
from crashkit.crash.panics.containing import Containing, containing
from crashkit.crash.panics.printed import find_printed
from crashkit.decode.fields import Fields, has_member
from crashkit.decode.slab import SlabIdentity, slab_identity
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

# mm/usercopy.c: usercopy_abort()
_TEXT = (
    r"Kernel memory (?P<way>exposure|overwrite) attempt detected (?:to|from) "
    r"(?P<what>[\w ()]{1,40}?)(?: '(?P<name>[^']{1,64})')? ?"
    r"\((?:offset (?P<offset>\d{1,20}), )?size (?P<size>\d{1,20})\)"
)


@facts
class UserCopy:
    """A copy that was refused. A None field has its reason in ``absent``."""

    direction: str | None
    """``to user`` (exposure) or ``from user`` (overwrite)."""
    what: str | None
    """What the kernel says it is: ``SLUB object``, ``process stack``, …"""
    address: int | None
    """First byte copied in the kernel."""
    size: int | None
    """Bytes to copy."""
    offset: int | None
    """From the start of the object."""
    beyond: int | None
    """Bytes past the end of the object, or of what may be copied of it."""
    object: SlabIdentity | None
    region_offset: int | None
    """``kmem_cache.useroffset``: what of each object may be copied."""
    region_size: int | None
    """``kmem_cache.usersize``; 0: nothing."""
    containing: tuple[Containing, ...]
    conflicts: tuple[str, ...]
    absent: Mapping[str, Reason]


def read(crash: Crash) -> UserCopy | None:
    """Read what was to be copied; None where no copy was refused."""
    found = find_printed(crash, _TEXT, before=10, after=10)
    if found is None and not has_frame(crash, "usercopy_abort"):
        return None
    absent: dict[str, Reason] = {}
    words = found.groupdict() if found else {}
    size = int(words["size"]) if words.get("size") else None
    said = int(words["offset"]) if words.get("offset") else None
    address = _address(crash, absent)
    conflicts: list[str] = []
    identity = region = None
    if address is not None:
        try:
            identity = slab_identity(crash.prog, address)
            region = _region(crash, identity, absent)
        except Unavailable as missing:
            absent["object"] = missing.reason
    if identity is not None and said is not None and said != identity.offset:
        conflicts.append(f"offset: the log says {said}, the argument lies at {identity.offset}")
    offset = identity.offset if identity is not None else said
    ways = {"exposure": "to user", "overwrite": "from user"}
    return UserCopy(
        direction=ways.get(words.get("way") or ""),
        what=words.get("what"),
        address=address,
        size=size,
        offset=offset,
        beyond=_beyond(identity, region, size),
        object=identity,
        region_offset=None if region is None else region[0],
        region_size=None if region is None else region[1],
        containing=containing(crash, address) if address is not None else (),
        conflicts=tuple(conflicts),
        absent=absent,
    )


def _address(crash: Crash, absent: dict[str, Reason]) -> int | None:
    for function, name in (
        ("__check_object_size", "ptr"),
        ("__check_heap_object", "ptr"),
        ("check_heap_object", "ptr"),
    ):
        try:
            return argument(crash, function, name)
        except Unavailable as missing:
            absent.setdefault("address", missing.reason)
    return None


def _region(
    crash: Crash, identity: SlabIdentity, absent: dict[str, Reason]
) -> tuple[int, int] | None:
    # Since Linux kernel commit 8eb8284b4129 ("usercopy: Prepare for usercopy whitelisting")
    # (in v4.16).
    fields = Fields("struct kmem_cache")
    cache = Object(crash.prog, "struct kmem_cache *", identity.cache)
    if not has_member(cache, "useroffset"):
        absent |= dict.fromkeys(("region_offset", "region_size"), Reason.NOT_APPLICABLE)
        return None
    offset = fields.number("useroffset", cache, "useroffset")
    size = fields.number("usersize", cache, "usersize")
    if offset is None or size is None:
        absent |= dict.fromkeys(("region_offset", "region_size"), Reason.NOT_IN_DUMP)
        return None
    return offset, size


def _beyond(
    identity: SlabIdentity | None, region: tuple[int, int] | None, size: int | None
) -> int | None:
    if identity is None or size is None:
        return None
    end = identity.offset + size
    if region is not None and region[1]:
        return max(end - sum(region), 0)
    return None if identity.object_size is None else max(end - identity.object_size, 0)
