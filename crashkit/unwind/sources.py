"""Source lines and inlined functions of frames, where debug information has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from drgn import Program, SourceLocation

from crashkit.unwind.frames import Frame


def with_sources(prog: Program, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Add source lines, and the inlined functions in front of the frame they are part of.

    A frame that no debug information describes is left as it is.
    """
    return tuple(found for frame in frames for found in _expand(prog, frame))


def _expand(prog: Program, frame: Frame) -> Iterator[Frame]:
    # A return address can belong to the next line, or to the next function.
    at = frame.pc if frame.interrupted else frame.pc - 1
    try:
        locations = list(prog.source_location(at))
    except LookupError:
        yield frame
        return
    for location in locations[:-1]:
        yield replace(
            frame,
            function=location.name() or None,
            offset=None,
            size=None,
            source=_line(location),
            inlined=True,
            registers={},
        )
    yield replace(frame, source=_line(locations[-1]))


def _line(location: SourceLocation) -> str | None:
    if not location.filename:
        return None
    return f"{location.filename}:{location.line}"
