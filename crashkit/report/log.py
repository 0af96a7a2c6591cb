"""The kernel log by itself: document ``crashkit.log/1`` and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.report.document import envelope
from crashkit.report.escape import safe_lines
from crashkit.report.parts import Json

if TYPE_CHECKING:
    from crashkit.crash import Crash

LOG = "crashkit.log/1"


def build_log(crash: Crash) -> Json:
    """Build the document.

    :raises Unavailable: the log is not in the dump
    """
    return {**envelope(LOG), "lines": crash.log.rstrip("\n").split("\n")}


def render_log(document: Json) -> str:
    """Render the log, every line safe to print."""
    return "\n".join(line for text in document["lines"] for line in safe_lines(text)) + "\n"
