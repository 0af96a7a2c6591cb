"""Why the first process ended, as text."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render how init ended and what it ran."""
    if section["signal"]:
        core = ", core dumped" if section["core_dumped"] else ""
        how = f"ended by {section['signal']}{core}"
    elif section["status"] is not None:
        how = f"exited by itself with status {section['status']}"
    else:
        how = "ended, how is not known"
    code = section["exit_code"]
    words = "" if code is None else f" (exit code {code:#x}, by the {section['origin']})"
    lines = [f"the first process {how}{words}"]
    if section["process"]:
        lines.append(f"it ran {section['process']['arguments'] or section['process']['comm']}")
    if section["conflict"]:
        lines.append(f"CONFLICT: {section['conflict']}")
    return labelled("INIT", lines)
