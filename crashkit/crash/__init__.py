"""Crash: the left half of the way of the data, lazily read."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.crash.folding import FoldedStack
    from crashkit.crash.opening import open_crash
    from crashkit.crash.opening import open_crash as open  # noqa: A004 - the documented name
    from crashkit.crash.parts import Banner, DebugInfo, FoundObject, Limit, Thread
    from crashkit.crash.skbs import SkbCandidate
    from crashkit.crash.stack import Stack

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

# Loaded when first used: the log alone needs none of them.
_MODULES = {
    "core": ("Crash",),
    "folding": ("FoldedStack",),
    "opening": ("open_crash",),
    "parts": ("Banner", "DebugInfo", "FoundObject", "Limit", "Thread"),
    "skbs": ("SkbCandidate",),
    "stack": ("Stack",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    asked = "open_crash" if name == "open" else name
    if asked not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[asked]}")
    found = globals()[name] = getattr(module, asked)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
