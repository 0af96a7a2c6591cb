"""Lines of text within a width: wrapping, labels, right-aligned commands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 100
"""Columns of a report; fits a ticket and half a screen."""

_GLUE = "\N{NO-BREAK SPACE}"  # textwrap breaks at ASCII white space only


def wrap(text: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
    """Wrap a text; words longer than the width stay whole.

    :param indent: put before each line, and before the first unless ``first`` is given
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [(indent if first is None else first).rstrip()]


def wrap_groups(groups: Iterable[str], separator: str, indent: str, first: str) -> list[str]:
    """Wrap groups of words; a line ends only between two groups."""
    joined = f"{separator} ".join(group.replace(" ", _GLUE) for group in groups)
    return [line.replace(_GLUE, " ") for line in wrap(joined, WIDTH, indent, first)]


def labelled(label: str, lines: Iterable[str], width: int = WIDTH) -> list[str]:
    """Put a label in front of the first of some wrapped lines, spaces before the others."""
    pad = " " * 7
    out: list[str] = []
    for line in lines:
        out += wrap(line, width, pad, pad if out else f"{label:<7}")
    return out


def with_commands(left: str, commands: list[str], indent: int = 5) -> list[str]:
    """Put commands at the right edge beside a text, as many as fit; at least the first.

    Where not even the first fits beside the text's last line it gets a line of its own.
    """
    lines = wrap(left, WIDTH, " " * indent, "")
    if not commands:
        return lines
    if len(lines[-1]) + 2 + len(commands[0]) > WIDTH:
        lines.append("")
    shown = commands[0]
    for command in commands[1:]:
        if len(lines[-1]) + 2 + len(shown) + 2 + len(command) <= WIDTH:
            shown += f"; {command}"
    lines[-1] += shown.rjust(WIDTH - len(lines[-1]))
    return lines


def flowed(label: str, items: Iterable[str], indent: int) -> list[str]:
    """Set items side by side, three spaces apart, as many on a line as fit.

    Only an item longer than a line is broken.
    """
    lines = [label.ljust(indent)]
    for item in items:
        gap = "" if len(lines[-1]) <= indent else "   "
        if gap and len(lines[-1]) + len(gap) + len(item) > WIDTH:
            lines.append(" " * indent)
            gap = ""
        if len(lines[-1]) + len(item) > WIDTH:
            lines[-1:] = wrap(item, WIDTH, " " * (indent + 2), lines[-1])
        else:
            lines[-1] += gap + item
    return [line.rstrip() for line in lines]


def bare(value: str | int | None) -> str:
    """Write a document's address as crash prints it: 16 digits, small numbers as they are.

    :param value: a small one may be a number (:func:`crashkit.report.parts.facts`)
    """
    if value is None:
        return "?"
    if isinstance(value, int):
        value = f"{value:#x}"
    if not value.startswith("0x"):
        return value
    number = int(value, 16)
    if number == 0:
        return "0"
    return f"{number:016x}" if number > 0xFFFF_FFFF else value
