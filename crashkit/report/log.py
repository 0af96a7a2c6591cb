"""The kernel log by itself: document ``crashkit.log/1`` and its text."""

from __future__ import annotations

from crashkit.report.document import envelope
from crashkit.report.escape import safe_lines
from crashkit.report.parts import Json

LOG = "crashkit.log/1"


def build_log(text: str) -> Json:
    """Build the document of a log, oldest line first."""
    return {**envelope(LOG), "lines": text.rstrip("\n").split("\n")}


def render_log(document: Json) -> str:
    """Render the log, every line safe to print."""
    return "\n".join(line for text in document["lines"] for line in safe_lines(text)) + "\n"
