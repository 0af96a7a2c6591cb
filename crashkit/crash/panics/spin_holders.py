"""Which frame took a spinlock: by the calls its code made before where it is now.

A spinlock does not say who has it. A function that is still on a stack, called a lock
function with this address earlier in its code and has not come to the unlock, has it if
the way went there: inferred, not proved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from crashkit.arguments.activation import stopped_at
from crashkit.arguments.pt_regs import user_registers
from crashkit.arguments.resolve import Resolver
from crashkit.disasm import ImmediateOperand, Instruction
from crashkit.errors import Unavailable
from crashkit.symbols import symbol_at
from crashkit.unwind import Frame
from crashkit.value import facts

if TYPE_CHECKING:
    from drgn import Program

    from crashkit.dataflow import Dataflow

_LOCKS = re.compile(r"_raw_(?:spin|read|write)_(?:try)?lock(?:_irqsave|_irq|_bh|_nested)?")
_UNLOCKS = re.compile(r"_raw_(?:spin|read|write)_unlock\w*|__raw_callee_save\w*_spin_unlock")
MAX_CALLS = 64
"""Lock and unlock calls of one function that are looked at."""


@facts
class Taken:
    """A call that took a lock, in a frame that is still there."""

    index: int
    """Position of the frame among the given ones."""
    function: str
    offset: int
    """Of the call."""
    called: str
    """The lock function."""
    value: int
    """The lock's address."""


def taken_by(prog: Program, frames: Sequence[Frame]) -> Iterator[Taken]:
    """Yield the spinlocks that the functions of a stack took and have not let go.

    :param frames: of one stack, innermost first, none inlined
    """
    resolver = Resolver(prog=prog, frames=frames, user=user_registers(prog, frames))
    for index, frame in enumerate(frames):
        try:
            flow = stopped_at(prog, frame).flow
        except Unavailable:
            continue
        for address, call, called in _still_held(resolver, flow, index, frame):
            yield Taken(
                index=index,
                function=frame.function or "?",
                offset=call.address - flow.entry,
                called=called,
                value=address,
            )


_Held = tuple[int, Instruction, str]


def _still_held(resolver: Resolver, flow: Dataflow, index: int, frame: Frame) -> Iterator[_Held]:
    # In the order of the code, which is that of the run where no loop goes back.
    held: dict[int, _Held] = {}
    last = frame.pc if frame.interrupted else frame.pc - 1
    for call, called in _lock_calls(resolver.prog, flow, last):
        if call.end == frame.pc and not frame.interrupted:
            continue  # the call under way
        value = _first_argument(resolver, flow, index, call)
        if value is None:
            continue
        if called is None or _UNLOCKS.fullmatch(called):
            held.pop(value, None)
        else:
            held[value] = (value, call, called)
    yield from held.values()


def _lock_calls(
    prog: Program, flow: Dataflow, last: int
) -> Iterator[tuple[Instruction, str | None]]:
    number = 0
    for address in sorted(flow.instructions):
        if address > last or number >= MAX_CALLS:
            return
        instruction = flow.instructions[address]
        if _is_plain_unlock(instruction):
            number += 1
            yield instruction, None
        elif instruction.operation == "call" and instruction.target is not None:
            symbol = symbol_at(prog, instruction.target)
            name = "" if symbol is None else symbol.name
            if _LOCKS.fullmatch(name) or _UNLOCKS.fullmatch(name):
                number += 1
                yield instruction, name


def _is_plain_unlock(instruction: Instruction) -> bool:
    # queued_spin_unlock() patched in place of the paravirtual call: movb $0,(%rdi).
    if instruction.operation not in ("mov", "movb") or instruction.access_size != 1:
        return False
    memory, source = instruction.memory, instruction.arguments[-1]
    return (
        memory is not None
        and memory.base == "rdi"
        and not memory.displacement
        and isinstance(source, ImmediateOperand)
        and source.value == 0
    )


def _first_argument(
    resolver: Resolver, flow: Dataflow, index: int, call: Instruction
) -> int | None:
    try:
        term = flow.state_before(call.address).register("rdi")
        resolver.start()
        return resolver.term(index, term).value
    except Unavailable:
        return None
