"""The STACK block: crash's frame numbers, RIP where the fault is, arguments beside."""

from __future__ import annotations

from crashkit.report.argument_text import arguments
from crashkit.report.columns import WIDTH, bare, wrap
from crashkit.report.parts import Json
from crashkit.report.printed_part import PRINTED, PRINTED_UNSURE
from crashkit.report.text_fault import place
from crashkit.report.text_places import source_line
from crashkit.report.text_proofs import proof_lines

_PLACE = 46
_SHOWN = 8
"""Frames from the fault outward that get a row of their own unless asked for all."""


def stack_block(document: Json, verbose: int = 0) -> list[str]:
    """The block with its heading; the panic path and the far callers folded."""
    frames = [f for f in _sure(document, verbose) if verbose or not f["inlined"]]
    if not frames:
        return ["STACK  not available" + _why(document)]
    start = _first_shown(frames, document["fault"])
    rows = frames[start:] if verbose > 1 else frames[start : start + _SHOWN]
    rest = frames[start + len(rows) :]
    heading = "STACK" + _printed(document, verbose)
    if start:
        heading += f"  ({_span(frames[:start])}: {_ends(frames[:start])})"
    lines = [heading]
    for frame in rows:
        lines += frame_lines(frame, verbose)
    if rest:
        names = ", ".join(frame["function"] or bare(frame["pc"]) for frame in rest)
        lines += wrap(f"{_span(rest)} {names}   (-vv)", WIDTH, " " * 7, "  ...  ")
    return lines


def is_printed(document: Json) -> bool:
    """Whether the frames are those of the kernel's own call trace, not unwound ones."""
    return any(frame["how"] in (PRINTED, PRINTED_UNSURE) for frame in document["frames"])


def _printed(document: Json, verbose: int) -> str:
    if not is_printed(document):
        return ""
    told = document["panic"]["facts"]
    whose = f" for {told['comm']} ({told['pid']})" if {"comm", "pid"} <= told.keys() else ""
    unsure = sum(frame["how"] == PRINTED_UNSURE for frame in document["frames"])
    words = "; ? may be left over from earlier"
    if unsure and len(_sure(document, verbose)) < len(document["frames"]):
        words = f"; {unsure} that it marks as unreliable are left out (-v)"
    return f" as the kernel printed it{whose}" + (words if unsure else "")


def _sure(document: Json, verbose: int) -> list[Json]:
    # Without frame pointers and ORC every entry is unreliable: then all are shown.
    frames: list[Json] = document["frames"]
    sure = [frame for frame in frames if frame["how"] != PRINTED_UNSURE]
    return sure if len(sure) > 1 and not verbose else frames


def _first_shown(frames: list[Json], fault: Json | None) -> int:
    # The faulting frame; without one the frame that called panic(), else the innermost.
    for number, frame in enumerate(frames):
        if fault is not None and frame["interrupted"] and frame["pc"] == fault["ip"]:
            return number
    if fault is None:
        for number, frame in enumerate(frames):
            if frame["function"] in ("panic", "vpanic"):
                return number
    return 0


def _why(document: Json) -> str:
    stack = [entry for entry in document["limits"] if "stack" in entry["what"]]
    return f": {stack[0]['reason']}, {stack[0]['what']}" if stack else ""


def _span(frames: list[Json]) -> str:
    first, last = frames[0]["index"], frames[-1]["index"]
    return f"#{first}" if first == last else f"#{first}-#{last}"


def _ends(frames: list[Json]) -> str:
    names = [frame["function"] or bare(frame["pc"]) for frame in frames]
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} ... {names[-1]}"


def frame_lines(frame: Json, verbose: int = 0) -> list[str]:
    """One frame: number, place, source, and the arguments that were recovered."""
    number = "RIP" if frame["interrupted"] else f"#{frame['index']}"
    where = place(frame["function"], frame["offset"], frame["module"], None)
    if frame["how"] == PRINTED_UNSURE:
        where = f"? {where}"
    if frame["function"] is None:
        where = bare(frame["pc"])
    tail = "  [inlined]" if frame["inlined"] else ""
    head = f"  {number:<4} {where}{tail}"
    shown = "  ".join(arguments(frame, lost=bool(verbose), pointers=True, named=bool(verbose)))
    if frame["source"]:
        source = source_line(frame["source"])
        shown = f"{source}  {shown}" if shown else source
    if not shown:
        return [head]
    width = max(_PLACE + 6, len(head) + 2)
    lines = wrap(shown, WIDTH, " " * (_PLACE + 6), head.ljust(width))
    return [*lines, *(proof_lines(frame, 11, together=True) if verbose > 1 else [])]
