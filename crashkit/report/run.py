"""One recipe on one dump: document ``crashkit.run/1`` and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.document import build_limits, envelope
from crashkit.report.escape import safe_tree
from crashkit.report.finding_part import build_finding
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target
from crashkit.report.text_evidence import evidence_block, history_block
from crashkit.report.text_head import fix_lines, match_line

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.finding import Finding

RUN = "crashkit.run/1"


def build_run(crash: Crash, recipe: str, finding: Finding | None, unknown: str | None) -> Json:
    """Build the document.

    :param unknown: why it is not known whether the recipe applies
    """
    part = Part()
    part.put("recipe", recipe)
    part.put("applies", None if unknown else finding is not None)
    part.put("finding", None if finding is None else build_finding(finding))
    part.put("why_unknown", unknown)
    part.put("target", build_target(crash))
    part.put("limits", build_limits(crash.limits))
    return {**envelope(RUN), **part.done()}


def render_run(document: Json, verbose: int = 0) -> str:
    """Render the document."""
    document = safe_tree(document)
    finding = document["finding"]
    if finding is None:
        words = document["why_unknown"] or "its symptom does not fit this crash"
        state = "INCONCLUSIVE" if document["why_unknown"] else "DOES NOT APPLY"
        return "\n".join(wrap(f"{document['recipe']}   {words}: {state}", WIDTH, " " * 7)) + "\n"
    blocks = [
        [*match_line(finding), *wrap(finding["claim"], WIDTH, " " * 7, "CLAIM  ")],
        fix_lines(finding) if finding["verdict"] != "refuted" else [],
        evidence_block(finding, verbose),
        history_block(finding),
    ]
    if finding["to_settle"]:
        text = "; ".join(finding["to_settle"])
        blocks.append(wrap(text, WIDTH, " " * 11, "TO SETTLE  "))
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"
