"""The faulting instruction alone: the document ``crashkit.explain/1`` and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.columns import WIDTH, wrap
from crashkit.report.document import build_limits, envelope
from crashkit.report.escape import safe_tree
from crashkit.report.fault_part import build_fault
from crashkit.report.frames_part import build_frames
from crashkit.report.panic_part import build_panic
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target
from crashkit.report.text_bt import register_rows
from crashkit.report.text_fault import fault_block
from crashkit.report.text_head import title_line, what
from crashkit.report.text_open import next_lines, standing_out

if TYPE_CHECKING:
    from crashkit.crash import Crash

EXPLAIN = "crashkit.explain/1"


def build_explain(crash: Crash) -> Json:
    """Build the document: ``fault`` and ``panic`` as in a report."""
    fault = crash.fault
    part = Part()
    part.put("target", build_target(crash))
    part.put("panic", build_panic(crash))
    part.put("fault", None if fault is None else build_fault(fault), Reason.NOT_APPLICABLE)
    part.put("frames", build_frames(crash))
    part.put("objects", [])
    part.put("limits", build_limits(crash.limits))
    return {**envelope(EXPLAIN), **part.done()}


def render_explain(document: Json, verbose: int = 0) -> str:
    """Render the document.

    :param verbose: 1 adds the registers
    """
    document = safe_tree(document)
    fault = document["fault"]
    blocks = [[title_line(document)], what(document, None) + standing_out(document, brief=True)]
    if fault is not None:
        blocks.append(fault_block(fault))
        if verbose:
            blocks.append(["REGISTERS", *register_rows(fault["registers"])])
        blocks.append(next_lines(document))
    blocks.append([line for entry in document["limits"] for line in _limit(entry)])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _limit(entry: Json) -> list[str]:
    remedy = f"; {entry['remedy']}" if entry["remedy"] else ""
    return wrap(f"{entry['what']} ({entry['reason']}){remedy}", WIDTH, " " * 7, "LACKS  ")
