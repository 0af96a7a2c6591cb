"""Text from a dump made safe to print: no control bytes, no terminal commands."""

from __future__ import annotations

from typing import Any


def safe(value: object, limit: int = 4000) -> str:
    """Return ``value`` as one printable line; everything else as ``\\xNN`` or ``\\uNNNN``.

    :param limit: characters kept; more are cut and marked with ``...``
    """
    text = str(value)
    if len(text) > limit:
        text = text[:limit] + "..."
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def safe_lines(text: str) -> list[str]:
    """Split a text into lines that are safe to print; tabs become spaces."""
    return [safe(line.expandtabs()) for line in text.split("\n")]


def safe_tree(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Make every text of a JSON value safe to print, keys included."""
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, dict):
        return {safe(key): safe_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [safe_tree(item) for item in value]
    return value


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
