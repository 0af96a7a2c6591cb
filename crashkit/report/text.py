"""The text report: a pure function of the report document."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, labelled, wrap
from crashkit.report.escape import safe_tree
from crashkit.report.ladder import ladder_block
from crashkit.report.parts import Json
from crashkit.report.printed_rest import rest_lines
from crashkit.report.text_banner import banner, short_banner
from crashkit.report.text_bt import register_rows
from crashkit.report.text_evidence import evidence_block, history_block
from crashkit.report.text_fault import fault_block, step_lines
from crashkit.report.text_hang import is_explained
from crashkit.report.text_head import (
    fix_lines,
    is_unread,
    match_line,
    refuted_line,
    title_line,
    what,
)
from crashkit.report.text_open import (
    collect_lines,
    next_lines,
    printed_code,
    search_line,
    standing_out,
)
from crashkit.report.text_packet import packet_block
from crashkit.report.text_panic import panic_blocks
from crashkit.report.text_stack import is_printed, stack_block

_MOST_LINES = 4
"""Of the report for one of the log."""


def render_text(document: Json, verbose: int = 0) -> str:
    """Render the report document as text.

    :param verbose: 1 adds values and inlined frames, 2 all frames and the arguments' proofs
    """
    document = safe_tree(document)
    leading = _leading(document)
    blocks = [[title_line(document)], ladder_block(document)]
    if leading:
        blocks += _explained(document, leading, verbose)
    else:
        blocks += _unexplained(document, verbose)
    blocks.append(_lacks(document))
    blocks.append([f"ERROR  {error}" for error in document["errors"]])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _leading(document: Json) -> list[Json]:
    # What says something, the surest first.
    told = [f for f in document["findings"] if not _is_set_aside(document, f)]
    return sorted(told, key=lambda f: (f["verdict"] != "confirmed", -f["required"]["hold"]))


def _is_set_aside(document: Json, finding: Json) -> bool:
    # Refuted; or of a dump, and nothing of it could be read.
    if finding["error"] or document["target"]["format"] == "text":
        return bool(finding["verdict"] == "refuted")
    return finding["verdict"] == "refuted" or is_unread(finding)


def _unread(document: Json) -> list[str]:
    return [
        line
        for finding in document["findings"]
        if _is_set_aside(document, finding) and finding["verdict"] != "refuted"
        for line in match_line(finding)
    ]


def _refuted(document: Json) -> list[str]:
    # What it is not comes after what it is, in a line each.
    refuted = (f for f in document["findings"] if f["verdict"] == "refuted")
    return [refuted_line(finding) for finding in refuted]


def _explained(document: Json, leading: list[Json], verbose: int) -> list[list[str]]:
    first, *others = leading
    text = document["target"]["format"] == "text"
    head = [*what(document, first), *match_line(first, from_text=text), *fix_lines(first)]
    head += [line for finding in others for line in match_line(finding, from_text=text)]
    blocks = [head + _unread(document), banner(document)]
    if document["fault"]:
        blocks.append(fault_block(document["fault"]))
        blocks += [printed_code(document), _printed_registers(document)]
    blocks += [_evidence(document, first, verbose), history_block(first)]
    for finding in others:
        heading = f"ALSO   {finding['recipe']}: {finding['verdict'].upper()}"
        blocks += [[heading, *fix_lines(finding), *evidence_block(finding, verbose)]]
    blocks.append(_refuted(document))
    blocks += panic_blocks(document, verbose)
    blocks.append([*stack_block(document, verbose), *rest_lines(document), *packet_block(document)])
    settle = [f"{finding['recipe']}: " * (len(leading) > 1) + entry
              for finding in leading for entry in finding["to_settle"]]  # fmt: skip
    if settle:
        blocks.append(wrap("; ".join(settle), WIDTH, " " * 11, "TO SETTLE  "))
    blocks.append(collect_lines(document))
    return blocks


def _evidence(document: Json, finding: Json, verbose: int) -> list[str]:
    # Of text alone most checks cannot be read: they are counted, unless asked for.
    if document["target"]["format"] != "text" or verbose:
        return evidence_block(finding, verbose)
    read = [check for check in finding["checks"] if check["holds"] is not None]
    unread = len(finding["checks"]) - len(read)
    rest = f"{unread} checks need the dump (-v)" if unread else ""
    if not read:
        return [f"EVIDENCE   {rest}"] if rest else []
    lines = evidence_block({**finding, "checks": read}, verbose)
    return [*lines, *([f"          {rest}"] if rest else [])]


def _unexplained(document: Json, verbose: int) -> list[list[str]]:
    fault = document["fault"]
    head = [*what(document, None), *_unread(document)]
    head += _no_match(document) + standing_out(document)
    full = fault is None or verbose > 0
    blocks = [head, banner(document) if full else short_banner(document)]
    blocks += panic_blocks(document, verbose)
    code = printed_code(document)
    steps = step_lines(fault) if fault and not code else []
    blocks += [
        code,
        [*steps, *stack_block(document, verbose), *rest_lines(document), *packet_block(document)],
    ]
    blocks.append(_printed_registers(document))
    if document["log_excerpt"]:
        blocks.append(["LOG", *_log(document["log_excerpt"])])
    blocks.append(_refuted(document))
    blocks.append([*next_lines(document), *collect_lines(document), *search_line(document)])
    return blocks


def _log(lines: list[str]) -> list[str]:
    # In full, as far as a line does not run on and on.
    return [part for line in lines for part in wrap(line, WIDTH, " " * 17, "  ")[:_MOST_LINES]]


def _printed_registers(document: Json) -> list[str]:
    fault = document["fault"]
    if not fault or not fault["registers"] or (document["frames"] and not is_printed(document)):
        return []
    return ["REGISTERS (as the kernel printed them)", *register_rows(fault["registers"])]


def _no_match(document: Json) -> list[str]:
    words = f"no signature fits ({_tried(document)})."
    if not is_explained(document):
        words += "  Not explained."
    if document["panic"]["intentional"]:
        words = f"none needed: intentional.  ({_tried(document)})"
    return labelled("" if _unread(document) else "MATCH", [words])


def _tried(document: Json) -> str:
    tried = document["recipes_tried"]
    if not tried:
        return "no recipes were run"
    return f"tried: {', '.join(tried)}" if len(tried) <= 3 else f"tried: {len(tried)} recipes"


def _lacks(document: Json) -> list[str]:
    lines: list[str] = []
    for entry in document["limits"]:
        remedy = f"; {entry['remedy']}" if entry["remedy"] else ""
        words = f"{entry['what']} ({entry['reason']}){remedy}"
        lines += wrap(words, WIDTH, " " * 7, " " * 7 if lines else "LACKS  ")
    return lines
