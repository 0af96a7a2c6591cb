"""The check that failed, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render which BUG() or WARN() it was; nothing where the title says it all."""
    entry = section["entry"]
    if section["no_check"]:
        return labelled("CHECK", [section["no_check"]])
    if not section["where"]:
        return []
    name = "a check" if entry is None else "WARN()" if entry["warning"] else "BUG()"
    once = " once" if entry and entry["once"] else ""
    lines = [f"{name}{once} at {section['where']} (by the {section['origin']})"]
    if section["message"]:
        by_it = entry is None or entry["warning"]
        said = "it said" if by_it else "printed right before it ~"
        lines.append(f"{said}: {section['message']}")
    if entry and entry["format"]:
        lines.append(f"its format: {entry['format']}")
    if section["conflict"]:
        lines.append(f"CONFLICT: {section['conflict']}")
    if verbose and entry:
        lines.append(f"bug_entry {bare(entry['entry'])}, instruction {bare(section['address'])}")
    return labelled("CHECK", lines)
