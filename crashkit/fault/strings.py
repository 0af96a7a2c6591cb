"""How far a repeated string instruction had come when it faulted."""

from __future__ import annotations

from crashkit.disasm import Instruction
from crashkit.errors import Unavailable
from crashkit.fault.draft import Draft
from crashkit.fault.here import Here

_MOST = 1 << 40


def progress_of(draft: Draft, here: Here, instruction: Instruction) -> str | None:
    """Say how many bytes were left to do, and of how many where that is known.

    None for any other instruction.
    """
    left = draft.registers.get("rcx")
    size = max((access.size for access in instruction.accesses), default=0)
    if not instruction.repeats or left is None or not size:
        return None
    rest = f"{left * size:#x} bytes were left to do"
    try:
        total = here.values.at_fault(here.origins.register("rcx")).value
    except Unavailable:
        return rest
    if not left <= total < _MOST:
        return rest
    return f"{(total - left) * size:#x} of {total * size:#x} bytes were done"
