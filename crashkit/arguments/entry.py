"""Where a function on the stack keeps the values its registers had on entry."""

from __future__ import annotations

from drgn import Program

from crashkit.dataflow import (
    Entry,
    State,
    analyse_function,
    saves_of_known_prologue,
    state_at,
)
from crashkit.errors import Unavailable
from crashkit.registers import CALLEE_SAVED
from crashkit.symbols import SymbolAt
from crashkit.unwind import EntryLocation


def recover_entry_registers(
    prog: Program, function: SymbolAt, pc: int, interrupted: bool
) -> dict[str, EntryLocation]:
    """Locate the callee-saved registers' values on entry: the unwinder's callback.

    Where not all of the function's code is known, what is known of it tells, and is an
    inference.

    :param interrupted: ``pc`` is an instruction that was about to run, not a return address
    :returns: nothing for a register that was changed and not saved where this can see it
    """
    try:
        flow = analyse_function(prog, function)
    except Unavailable:
        return {}  # the frame's registers are then not known, which each reader is told
    try:
        state = state_at(flow, pc, returning=not interrupted)
    except Unavailable:
        saves = saves_of_known_prologue(flow)
        return {name: EntryLocation(cfa_offset=at, certain=False) for name, at in saves.items()}
    return _kept(state, flow.complete)


def _kept(state: State, certain: bool) -> dict[str, EntryLocation]:
    found: dict[str, EntryLocation] = {}
    for name in CALLEE_SAVED:
        slots = [
            offset
            for offset, slot in state.slots.items()
            if slot.saved and slot.size == 8 and slot.term == Entry(name)
        ]
        if slots:
            found[name] = EntryLocation(cfa_offset=max(slots), certain=certain)
        elif state.registers.get(name) == Entry(name):
            found[name] = EntryLocation(register=name, certain=certain)
    return found
