"""Crash: the left half of the way of the data, lazily read."""

from crashkit.crash.core import Crash, open_crash
from crashkit.crash.parts import Banner, DebugInfo, FoundObject, Limit, Thread
from crashkit.crash.skbs import SkbCandidate

open = open_crash  # noqa: A001 - crashkit.open() is the documented name

__all__ = [
    "Banner",
    "Crash",
    "DebugInfo",
    "FoundObject",
    "Limit",
    "SkbCandidate",
    "Thread",
    "open",
    "open_crash",
]
