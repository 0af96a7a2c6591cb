"""An NMI that ended the kernel, as text."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render why the NMI came and what it hit."""
    code = section["code"]
    port = "" if code is None else f" (port 0x61 read {code:#04x}: {section['code_words']})"
    cpu = "" if section["cpu"] is None else f" on CPU {section['cpu']}"
    lines = [f"cause: {section['cause'] or 'not known'}{cpu}{port}"]
    told = [name for name, value in section["settings"].items() if value and name != "absent"]
    if told:
        lines.append(f"a panic because of kernel.{', kernel.'.join(told)}")
    if section["unknown_before"] is not None:
        lines.append(f"unknown NMIs of this CPU: {section['unknown_before']}")
    if section["interrupted"]:
        lines.append(f"the CPU ran {section['interrupted']}")
    return labelled("NMI", lines)
