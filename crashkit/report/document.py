"""The report document (``architecture.md`` §5): built from a Crash and its findings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.fault_part import build_fault
from crashkit.report.finding_part import build_findings
from crashkit.report.frames_part import build_frames
from crashkit.report.ladder import Rung, build_ladder
from crashkit.report.panic_part import build_panic
from crashkit.report.parts import Json, Part, address, facts, had
from crashkit.report.printed_part import fold_unasked, printed_limits
from crashkit.report.printed_rest import build_printed_rest
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash, FoundObject, Limit
    from crashkit.finding import Finding

REPORT = "crashkit.report/1"
LOG_LINES = 10
"""Lines of the kernel log shown for a crash that no instruction caused."""


def envelope(schema: str) -> Json:
    """Begin a document: its schema and the version that wrote it."""
    # The package itself stands left of every layer; it is imported by now, not by us.
    version = sys.modules["crashkit"].__version__
    return {"schema": schema, "crashkit": str(version)}


def build_report(
    crash: Crash,
    findings: Iterable[Finding],
    *,
    tried: Sequence[str] = (),
    ladder: Iterable[Rung] = (),
    limits: Sequence[Json] = (),
    errors: Sequence[str] = (),
    timing: Mapping[str, float] | None = None,
) -> Json:
    """Build the report document.

    :param tried: ids of all recipes that were asked
    :param ladder: how far the dump leads, as :func:`crashkit.doctor.climb` tells
    :param limits: further entries for ``limits``, behind those of the crash
    :param errors: sentences about broken recipes
    :param timing: seconds, by phase
    """
    fault = crash.fault
    part = Part()
    part.put("target", build_target(crash))
    part.put("panic", build_panic(crash))
    part.put("ladder", build_ladder(ladder))
    part.put("fault", None if fault is None else build_fault(fault))
    part.put("frames", build_frames(crash))
    part.put("printed_rest", build_printed_rest(crash))
    part.put("objects", [_object(found) for found in crash.objects])
    part.put("findings", build_findings(findings))
    part.put("recipes_tried", list(tried))
    part.put("log_excerpt", [] if fault is not None else _log_excerpt(crash))
    # Last of all: reading the rest is what finds out what is missing.
    part.put("limits", _limits(crash, limits))
    part.put("warnings", list(crash.warnings))
    part.put("errors", list(errors))
    part.put("timing_s", {name: round(value, 3) for name, value in (timing or {}).items()})
    document = {**envelope(REPORT), **part.done()}
    document["collect"] = _collect(document) if crash.target.format == "text" else []
    return document


def _limits(crash: Crash, limits: Sequence[Json]) -> list[Json]:
    known = [*build_limits(crash.limits), *limits]
    if crash.target.format == "text":
        return [*fold_unasked(known), *printed_limits(crash.oops)]
    return known


def _collect(document: Json) -> list[str]:
    from crashkit.report.collecting import what_to_collect  # of use for text alone

    return what_to_collect(document)


def build_limits(limits: Iterable[Limit]) -> list[Json]:
    """Build ``limits`` entries; one that repeats another is left out."""
    entries: list[Json] = []
    for limit in limits:
        entry = limit_entry(limit.what, limit.reason, limit.remedy)
        if entry not in entries:
            entries.append(entry)
    return entries


def limit_entry(what: str, reason: Reason, remedy: str) -> Json:
    """Make one ``limits`` entry."""
    return {"what": what, "reason": reason.value, "remedy": remedy}


def _object(found: FoundObject) -> Json:
    return {
        "kind": found.kind,
        "address": address(found.address),
        "found_by": found.found_by,
        "facts": facts(found.facts),
    }


def _log_excerpt(crash: Crash) -> list[str]:
    # What led to the report; its own trace is the stack that is printed anyway.
    log, _why = had(lambda: crash.log)
    lines = (log or "").rstrip("\n").split("\n")
    end = len(lines) if crash.oops is None else crash.oops.line + 2
    return [line for line in lines[:end] if line.strip()][-LOG_LINES:]
