"""Where a function on the stack keeps the values its registers had on entry."""

from __future__ import annotations

from drgn import Program

from crashkit.dataflow import Entry, State, analyse_function, state_at
from crashkit.errors import Reason, Unavailable
from crashkit.registers import CALLEE_SAVED
from crashkit.symbols import SymbolAt
from crashkit.unwind import EntryLocation


def frame_state(prog: Program, function: SymbolAt, pc: int, interrupted: bool) -> State:
    """Return what the function's code says of its registers and slots at ``pc``.

    :param interrupted: ``pc`` is an instruction that was about to run, not a return address
    :raises Unavailable: its bytes are not in the dump, ``pc`` is no instruction of it, or
        its jumps cannot all be followed
    """
    flow = analyse_function(prog, function)
    if not flow.complete:
        raise Unavailable(function.name, Reason.UNSUPPORTED, "a jump's targets are not known")
    return state_at(flow, pc, returning=not interrupted)


def recover_entry_registers(
    prog: Program, function: SymbolAt, pc: int, interrupted: bool
) -> dict[str, EntryLocation]:
    """Locate the callee-saved registers' values on entry: the unwinder's callback.

    :returns: nothing for a register that was changed and not saved where this can see it
    """
    try:
        state = frame_state(prog, function, pc, interrupted)
    except Unavailable:
        return {}  # the frame's registers are then not known, which each reader is told
    found: dict[str, EntryLocation] = {}
    for name in CALLEE_SAVED:
        slots = [
            offset
            for offset, slot in state.slots.items()
            if slot.saved and slot.size == 8 and slot.term == Entry(name)
        ]
        if slots:
            found[name] = EntryLocation(cfa_offset=max(slots))
        elif state.registers.get(name) == Entry(name):
            found[name] = EntryLocation(register=name)
    return found
