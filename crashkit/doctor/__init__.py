"""How far a dump leads: what it holds, what can be answered, and what would be needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashkit.doctor.examination import Answer, Examination, Holding, examine, left_out
    from crashkit.doctor.ladder import Rung, climb

__all__ = ["Answer", "Examination", "Holding", "Rung", "climb", "examine", "left_out"]

_MODULES = {
    "examination": ("Answer", "Examination", "Holding", "examine", "left_out"),
    "ladder": ("Rung", "climb"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found
