"""Crash: the left half of the way of the data, lazily read."""

from crashkit.crash.core import Crash
from crashkit.crash.folding import FoldedStack
from crashkit.crash.opening import open_crash
from crashkit.crash.parts import Banner, DebugInfo, FoundObject, Limit, Thread
from crashkit.crash.skbs import SkbCandidate
from crashkit.crash.stack import Stack

open = open_crash  # noqa: A001 - crashkit.open() is the documented name

__all__ = [
    "Banner",
    "Crash",
    "DebugInfo",
    "FoldedStack",
    "FoundObject",
    "Limit",
    "SkbCandidate",
    "Stack",
    "Thread",
    "open",
    "open_crash",
]
