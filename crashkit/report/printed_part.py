"""What only the kernel's own words tell, as parts of a document: trace, code, modules, damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.parts import Json, Part

if TYPE_CHECKING:
    from crashkit.oops import CodeLocation, Oops, Problem, TraceEntry

PRINTED = "printed"
"""``how`` of a frame that the kernel printed."""
PRINTED_UNSURE = "printed as unreliable"
"""The same for one it was not sure of: the address was on the stack, no more."""

_REPORTERS = ("dump_stack", "__dump_stack", "panic", "show_", "nmi_", "sched_show_task")
# What a trace begins with that was not taken from the interrupted registers.
_ENTRIES = ("asm_", "apic_timer_interrupt", "common_interrupt", "ret_from_intr", "error_entry")
_REASONS = {
    "truncated": Reason.NOT_SAVED, "no-trace": Reason.NOT_SAVED, "headless": Reason.NOT_SAVED,
    "dropped": Reason.NOT_SAVED, "interleaved": Reason.AMBIGUOUS, "merged": Reason.CORRUPTED,
}  # fmt: skip
_REMEDIES = {
    "truncated": "the whole log: from the console server, netconsole or pstore, or the dump's",
    "no-trace": "the whole log, or the dump",
    "headless": "the lines before it: from the console server, netconsole or pstore",
    "dropped": "the dump, whose log is whole; or a faster console",
    "interleaved": "the dump; or boot with CONFIG_PRINTK_CALLER",
    "merged": "the dump, whose log is whole",
}


def build_printed_frames(oops: Oops | None) -> list[Json]:
    """Build ``frames`` of a printed call trace, the interrupted place first.

    What is not printed is null: addresses on the stack, and the arguments with them.
    """
    if oops is None:
        return []
    rows: list[_Row] = [_Row(entry, False) for entry in oops.trace]
    if oops.ip is not None and oops.ip.function is not None:
        at = _reporters(oops)
        follows = oops.trace[at] if at < len(oops.trace) else None
        # arch/arm64 begins the trace with the interrupted place itself.
        same = follows is not None and (follows.function, follows.offset) == (
            oops.ip.function, oops.ip.offset)  # fmt: skip
        rows[at : at + int(same)] = [_Row(oops.ip, True)]
    return [_frame(index, row, oops) for index, row in enumerate(rows)]


def _reporters(oops: Oops) -> int:
    # Entries of the interrupt that printed the trace: they stand above what it interrupted.
    if not oops.trace or not oops.trace[0].function.startswith(_REPORTERS):
        return 0
    segments = [entry.segment for entry in oops.trace]
    if segments[0] == "task" or "task" not in segments:
        return 0
    at = segments.index("task")
    while at < len(segments) and oops.trace[at].function.startswith(_ENTRIES):
        at += 1
    return at


@dataclass(frozen=True)
class _Row:
    place: TraceEntry | CodeLocation
    interrupted: bool


def _frame(index: int, row: _Row, oops: Oops) -> Json:
    place = row.place
    part = Part()
    part.put("index", index)
    address = place.address
    if address is None and row.interrupted:
        address = oops.registers.get("rip")
    part.put_address("pc", address)
    part.put("function", place.function)
    part.put("offset", place.offset)
    part.put("size", place.size)
    part.put_plain("module", place.module)
    part.put_plain("source", None)
    part.put("inlined", getattr(place, "inlined", False))
    part.put("segment", _segment(row, oops))
    part.put("interrupted", row.interrupted)
    part.put("exception", None)
    part.put("how", PRINTED if getattr(place, "reliable", True) else PRINTED_UNSURE)
    part.put("sp", None)
    part.put("slot", None)
    part.put("arguments", [])
    part.put("missing", [])
    return part.done()


def _segment(row: _Row, oops: Oops) -> str:
    # "task" is also what stands where the kernel marks no stacks.
    marked = {entry.segment for entry in oops.trace} - {"task"}
    if row.interrupted or not marked:
        return "unknown"
    return str(getattr(row.place, "segment", "unknown"))


def build_code(oops: Oops | None) -> list[Json]:
    """Build the list of instructions around the trapping one, as far as ``Code:`` is certain."""
    from crashkit.fault import printed_listing  # it disassembles: few crashes ask for it

    lines = []
    for one in printed_listing(oops) if oops is not None else ():
        part = Part()
        part.put("offset", one.offset)
        part.put("instruction", one.text)
        part.put("trapping", one.trapping)
        lines.append(part.done())
    return lines


def build_modules(oops: Oops | None) -> list[Json] | None:
    """Build the list of modules the report names; None where it names none."""
    if oops is None or oops.modules is None:
        return None
    return [{"name": one.name, "taint": list(one.taint)} for one in oops.modules]


def build_problems(oops: Oops | None) -> list[Json]:
    """Build the list of what is wrong with the report's text."""
    return [_problem(problem) for problem in (oops.problems if oops is not None else ())]


def _problem(problem: Problem) -> Json:
    return {"name": problem.name, "statement": problem.statement}


def printed_limits(oops: Oops | None) -> list[Json]:
    """Build the ``limits`` of a report of text alone."""
    if oops is None:
        return []
    limits = [
        {
            "what": f"the text of the report: {problem.statement}",
            "reason": _REASONS[problem.name].value,
            "remedy": _REMEDIES[problem.name],
        }
        for problem in oops.problems
    ]
    if oops.trace:
        limits.append(
            {
                "what": "arguments of the functions, and every value in memory",
                "reason": Reason.NOT_APPLICABLE.value,
                "remedy": "the dump: there is only text",
            }
        )
    return limits


def fold_unasked(limits: Sequence[Json]) -> list[Json]:
    """Fold the recipes that look at memory to know whether they apply into one entry."""
    kept = [entry for entry in limits if not entry["what"].startswith("whether ")]
    unasked = len(limits) - len(kept)
    if unasked:
        what = f"whether recipes apply that look at memory first: {unasked}"
        remedy = "the dump: there is only text"
        kept.append({"what": what, "reason": Reason.NOT_APPLICABLE.value, "remedy": remedy})
    return kept
