"""Disassembly: the document ``crashkit.dis/1`` and its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.report.document import build_limits, envelope
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json, Part
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.fault.listing import Line, Listing

DIS = "crashkit.dis/1"
_COMMENT_AT = 96


def build_dis(crash: Crash, listing: Listing, asked: int | None) -> Json:
    """Build the document.

    :param asked: the address that was asked for; None for the function
    """
    fault = crash.fault
    trapping = fault.ip if fault is not None else None
    function = listing.function
    part = Part()
    part.put("symbol", function.name)
    part.put_address("start", function.address)
    part.put("size", function.size)
    part.put_plain("module", function.module)
    part.put_address("asked", asked)
    part.put_plain("from_file", listing.from_file)
    part.put_plain("missing_bytes", listing.missing)
    part.put_plain("lines", [_line(line, trapping) for line in listing.lines])
    limits = build_limits(crash.limits)
    return {
        **envelope(DIS),
        "target": build_target(crash),
        **part.done(),
        "limits": limits,
    }


def _line(line: Line, trapping: int | None) -> Json:
    part = Part()
    part.put_address("address", line.address)
    part.put("offset", line.offset)
    part.put("bytes", line.data.hex(" "))
    part.put("instruction", line.text)
    part.put_plain("target", line.target)
    part.put_plain("comments", list(line.comments))
    part.put_plain("source", line.source)
    part.put_plain("trapping", line.address == trapping)
    return part.done()


def render_dis(document: Json, verbose: int = 0) -> str:
    """Render the document as crash's ``dis`` does, members as comments.

    :param verbose: 1 adds the bytes, and every reading of an access
    """
    document = safe_tree(document)
    lines: list[str] = []
    for line in document["lines"]:
        if line["source"]:
            lines.append(line["source"])
        lines.append(_text(line, document, verbose))
    if document["from_file"]:
        lines.append("(bytes that are not in the dump come from the debug file: not what ran)")
    if document["missing_bytes"]:
        lines.append(f"({document['missing_bytes']} bytes of it are not in the dump)")
    return "\n".join(lines) + "\n"


def _text(line: Json, document: Json, verbose: int) -> str:
    # scripts/decodecode marks the trapping line with a star and words.
    mark = "*" if line["trapping"] else " "
    asked = ">" if line["address"] == document["asked"] else " "
    head = f"{mark}{asked}{line['address']} <{document['symbol']}+{line['offset']:#x}>: "
    code = f"{line['bytes']:<32} " if verbose else ""
    text = f"{head}{code}{line['instruction']}"
    if line["target"]:
        text += f" <{line['target']}>"
    notes = line["comments"] if verbose else line["comments"][:1]
    comment = " or ".join(notes)
    if not verbose and len(line["comments"]) > 1:
        comment += f" or {len(line['comments']) - 1} more"
    if comment:
        text = f"{text:<{_COMMENT_AT}}  # {comment}"
    return text + ("  <-- trapping instruction" if line["trapping"] else "")
