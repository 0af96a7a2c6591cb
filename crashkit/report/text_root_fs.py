"""The root file system that could not be mounted, as text."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json

_SHOWN = 6


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render what was asked for and what there was."""
    given = section["parameters"]
    words = " ".join(
        f"{name}={value}" if value else name for name, value in given.items() if name != "absent"
    )
    lines = [f"the command line says: {words or 'neither root= nor init='}"]
    if section["error"]:
        why = f" ({section['error_words']})" if section["error_words"] else ""
        lines.append(f"{section['error']}{why}")
    partitions = section["partitions"]
    shown = partitions if verbose else partitions[:_SHOWN]
    if partitions:
        lines += ["block devices there were:", *shown]
        if len(partitions) > len(shown):
            lines.append(f"and {len(partitions) - len(shown)} more (-v)")
    else:
        lines.append("block devices there were: none printed (a driver that is missing?)")
    return labelled("ROOT", lines)
