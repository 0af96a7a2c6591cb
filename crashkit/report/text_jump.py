"""A jump to where no code is, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json

_KINDS = {
    "null": "NULL",
    "small": "a number, not an address",
    "user": "a user-space address",
    "module-area": "the modules' area, where no module is now",
    "kernel-data": "data of the kernel",
    "not-canonical": "no address at all",
}


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render where the jump went and who jumped."""
    identity = f": {section['identity']}" if section["identity"] else ""
    kind = _KINDS.get(section["kind"], section["kind"])
    lines = [f"to {bare(section['target'])}, {kind}{identity}"]
    if section["last_unloaded"]:
        lines.append(f"the module unloaded last: {section['last_unloaded']}")
    if section["caller"] is None:
        reason = section.get("absent", {}).get("caller", "unknown")
        lines.append(f"who jumped: not known ({reason})")
    elif section["call"] is None:
        lines.append(f"would have returned to {section['caller']}")
    else:
        through = "through a pointer" if section["call_is_indirect"] else "directly"
        lines.append(f"called {through} before {section['caller']}: {section['call']}")
    return labelled("JUMP", lines)
