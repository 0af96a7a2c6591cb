"""Who asked for the crash, as text."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render by what way the crash was asked for, and by whom."""
    way = section["way"]
    lines = [f"asked for through {way}" if way else "asked for, the way is not known"]
    by = section["by"]
    if by:
        command = f": {by['arguments']}" if by["arguments"] else ""
        uid = f", uid {by['uid']}" if by["uid"] is not None else ""
        lines.append(f"by {by['comm']} (pid {by['pid']}{uid}){command}")
        if by["parents"]:
            chain = " < ".join(f"{one['comm']} ({one['pid']})" for one in by["parents"])
            lines.append(f"started by {chain}")
    return labelled("SYSRQ", lines)
