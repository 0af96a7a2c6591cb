"""Kernel log text alone: the document ``crashkit.oops/1`` and its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.columns import WIDTH, wrap
from crashkit.report.document import envelope
from crashkit.report.escape import safe_tree
from crashkit.report.fault_part import build_fault
from crashkit.report.parts import Json, Part, address, facts
from crashkit.report.printed_part import (
    PRINTED_UNSURE,
    build_code,
    build_modules,
    build_printed_frames,
    build_problems,
)
from crashkit.report.text_banner import taint_words
from crashkit.report.text_bt import register_rows
from crashkit.report.text_fault import place

if TYPE_CHECKING:
    from crashkit.oops import Oops

OOPS = "crashkit.oops/1"
_SHOWN = 8


def build_oops(
    path: str, reports: Sequence[Oops], *, ended: int | None = None, warnings: Sequence[str] = ()
) -> Json:
    """Build the document.

    :param path: of the log; ``-`` for standard input
    :param reports: the first cause first, then the others as printed
    :param ended: number in ``reports`` of the one that ended the kernel
    :param warnings: sentences about what could not be read as it should
    """
    part = Part()
    part.put_plain("path", path)
    part.put("reports", [_report(report) for report in reports])
    part.put("ended", ended)
    part.put("warnings", list(warnings))
    return {**envelope(OOPS), **part.done()}


def _report(oops: Oops) -> Json:
    from crashkit.fault import printed_fault  # it disassembles: only where there is a report

    fault = printed_fault(oops)
    part = Part()
    part.put("title", oops.title)
    part.put("kind", oops.kind)
    part.put("message", oops.message)
    part.put("function", oops.function)
    part.put("stack_key", oops.stack_key, Reason.NOT_IN_DUMP)
    part.put("fatal", oops.fatal)
    part.put("intentional", oops.intentional)
    part.put("panic_reason", oops.panic)
    part.put("line", oops.line + 1)
    part.put("time_s", oops.time, Reason.NOT_IN_DUMP)
    part.put("count", oops.count)
    _put_who(part, oops)
    part.put("fault", None if fault is None else build_fault(fault))
    part.put_address("fault_address", oops.fault_address, Reason.NOT_IN_DUMP)
    part.put("access", oops.access, Reason.NOT_IN_DUMP)
    part.put("error_code", oops.error_code, Reason.NOT_IN_DUMP)
    part.put("trace", build_printed_frames(oops))
    part.put("registers", {name: address(value) for name, value in oops.registers.items()})
    part.put("code", build_code(oops))
    part.put("code_bytes", oops.code.hex())
    part.put("trapping_byte", oops.trapping_byte)
    part.put("modules", build_modules(oops), Reason.NOT_IN_DUMP)
    part.put("last_unloaded", oops.last_unloaded)
    part.put("facts", facts(oops.facts))
    part.put("problems", build_problems(oops))
    return part.done()


def _put_who(part: Part, oops: Oops) -> None:
    for key in ("arch", "release", "build", "hardware", "cpu", "pid", "comm", "uid", "context"):
        part.put(key, getattr(oops, key), Reason.NOT_IN_DUMP)
    taint = None if oops.taint is None else list(oops.taint)
    part.put("taint", taint, Reason.NOT_IN_DUMP)


def render_oops(document: Json, verbose: int = 0) -> str:
    """Render the document as text.

    :param verbose: 1 adds registers, code and the modules, 2 all entries of the traces
    """
    document = safe_tree(document)
    if not document["reports"]:
        return "No report of a crash, hang or warning in this log.\n"
    blocks = [
        _block(number, report, document, verbose)
        for number, report in enumerate(document["reports"])
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _block(number: int, report: Json, document: Json, verbose: int) -> list[str]:
    lines = [report["title"]]
    lines += wrap(_where(number, report, document), WIDTH, " " * 4, "  ")
    lines += wrap(f'"{report["message"]}"', WIDTH, " " * 4, "  ")
    who = [_named("CPU", report["cpu"]), _named("PID", report["pid"]), report["comm"],
           report["context"], report["arch"], report["release"], report["hardware"]]  # fmt: skip
    if said := [word for word in who if word]:
        lines += wrap(", ".join(said), WIDTH, " " * 4, "  ")
    if taint := taint_words(report["taint"], report["release"]):
        lines += wrap(taint, WIDTH, " " * 9, "  taint  ")
    lines += _fault(report)
    lines += _trace(report, verbose)
    if verbose:
        lines += _details(report)
    for problem in report["problems"]:
        lines += wrap(f"{problem['name']}: {problem['statement']}", WIDTH, " " * 7, "  BUT  ")
    return lines


def _where(number: int, report: Json, document: Json) -> str:
    words = [f"{report['kind']}, line {report['line']}"]
    if report["time_s"] is not None:
        words.append(f"{report['time_s']:.6f} s")
    several = len(document["reports"]) > 1
    if several and number == 0:
        words.append("the first cause")
    if several and number == document["ended"]:
        words.append("ended the kernel")
    if report["stack_key"]:
        words.append(f"key {report['stack_key'][:12]}")
    return ", ".join(words)


def _named(label: str, value: int | None) -> str | None:
    return None if value is None else f"{label} {value}"


def _fault(report: Json) -> list[str]:
    fault = report["fault"]
    if fault is None or (fault["instruction"] is None and fault["address"] is None):
        return []
    words = [fault["instruction"] or "", fault["access"] or ""]
    if fault["address"]:
        words.append(fault["address"])
    statement = fault["diagnosis"]["statement"]
    shown = " ".join(word for word in words if word)
    if statement and statement != report["message"]:
        shown += f": {statement}"
    return wrap(shown, WIDTH, " " * 9, "  fault  ")


def _trace(report: Json, verbose: int) -> list[str]:
    entries = report["trace"]
    sure = [entry for entry in entries if entry["how"] != PRINTED_UNSURE]
    shown = entries if verbose else (sure or entries)
    limit = len(shown) if verbose > 1 else _SHOWN
    lines = []
    for entry in shown[:limit]:
        mark = "RIP" if entry["interrupted"] else "  ?" if entry["how"] == PRINTED_UNSURE else ""
        name = place(entry["function"], entry["offset"], entry["module"], entry["size"])
        lines.append(f"    {mark:<4}{name}")
    rest = len(shown) - limit
    return [*lines, *([f"        ... {rest} more (-vv)"] if rest > 0 else [])]


def _details(report: Json) -> list[str]:
    lines = []
    for one in report["code"]:
        offset = "" if one["offset"] is None else f"+{one['offset']:#x}"
        mark = "  <-- trapping" if one["trapping"] else ""
        lines.append(f"    {offset:>7}  {one['instruction']}{mark}")
    if report["registers"]:
        lines += register_rows(report["registers"])
    names = [_module(module) for module in report["modules"] or ()]
    return lines + (wrap(" ".join(names), WIDTH, " " * 11, "  modules  ") if names else [])


def _module(module: Json) -> str:
    letters = "".join(module["taint"])
    return f"{module['name']}({letters})" if letters else str(module["name"])
