"""A division that faulted, as text."""

from __future__ import annotations

from crashkit.report.columns import bare, labelled
from crashkit.report.parts import Json


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render what was divided by what."""
    where = section["divisor_operand"]
    if section["divisor_address"] is not None:
        where = f"memory at {bare(section['divisor_address'])}, read again"
    numbers = f"{section['dividend']} / {section['divisor']}"
    words = f"{section['instruction']}: {numbers}, {section['cause']}; the divisor is in {where}"
    return labelled("DIVIDE", [words])
