"""Simpler ways to find arguments, to be measured against.

drgn's own; a debugger that evaluates entry values through DWARF's call sites; a linear scan.
"""

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
from crashkit.symbols.dwarf_frame import (
    Constant,
    EntryValue,
    FrameAddress,
    LoadValue,
    RegisterValue,
    Value,
    call_site,
    parameter_locations,
)
from crashkit.unwind import Frame
from tests.truth.stacks import TaskStack, function_of

REACH = 40
#: Frames through which an entry value is followed.
DEPTH = 30


class DrgnReader:
    """What drgn evaluates for a parameter at a frame; needs DWARF."""

    def __init__(self, crash: Crash, stack: TaskStack) -> None:
        self._frames: dict[tuple[int, int], StackFrame] = {}
        if stack.task is None:
            return
        try:
            trace = crash.prog.stack_trace(stack.task)
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


class EntryValueReader:
    """A parameter's DWARF location; an entry value by what DWARF says of the caller's call.

    As gdb does it, but for tail calls, which it does not try. Whether the call in the caller is
    one of this function is not asked. The frames' registers are those crashkit unwound.
    """

    def __init__(self, crash: Crash, stack: TaskStack) -> None:
        self._crash = crash
        self._frames = stack.frames

    def value(self, position: int, name: str) -> int | None:
        """Value of the parameter ``name``; None when DWARF leads to none."""
        frame = self._frames[position]
        function = function_of(self._crash, frame)
        if function is None:
            return None
        at = frame.pc if frame.interrupted else frame.pc - 1
        found = parameter_locations(self._crash.prog, function.address, at).get(name)
        if found is None or found.value is None:
            return None
        return self._evaluate(found.value, position, DEPTH)

    def _evaluate(self, value: Value, position: int, depth: int) -> int | None:
        if isinstance(value, Constant):
            return value.value
        found = self._base(value, position, depth)
        return None if found is None else (found + value.offset) & ((1 << 64) - 1)

    def _base(
        self,
        value: RegisterValue | EntryValue | FrameAddress | LoadValue,
        position: int,
        depth: int,
    ) -> int | None:
        frame = self._frames[position]
        if isinstance(value, FrameAddress):
            return frame.cfa
        if isinstance(value, RegisterValue):
            held = frame.registers.get(value.register)
            return held.value if held else frame.sp if value.register == "rsp" else None
        if isinstance(value, EntryValue):
            return self._on_entry(value.register, position, depth)
        address = self._evaluate(value.address, position, depth)
        return None if address is None else self._read(address, value.size)

    def _on_entry(self, register: str, position: int, depth: int) -> int | None:
        outer = self._frames[position + 1 :]
        if not depth or not outer or outer[0].interrupted:
            return None
        site = call_site(self._crash.prog, outer[0].pc)
        if site is not None and not site.tail and register in site.values:
            return self._evaluate(site.values[register], position + 1, depth - 1)
        return None

    def _read(self, address: int, size: int) -> int | None:
        try:
            return int.from_bytes(self._crash.prog.read(address, size), "little")
        except (FaultError, ValueError):
            return None


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
