"""crashkit turns a Linux vmcore into an explained crash.

Importing it is cheap and changes nothing: the names below are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from crashkit._version import __version__

if TYPE_CHECKING:
    from crashkit import decode
    from crashkit.crash import Crash
    from crashkit.crash import open_crash as open  # noqa: A004 - the documented name
    from crashkit.errors import CrashkitError, Unavailable
    from crashkit.pipeline import triage

__all__ = ["Crash", "CrashkitError", "Unavailable", "__version__", "decode", "open", "triage"]

_HOME = {
    "Crash": ("crashkit.crash", "Crash"),
    "CrashkitError": ("crashkit.errors", "CrashkitError"),
    "Unavailable": ("crashkit.errors", "Unavailable"),
    "open": ("crashkit.crash", "open_crash"),
    "triage": ("crashkit.pipeline", "triage"),
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        module, attribute = _HOME[name]
        return getattr(importlib.import_module(module), attribute)
    if name == "decode":
        return importlib.import_module("crashkit.decode")
    raise AttributeError(f"module 'crashkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
