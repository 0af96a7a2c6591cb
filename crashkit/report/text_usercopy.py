"""A refused copy to or from user space, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render what was to be copied and how far it went past the object."""
    way = section["direction"] or "to or from user"
    lines = [f"{section['size']} bytes {way}, kernel address {bare(section['address'])}"]
    if section["object"]:
        one = section["object"]
        lines.append(f"in {section['what'] or 'slab object'} {one['cache_name']} of"
                     f" {one['object_size']} bytes at {bare(one['object_start'])},"
                     f" offset {section['offset']}")  # fmt: skip
    elif section["what"]:
        lines.append(f"in {section['what']}, offset {section['offset']}")
    if section["region_size"] is not None:
        first, size = section["region_offset"], section["region_size"]
        allowed = f"bytes {first} to {first + size}" if size else "nothing"
        lines.append(f"may be copied of each object: {allowed}")
    if section["beyond"]:
        lines.append(f"the last {section['beyond']} bytes are beyond that")
    return labelled("COPY", [*lines, *(f"CONFLICT: {one}" for one in section["conflicts"])])
