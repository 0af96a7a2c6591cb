"""A reference counter that a check complained of, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json

_STATES = {"saturated": "saturated: the check set it so", "0": "0", "in use": "in use"}


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render the counter, its value and whose it is."""
    lines = []
    if section["message"]:
        lines.append(section["message"])
    if section["address"] is None:
        reason = section.get("absent", {}).get("address", "unknown")
        return labelled("COUNT", [*lines, f"which counter: not known ({reason})"])
    identity = f", {section['identity']}" if section["identity"] else ""
    value = "not in the dump"
    if section["value"] is not None:
        value = f"{section['value']} ({_STATES[section['state']]})"
    lines.append(f"refcount_t {bare(section['address'])}{identity}: {value}")
    for one in section["containing"]:
        member = f".{one['member']}" if one["member"] else ", its start"
        lines.append(f"that is ({one['ctype']} {bare(one['object'])}){member},"
                     f" {one['argument']} of {one['function']}()")  # fmt: skip
    return labelled("COUNT", lines)
