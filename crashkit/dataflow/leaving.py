"""How execution leaves an instruction other than to the next: faults and tail calls."""

from __future__ import annotations

from crashkit.dataflow.operands import escape_value
from crashkit.dataflow.state import State
from crashkit.dataflow.terms import UNKNOWN, Const, FrameAddress, Load, Unknown
from crashkit.disasm import Instruction


def interrupted(state: State, instruction: Instruction, changed: frozenset[str] | None) -> State:
    """State where execution goes on after a fault: any part of the instruction may be done.

    :param state: before the instruction
    :param changed: registers that the fault's handler may change besides
    """
    after = state.copy()
    for name in (instruction.writes | (changed or frozenset())) - {"rsp"}:
        escape_value(after, after.register(name))
        after.set_register(name, UNKNOWN)
    if instruction.writes_memory:
        after.drop_unsaved()
    return after


def is_tail_call(instruction: Instruction, state: State) -> bool:
    """Whether the frame is gone, and an indirect jump's pointer does not come out of a table."""
    if state.register("rsp") != FrameAddress(-8):
        return False
    if instruction.via is not None:
        term = state.register(instruction.via)
        from_table = isinstance(term, Unknown) or (
            isinstance(term, Load) and isinstance(term.base, (Unknown, Const))
        )
        return not from_table
    memory = instruction.memory
    return memory is not None and memory.index is None
