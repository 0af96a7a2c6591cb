"""An examination of a dump: the document ``crashkit.doctor/1`` and its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from crashkit.errors import Reason
from crashkit.report.columns import WIDTH, labelled, wrap
from crashkit.report.document import build_limits, envelope
from crashkit.report.escape import safe_tree
from crashkit.report.ladder import Rung, build_ladder, ladder_block
from crashkit.report.parts import Json, Part, facts
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash

DOCTOR = "crashkit.doctor/1"
_MARKS = {"there": "+", "absent": "-", "unknown": "?", "yes": "+", "partly": "~", "no": "-"}


_STATUS = {"in-core": "from the dump itself", "mismatched": "of another build"}


def build_doctor(
    crash: Crash,
    examined: Any,  # noqa: ANN401
    left_out: Iterable[str] | None,
    ladder: Iterable[Rung] = (),
) -> Json:
    """Build the document.

    :param examined: what :func:`crashkit.doctor.examine` found
    :param left_out: kinds of pages that makedumpfile left out; None: not known
    :param ladder: how far the dump leads, as :func:`crashkit.doctor.climb` tells
    """
    left = Part()
    left.put("left_out", None if left_out is None else list(left_out), Reason.NOT_IN_DUMP)
    return {
        **envelope(DOCTOR),
        "target": build_target(crash),
        **left.done(),
        "ladder": build_ladder(ladder),
        "holds": [facts(holding) for holding in examined.holdings],
        "debuginfo": [
            {"module": d.module, "status": d.status, "path": d.path} for d in crash.debuginfo
        ],
        "offer": facts(examined.offer),
        "answers": [facts(answer) for answer in examined.answers],
        "warnings": list(crash.warnings),
        "limits": build_limits(crash.limits),
    }


def render_doctor(document: Json, verbose: int = 0) -> str:
    """Render the document as text.

    :param verbose: 1 names every module
    """
    document = safe_tree(document)
    blocks = [
        _file(document),
        ladder_block(document),
        _holds(document),
        _debuginfo(document, verbose),
        _answers(document),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _file(document: Json) -> list[str]:
    target = document["target"]
    words = [target["format"], *([target["compression"]] if target["compression"] else [])]
    if document["left_out"]:
        words.append("without " + ", ".join(document["left_out"]))
    if target["truncated"]:
        words.append("TRUNCATED")
    lines = [f"{target['path']}: {', '.join(words)}"]
    kernel = f"Linux {target['release'] or '(release unknown)'} {target['version'] or ''}".rstrip()
    build = target["build_id"] or "unknown"
    lines.append(f"{kernel}, build id {build}")
    return labelled("FILE", lines + document["warnings"])


def _holds(document: Json) -> list[str]:
    lines = []
    for entry in document["holds"]:
        why = f" ({entry['reason']})" if entry["reason"] else ""
        detail = f"{entry['detail']}{why}" if entry["detail"] else why.strip(" ()")
        first = f"     {_MARKS[entry['state']]} {entry['what']:<20}"
        lines += wrap(detail or "?", WIDTH, " " * 27, first)
    return ["HOLDS", *lines]


def _debuginfo(document: Json, verbose: int) -> list[str]:
    lines = []
    by_status: dict[str, list[str]] = {}
    for entry in document["debuginfo"]:
        if entry["module"] == "vmlinux":
            path = f": {entry['path']}" if entry["path"] else ""
            lines.append(f"vmlinux: {_STATUS.get(entry['status'], entry['status'])}{path}")
        else:
            by_status.setdefault(entry["status"], []).append(entry["module"])
    for status, names in by_status.items():
        shown = ", ".join(names if verbose else names[:8])
        more = "" if verbose or len(names) <= 8 else f" and {len(names) - 8} more"
        modules = "1 module" if len(names) == 1 else f"{len(names)} modules"
        lines.append(f"{modules} {_STATUS.get(status, status)}: {shown}{more}")
    offer = document["offer"]
    if not any(e["module"] == "vmlinux" and e["status"] == "found" for e in document["debuginfo"]):
        ways = []
        is_text = document["target"]["format"] == "text"
        if not offer["distribution"] and not is_text:
            ways.append("name the vmlinux that was built with this kernel (-s)")
        if offer["package"]:
            ways.append(f"{offer['distribution']}: {offer['command']}")
        ways += offer["urls"]
        if offer["urls"]:
            ways.append("--download, with any command, asks these servers for it")
        elif not is_text:
            ways.append("name its vmlinux (-s); without its build id no server can be asked")
        lines += [f"{'or' if number else 'to get it'}: {way}" for number, way in enumerate(ways)]
    return labelled("DEBUG", lines) if lines else []


def _answers(document: Json) -> list[str]:
    lines = ["ANSWERS  + yes   ~ partly   - no"]
    for entry in document["answers"]:
        text = entry["question"]
        if entry["lacks"]:
            text += f": lacks {', '.join(entry['lacks'])}"
        if entry["remedy"]:
            text += f" (get: {entry['remedy']})"
        lines += wrap(text, WIDTH, " " * 7, f"     {_MARKS[entry['answered']]} ")
    return lines
