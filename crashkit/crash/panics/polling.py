"""A loop that only a change of one piece of memory can end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crashkit.crash.panics.cpus import interrupted_frame
from crashkit.decode.address import classify_address
from crashkit.disasm import Flow, ImmediateOperand, Instruction, MemoryOperand, disassemble_function
from crashkit.errors import Reason, Unavailable
from crashkit.memory import U64_MAX, read_bytes
from crashkit.symbols import symbol_at
from crashkit.unwind import Frame
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_LONGEST = 24
"""Instructions of a loop."""
_ALLOWED = frozenset({"pause", "nop", "mov", "movzx", "movsx", "movsxd", "cmp", "test", "jmp"})
"""What a loop may consist of, beside branches: each round does the same, but for what it reads."""


@facts
class Polling:
    """Memory that a CPU polls."""

    address: int
    size: int
    """Bytes."""
    value: int
    """In the dump, unsigned."""
    words: str
    """What lies there."""
    ends: str
    """``is N``, ``is not N`` or ``changes``: what ends the loop."""


def find_polling(crash: Crash, cpu: int) -> Polling | None:
    """Find what a CPU polls in the loop that it was interrupted in.

    :returns: None: it was in no such loop; another way out, a call, or a write may end it
    :raises Unavailable: its registers, the code or the memory are not there
    """
    frame = interrupted_frame(crash, cpu)
    if frame is None:
        raise Unavailable("the loop", Reason.NOT_SAVED, "no registers of where it was")
    function = symbol_at(crash.prog, frame.pc)
    if function is None:
        return None
    code = disassemble_function(crash.prog, function.address, function.size)
    body = find_loop(code, frame.pc)
    found = None if body is None else polled(body)
    if body is None or found is None:
        return None
    load, memory = found
    address = _address(frame, load, memory)
    held = read_bytes(crash.prog, address, memory.size, "what the loop reads")
    return Polling(
        address=address,
        size=memory.size,
        value=int.from_bytes(held, "little"),
        words=classify_address(crash.prog, address, aliases=False).words,
        ends=_ends(body, load, memory.size),
    )


def find_loop(code: Sequence[Instruction], pc: int) -> tuple[Instruction, ...] | None:
    """Find the smallest loop around an address: from the target of a jump back to the jump."""
    found: list[tuple[Instruction, ...]] = []
    for last in code:
        start = last.target
        if last.flow not in (Flow.BRANCH, Flow.JUMP) or start is None:
            continue
        if start <= pc < last.end and start <= last.address:
            found.append(tuple(i for i in code if start <= i.address <= last.address))
    return min(found, key=len, default=None)


def polled(body: Sequence[Instruction]) -> tuple[Instruction, MemoryOperand] | None:
    """Find the one read of a loop that nothing but that memory can end; None: it is none."""
    if len(body) > _LONGEST or not all(map(_is_allowed, body)):
        return None
    exits = [i for i in body if i.flow is Flow.BRANCH and _leaves(i, body)]
    strays = [i for i in body if i.flow is Flow.JUMP and _leaves(i, body)]
    loads = [(i, a.memory) for i in body for a in i.accesses if a.kind == "read"]
    if len(exits) != 1 or strays or len(loads) != 1:
        return None
    written = frozenset[str]().union(*(i.writes for i in body))
    load, memory = loads[0]
    if memory.segment is not None or not written.isdisjoint(memory.registers):
        return None
    return load, memory


def _is_allowed(one: Instruction) -> bool:
    if one.flow is Flow.BRANCH:
        return True
    return one.operation in _ALLOWED and not one.writes_memory


def _leaves(jump: Instruction, body: Sequence[Instruction]) -> bool:
    inside = {one.address for one in body}
    falls = jump.flow is Flow.BRANCH and jump.end not in inside
    return falls or jump.target not in inside


def _address(frame: Frame, load: Instruction, memory: MemoryOperand) -> int:
    fixed = load.absolute(memory)
    if fixed is not None:
        return fixed
    total = memory.displacement
    for name, scale in ((memory.base, 1), (memory.index, memory.scale)):
        if name is None:
            continue
        if name not in frame.registers:
            raise Unavailable(name, Reason.NOT_SAVED, "the loop's address is in it")
        total += frame.registers[name].value * scale
    return total & U64_MAX


def _ends(body: Sequence[Instruction], load: Instruction, size: int) -> str:
    # As far as the code says it in the plainest way.
    exit_ = next(i for i in body if i.flow is Flow.BRANCH and _leaves(i, body))
    at = body.index(exit_)
    compare = body[at - 1] if at else None
    wanted = None if compare is None else _number(compare, load)
    if wanted is None or exit_.operation not in ("je", "jne"):
        return "changes"
    taken_leaves = exit_.target not in {one.address for one in body}
    equal = (exit_.operation == "je") == taken_leaves
    return f"{'is' if equal else 'is not'} {wanted & ((1 << 8 * size) - 1)}"


def _number(compare: Instruction, load: Instruction) -> int | None:
    # What the value read is compared with.
    if compare.operation not in ("cmp", "test") or len(compare.arguments) != len("ab"):
        return None
    left, right = compare.arguments
    own = compare is load or load.arguments[0] == left
    if compare.operation == "test":
        return 0 if own and left == right else None
    return right.value if own and isinstance(right, ImmediateOperand) else None
