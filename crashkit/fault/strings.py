"""How far a repeated string instruction had come when it faulted."""

from __future__ import annotations

from crashkit.disasm import Instruction
from crashkit.errors import Unavailable
from crashkit.fault.draft import Draft
from crashkit.fault.here import Here

_MOST = 1 << 40
_PAGE = 4096


def progress_of(draft: Draft, here: Here, instruction: Instruction) -> str | None:
    """Say how many bytes were left to do, and of how many where that is known.

    None for any other instruction.
    """
    left = draft.registers.get("rcx")
    size = _size(instruction)
    if not instruction.repeats or left is None or not size:
        return None
    rest = f"{left * size} bytes were left to do"
    total = _total(here, left)
    if total is None:
        return rest
    return f"{(total - left) * size} of {total * size} bytes were done"


def name_moved(draft: Draft, here: Here, instruction: Instruction) -> None:
    """Name a bad pointer by its register where the instruction may have moved it on.

    What it began with, a parameter say, then had another value.
    """
    bad, register = draft.bad_value, draft.bad_register
    if not instruction.repeats or bad is None or register not in ("rsi", "rdi"):
        return
    if bad.name != register and _may_have_moved(draft, here, instruction, bad.value):
        draft.diagnose(f"%{register}", draft.registers[register])


def _may_have_moved(draft: Draft, here: Here, instruction: Instruction, value: int) -> bool:
    left = draft.registers.get("rcx")
    total = None if left is None else _total(here, left)
    if total is not None:
        return total != left
    # Of a page that cannot be accessed it would have faulted at the first byte it came to.
    return value >= _PAGE and value % _PAGE < _size(instruction)


def _size(instruction: Instruction) -> int:
    return max((access.size for access in instruction.accesses), default=0)


def _total(here: Here, left: int) -> int | None:
    try:
        total = here.values.at_fault(here.origins.register("rcx")).value
    except Unavailable:
        return None
    return total if left <= total < _MOST else None
