"""The stack pointer in a function's body: what DWARF measures some variables from.

Where gcc tries to align a frame it says ``DW_OP_breg7 N`` of each variable there, not
``DW_OP_fbreg`` (``based_loc_descr()`` of its dwarf2out.c, ``crtl->stack_realign_tried``; the
kernel's stack has 8-byte alignment, so a local that wants 16 does it). A description for
the whole of a scope holds for one stack pointer only: the one behind the prologue. The
prologue and the epilogue, where rsp differs, take no variable's address. But an argument
that is pushed moves rsp too, and then the description is wrong where it is pushed, or,
were all calls alike, the body's stack pointer could be mistaken. So rsp counts as known if

- no code changes it but by pushes, pops and constants, the same on every way;
- all calls are made with one stack pointer;
- it is the one, the only one, that memory was allocated to by a subtraction: behind a
  push for a call comes none, and a push alone allocates nothing for variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from crashkit.disasm import (
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    RegisterOperand,
)

_AT_ENTRY = -8
_PUSHES = {"push": -8, "pushfq": -8, "pop": 8, "popfq": 8}


def body_stack_pointer(
    instructions: Mapping[int, Instruction],
    entry: int,
    exception_edges: Mapping[int, Sequence[int]],
) -> int | None:
    """Find where rsp is in the body of a function, as an offset from the CFA.

    :param instructions: the function's, by address
    :param exception_edges: where the instruction at the key may go on besides
    :returns: None when it is not one place
    """
    allocated: set[int] = set()
    called: set[int] = set()
    before: dict[int, int] = {}
    work = [(entry, _AT_ENTRY)]
    while work:
        address, offset = work.pop()
        instruction = instructions.get(address)
        if instruction is None or before.get(address) == offset:
            continue
        if address in before:
            return None
        before[address] = offset
        moved = moved_by(instruction)
        if moved is None:
            if _ends_frame(instructions, instruction):
                continue
            return None
        if moved < 0 and instruction.operation in ("add", "sub"):
            allocated.add(offset + moved)
        if instruction.flow is Flow.CALL:
            called.add(offset)
        work += [(target, offset) for target in exception_edges.get(address, ())]
        work += [(target, offset + moved) for target in next_addresses(instruction)]
    return allocated.pop() if len(allocated) == 1 and called == allocated else None


def moved_by(instruction: Instruction) -> int | None:
    """What an instruction adds to rsp; None: it cannot be said."""
    if "rsp" not in instruction.writes or instruction.operation == "call":
        return 0
    if instruction.flow in (Flow.RETURN, Flow.STOP):
        return 0
    operands = instruction.arguments
    if instruction.operation in _PUSHES:
        sizes = {access.size for access in instruction.accesses if access.memory.base == "rsp"}
        is_stack_pointer = any(isinstance(o, RegisterOperand) and o.full == "rsp" for o in operands)
        return _PUSHES[instruction.operation] if sizes <= {8} and not is_stack_pointer else None
    if len(operands) != 2 or operands[0].size != 8:
        return None
    source = operands[1]
    if instruction.operation in ("add", "sub") and isinstance(source, ImmediateOperand):
        return source.value if instruction.operation == "add" else -source.value
    if instruction.operation == "lea" and isinstance(source, MemoryOperand):
        is_own = source.base == "rsp" and source.index is None
        return source.displacement if is_own else None
    return None


def _ends_frame(instructions: Mapping[int, Instruction], instruction: Instruction) -> bool:
    # The epilogue's: only pops come after it, and what gives the result. Where the frame was
    # aligned, it is lea.
    if instruction.operation == "leave":
        return True
    after = instructions.get(instruction.end)
    while instruction.operation == "lea" and after is not None:
        if after.flow in (Flow.RETURN, Flow.JUMP):
            return after.target not in instructions
        is_plain = after.operation in ("pop", "leave") or "rsp" not in after.reads | after.writes
        if after.flow is not Flow.NEXT or not is_plain:
            return False
        after = instructions.get(after.end)
    return False


def next_addresses(instruction: Instruction) -> Iterator[int]:
    """Where an instruction itself leads."""
    if instruction.flow in (Flow.NEXT, Flow.BRANCH, Flow.CALL):
        yield instruction.end
    if instruction.flow in (Flow.JUMP, Flow.BRANCH) and instruction.target is not None:
        yield instruction.target
