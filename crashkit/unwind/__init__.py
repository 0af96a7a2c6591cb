"""Stack traces of a dump: frames, segments, and the registers known in each."""

from crashkit.unwind.frames import Frame, RegisterValue, Segment
from crashkit.unwind.sources import source_places
from crashkit.unwind.walk import Context, EntryLocation, Recover, Walk, walk

__all__ = [
    "Context",
    "EntryLocation",
    "Frame",
    "Recover",
    "RegisterValue",
    "Segment",
    "Walk",
    "source_places",
    "walk",
]
