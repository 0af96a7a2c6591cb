"""Source lines and inlined functions of frames, where debug information has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from drgn import Program, SourceLocation

from crashkit.unwind.frames import Frame

_CACHE_KEY = "crashkit.sources"


def with_sources(prog: Program, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Add source lines, and the inlined functions in front of the frame they are part of.

    A frame that no debug information describes is left as it is.
    """
    return tuple(found for frame in frames for found in _expand(prog, frame))


def _expand(prog: Program, frame: Frame) -> Iterator[Frame]:
    # A return address can belong to the next line, or to the next function.
    places = source_places(prog, frame.pc if frame.interrupted else frame.pc - 1)
    for name, line in places[:-1]:
        yield replace(
            frame,
            function=name,
            offset=None,
            size=None,
            source=line,
            inlined=True,
            registers={},
        )
    yield replace(frame, source=places[-1][1]) if places else frame


def source_places(prog: Program, pc: int) -> list[tuple[str | None, str | None]]:
    """Name function and line of each inlined call at ``pc``, innermost first, then the function's.

    :returns: pairs of function and ``file:line``; none where nothing describes the code
    """
    known = prog.cache.setdefault(_CACHE_KEY, {})
    if pc not in known:
        try:
            known[pc] = [(at.name() or None, _line(at)) for at in prog.source_location(pc)]
        except LookupError:
            known[pc] = []
    found: list[tuple[str | None, str | None]] = known[pc]
    return found


def _line(location: SourceLocation) -> str | None:
    if not location.filename:
        return None
    return f"{location.filename}:{location.line}"
