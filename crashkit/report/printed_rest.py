"""Where the walk of the crashed stack ends early: what the kernel printed beyond its last frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.printed_part import PRINTED_UNSURE, build_printed_frames
from crashkit.report.text_fault import place

if TYPE_CHECKING:
    from crashkit.crash import Crash


def build_printed_rest(crash: Crash) -> list[Json]:
    """Build the frames printed beyond the last walked one; none unless the trace has that one."""
    if not crash.frames or crash.crashed_stack.reason is None:
        return []
    printed = build_printed_frames(crash.oops)
    places = [(frame["function"], frame["offset"]) for frame in printed]
    for frame in reversed(crash.frames):
        if frame.function is not None and (frame.function, frame.offset) in places:
            return printed[places.index((frame.function, frame.offset)) + 1 :]
    return []


def rest_lines(document: Json) -> list[str]:
    """Name them in one sentence; those that the kernel was not sure of are left out."""
    sure = [f for f in document["printed_rest"] if f["how"] != PRINTED_UNSURE]
    if not sure:
        return []
    names = ", ".join(place(f["function"], f["offset"], f["module"], None) for f in sure)
    return wrap(f"beyond it, as the kernel printed it: {names}", WIDTH, " " * 7, "  ...  ")
