"""Machine checks, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json

_SHOWN = 4


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render each record: CPU, bank, what the error code says."""
    records = section["records"]
    lines = []
    for one in records if verbose else records[:_SHOWN]:
        status = one["status"]
        place = f" at {bare(one['address'])}" if one["address"] is not None else ""
        lines.append(f"CPU {one['cpu']} bank {one['bank']}: {status['words']}{place};"
                     f" {', '.join(status['flags'])} (status {_text(status['status'])},"
                     f" by the {one['origin']})")  # fmt: skip
    if len(records) > len(lines):
        lines.append(f"and {len(records) - len(lines)} more (-v)")
    if section["corroborated"] is False:
        lines.append("CONFLICT: memory and the log name different errors")
    return labelled("MCE", lines)


def _text(value: object) -> str:
    return f"{value:#x}" if isinstance(value, int) else str(value)
