"""Questions about a function's states that more than one caller asks."""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.dataflow.analysis import Dataflow, analyse
from crashkit.dataflow.leaving import interrupted
from crashkit.dataflow.state import State
from crashkit.dataflow.terms import Entry, FrameAddress, Term
from crashkit.disasm import Flow, Instruction, RegisterOperand
from crashkit.registers import CALLEE_SAVED
from crashkit.unwind import EntryLocation


def state_at(flow: Dataflow, pc: int, *, returning: bool = False) -> State:
    """State of a frame stopped at ``pc``.

    :param returning: ``pc`` is a return address. The state is then the one while the
        callee runs: as before the call, without what the callee may have changed
    A repeated string instruction that was stopped half way has moved its pointers, and has
    written some of what it writes.

    :raises Unavailable: no instruction of the function starts (or returns) there
    """
    call = flow.call_before(pc) if returning else None
    if call is not None:
        return flow.state_during(call)
    state = flow.state_before(pc)
    stopped = flow.instructions[pc]
    return interrupted(state, stopped, None) if stopped.repeats and not returning else state


def locations_of(
    flow: Dataflow, state: State, term: Term, call: Instruction | None = None
) -> tuple[EntryLocation, ...]:
    """Registers and eight-byte slots that hold ``term`` in a state of ``flow``.

    Slots the function never reads are left out: they may be a callee's arguments, and
    a callee may overwrite those.

    :param call: the call that is under way
    """
    registers = [
        EntryLocation(register=name) for name, held in state.registers.items() if held == term
    ]
    slots = [
        EntryLocation(cfa_offset=offset)
        for offset, slot in sorted(state.slots.items())
        if slot.term == term and slot.size == 8 and flow.is_own(offset, slot, call)
    ]
    return (*registers, *slots)


def locations_of_entry(
    flow: Dataflow, address: int, register: str, *, returning: bool = False
) -> tuple[EntryLocation, ...]:
    """Where the value that ``register`` had on entry lies before ``address``.

    :param returning: ``address`` is a return address; the answer is for while the
        callee runs
    :raises Unavailable: no instruction of the function starts (or returns) there
    """
    state = state_at(flow, address, returning=returning)
    call = flow.call_before(address) if returning else None
    return locations_of(flow, state, Entry(register), call)


def prologue_saves(
    instructions: Sequence[Instruction], pc: int, *, returning: bool = False
) -> dict[str, int]:
    """Which callee-saved registers the function has saved when it is at ``pc``, and where.

    Only saves that every path to ``pc`` made and none has given up count. Offsets are
    relative to the canonical frame address: the return address is at -8, the first
    push at -16.

    :param instructions: the function from its entry
    :param returning: ``pc`` is a return address
    :raises Unavailable: no instruction of the function starts (or returns) at ``pc``
    """
    return saves_at(analyse(instructions), pc, returning=returning)


def saves_at(flow: Dataflow, pc: int, *, returning: bool = False) -> dict[str, int]:
    """As :func:`prologue_saves`, of a function already analysed."""
    state = state_at(flow, pc, returning=returning)
    saved: dict[str, int] = {}
    for offset, slot in sorted(state.slots.items(), reverse=True):
        if slot.saved and isinstance(slot.term, Entry) and slot.term.register in CALLEE_SAVED:
            saved.setdefault(slot.term.register, offset)
    return saved


def saves_of_known_prologue(flow: Dataflow) -> dict[str, int]:
    """Which callee-saved registers a function pushes as soon as it is entered, and where.

    For a function with so little of its code in the dump that the frame's own place in it
    is not known: what is pushed in the straight-line code from its entry, up to the first
    jump, call or gap, has been pushed wherever else it is, unless that is in this code or
    behind its pops. An inference for that reason.

    :returns: offsets from the CFA; nothing when the entry is not in the dump
    """
    saved: dict[str, int] = {}
    address = flow.entry
    while (instruction := flow.instructions.get(address)) and instruction.flow is Flow.NEXT:
        if instruction.operation == "push":
            (source,) = instruction.arguments
            state = flow.state_before(address)
            stack = state.register("rsp")
            if isinstance(source, RegisterOperand) and isinstance(stack, FrameAddress):
                name = source.name
                if name in CALLEE_SAVED and state.register(name) == Entry(name):
                    saved.setdefault(name, stack.offset - 8)
        address = instruction.end
    return saved
