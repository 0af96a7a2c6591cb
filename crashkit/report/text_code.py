"""The block of code that is not as its vmlinux has it; nothing where all of it is."""

from __future__ import annotations

from crashkit.report.columns import labelled
from crashkit.report.parts import Json

_SHOWN = 8
_MOST_BYTES = 16


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Say which bytes of the code on the stack are corrupt."""
    corrupt = section["corrupt"]
    if not corrupt:
        return []
    lines = [_difference(one) for one in (corrupt if verbose else corrupt[:_SHOWN])]
    if len(corrupt) > len(lines):
        lines.append(f"and {len(corrupt) - len(lines)} more (-v)")
    return labelled("CODE", ["The kernel's code in memory is not its own:", *lines])


def _difference(one: Json) -> str:
    was, is_ = bytes.fromhex(one["expected"]), bytes.fromhex(one["found"])
    bits = sum((a ^ b).bit_count() for a, b in zip(was, is_, strict=True))
    flip = "one bit" if bits == 1 else f"{bits} bits"
    where = one["symbol"] or one["address"]
    return f"{where}: {_hex(was)} in vmlinux, {_hex(is_)} here ({flip})"


def _hex(data: bytes) -> str:
    if len(data) <= _MOST_BYTES:
        return data.hex(" ")
    return f"{data[:_MOST_BYTES].hex(' ')} ... ({len(data)} bytes)"
