"""Two simpler ways to find arguments, to be measured against: drgn's own, and a linear scan."""

from __future__ import annotations

from drgn import FaultError, Program, StackFrame, TypeKind

from crashkit.crash import Crash
from crashkit.disasm import (
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    RegisterOperand,
    disassemble_function,
)
from crashkit.errors import Unavailable
from crashkit.layout import size_of, strip
from crashkit.memory import read_u64
from crashkit.registers import CALLEE_SAVED, CALLER_SAVED
from crashkit.unwind import Frame
from tests.truth.stacks import TaskStack

REACH = 40


class DrgnReader:
    """What drgn evaluates for a parameter at a frame; needs DWARF."""

    def __init__(self, crash: Crash, stack: TaskStack) -> None:
        self._frames: dict[tuple[int, int], StackFrame] = {}
        try:
            trace = crash.prog.stack_trace(stack.pid)
        except (FaultError, ValueError, LookupError):
            return
        for frame in trace:
            if not frame.is_inline:
                self._frames[frame.pc, frame.sp] = frame

    def value(self, frame: Frame, name: str) -> int | None:
        """Value of the variable ``name``; None when drgn has none."""
        found = self._frames.get((frame.pc, frame.sp))
        if found is None:
            return None
        try:
            variable = found[name]
            if variable.absent_ or strip(variable.type_).kind is TypeKind.STRUCT:
                return None
            number = int(variable.value_())
        except (FaultError, LookupError, TypeError, ValueError):
            return None
        return number & ((1 << 8 * (size_of(variable.type_) or 8)) - 1)


def scan_linearly(prog: Program, callee: Frame, caller: Frame | None, register: str) -> int | None:
    """Take the nearest earlier write of ``register`` before the call, whatever its target.

    No branches are followed. The caller's callee-saved registers are given, right as they are.
    """
    if caller is None or callee.interrupted or caller.interrupted:
        return None
    if caller.offset is None or caller.size is None or caller.sp != callee.cfa:
        return None
    try:
        code = disassemble_function(prog, caller.pc - caller.offset, caller.size)
    except Unavailable:
        return None
    before = [instruction for instruction in code if instruction.end <= caller.pc]
    for instruction in reversed(before[:-1][-REACH:]):
        if instruction.flow is Flow.CALL and register in CALLER_SAVED:
            return None
        if register in instruction.writes:
            return _written(prog, instruction, caller)
    return None


def _written(prog: Program, instruction: Instruction, caller: Frame) -> int | None:
    operation, arguments = instruction.operation, instruction.arguments
    if operation == "xor" and len(arguments) == 2 and arguments[0] == arguments[1]:
        return 0
    if operation not in ("mov", "movabs", "lea") or len(arguments) != 2:
        return None
    source = arguments[1]
    if isinstance(source, ImmediateOperand):
        return source.value & ((1 << 64) - 1)
    if isinstance(source, RegisterOperand):
        held = caller.registers.get(source.full or "") if source.full in CALLEE_SAVED else None
        return held.value if held else None
    return _memory(prog, source, caller, read=operation != "lea")


def _memory(prog: Program, place: MemoryOperand, caller: Frame, *, read: bool) -> int | None:
    if place.index is not None or place.segment is not None:
        return None
    held = caller.registers.get(place.base or "")
    base = caller.sp if place.base == "rsp" else held.value if held else None
    if base is None or (place.base != "rsp" and place.base not in CALLEE_SAVED):
        return None
    address = (base + place.displacement) & ((1 << 64) - 1)
    try:
        return read_u64(prog, address) if read else address
    except Unavailable:
        return None
