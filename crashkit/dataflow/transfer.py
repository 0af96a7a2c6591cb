"""What one instruction does to a state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from crashkit.dataflow.operands import Operands, escape_value, named
from crashkit.dataflow.state import Slot, State
from crashkit.dataflow.terms import (
    UNKNOWN,
    Const,
    Defined,
    Entry,
    FrameAddress,
    Result,
    Unknown,
    add,
    mask,
    part,
)
from crashkit.disasm import (
    Access,
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.registers import CALLER_SAVED

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_COMPARES = frozenset({"cmp", "test", "bt"})
_LARGEST_VECTOR = 64
_LONGEST_STRING = 1 << 16
_BIT_STRINGS = frozenset({"bts", "btr", "btc"})


Pointee: TypeAlias = Callable[[int, str], int | None]
"""Bytes of what the function at an address takes a pointer to in a register; None: not known."""


@dataclass(slots=True)
class Transfer(Operands):
    """Applies instructions to states."""

    pointee: Pointee | None = None
    """Tells how large a callee declares what its argument points at."""
    _executed: set[int] = field(default_factory=set)

    def apply(self, state: State, instruction: Instruction) -> None:
        """Change ``state`` from before to after ``instruction``."""
        if instruction.writes or instruction.accesses:
            self._new_execution(state, instruction.address)
        handler = _HANDLERS.get(instruction.operation)
        if instruction.flow is Flow.CALL:
            self.apply_call(state, instruction)
        elif handler is None or not handler(self, state, instruction):
            self._anything(state, instruction)

    def _new_execution(self, state: State, address: int) -> None:
        # Before its first execution no term can name an instruction.
        if address in self._executed:
            state.forget_execution(address)
        self._executed.add(address)

    # Instructions

    def apply_call(self, state: State, instruction: Instruction) -> None:
        """Change ``state`` by a call, whatever its flow: its callee has run."""
        for name in CALLER_SAVED:
            self._pass(state, instruction, name)
        for slot in state.hidden_slots().values():  # it may be an argument on the stack
            for offset in slot.addresses:
                state.escape(self.reached_from(offset))
        state.drop_escaped()
        stack = state.register("rsp")
        if isinstance(stack, FrameAddress):
            state.drop_below(stack.offset)
        for name in CALLER_SAVED:
            state.set_register(name, UNKNOWN)
        state.set_register("rax", Result(instruction.address, instruction.target))

    def _pass(self, state: State, instruction: Instruction, name: str) -> None:
        # An argument is a C pointer; what the callee has no parameter for it does not use.
        term = state.register(name)
        if not isinstance(term, FrameAddress):
            return
        size = None
        if self.pointee and instruction.target is not None and self.variables:
            size = self.pointee(instruction.target, name)
        state.escape(self.reached_from(term.offset, size))

    def _anything(self, state: State, instruction: Instruction) -> None:
        # No rule: what is written becomes unknown, and a frame address it reads as a
        # value may live on where nobody follows it.
        if instruction.operation not in _COMPARES:
            for name in self._value_reads(instruction):
                escape_value(state, state.register(name))
        for access in instruction.accesses:
            if access.memory.segment is None:
                self._read_somehow(state, instruction, access)
            if access.kind in ("write", "read-write"):
                self._anything_to_memory(state, instruction, access.memory, access.size)
        if not instruction.exact:
            state.drop_escaped()
        for name in instruction.writes:
            if name != "rsp":  # it may have been written in part only
                escape_value(state, state.register(name))
            state.set_register(name, Defined(instruction.address, name))

    def _read_somehow(self, state: State, instruction: Instruction, access: Access) -> None:
        if access.kind not in ("read", "read-write"):
            return
        place = self.place(state, instruction, access.memory)
        offset = place.frame_offset
        if access.kind == "read" and offset is not None:
            self.loaded_slots.setdefault(offset, set()).add(instruction.address)
        if instruction.operation in _COMPARES:
            return
        # It may be an address that was spilled, and nobody follows what it is read into.
        if instruction.repeats or (offset is None and place.in_frame):
            state.reveal_all()
        elif offset is None:
            if not isinstance(place.base, (Entry, Const)):
                state.reveal_escaped()
        else:
            state.reveal(offset, access.size or _LARGEST_VECTOR)

    def _value_reads(self, instruction: Instruction) -> set[str]:
        # Registers read as values, not only to address memory.
        explicit = {
            argument.full
            for argument in instruction.arguments
            if isinstance(argument, RegisterOperand)
        }
        addressing = {
            name
            for access in instruction.accesses
            for name in access.memory.registers
            if name not in instruction.writes or name == "rsp"
        }
        return {name for name in instruction.reads if name in explicit or name not in addressing}

    def _anything_to_memory(
        self, state: State, instruction: Instruction, memory: MemoryOperand, size: int
    ) -> None:
        place = self.place(state, instruction, memory)
        plain = (
            (instruction.exact or instruction.operation.startswith(("mov", "vmov")))
            and instruction.operation not in _BIT_STRINGS
            and not instruction.repeats
        )
        if place.frame_offset is not None and plain and size:
            state.store(place.frame_offset, Slot(size, UNKNOWN))
        elif place.in_frame or place.frame_offset is not None:
            state.drop_unsaved()
        elif not isinstance(place.base, (Entry, Const)):
            state.drop_escaped()

    def _move(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if not _is_general(target, source):
            return False
        size = target.size
        term = self.read(state, instruction, source, size, False)
        self.write(state, instruction, target, size, term)
        return True

    def _extend(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        signed = instruction.operation != "movzx"
        size = source.size
        term = self.read(state, instruction, source, size, signed)
        self.write(state, instruction, target, target.size, term)
        return True

    def _lea(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if not isinstance(source, MemoryOperand):
            return False
        place = self.place(state, instruction, source)
        if isinstance(place.base, Unknown):
            for name in source.registers:
                escape_value(state, state.register(name))
        term = add(place.base, place.offset)
        size = target.size
        if size < 8:
            escape_value(state, term)
        self.write(state, instruction, target, size, term)
        return True

    def _add(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size < 4:
            return False
        sign = -1 if instruction.operation == "sub" else 1
        if sign < 0 and target == source:
            state.set_register(target.full, Const(0))
            return True
        left = state.register(target.full)
        right = self.read(state, instruction, source, target.size, target.size == 8)
        if not isinstance(right, Const) and isinstance(left, Const) and sign > 0:
            left, right = right, left
        if not isinstance(right, Const) or (target.size < 8 and not isinstance(left, Const)):
            return False
        state.set_register(target.full, part(add(left, sign * right.value), target.size, False))
        return True

    def _add_one(self, state: State, instruction: Instruction) -> bool:
        (target,) = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size != 8:
            return False
        sign = -1 if instruction.operation == "dec" else 1
        state.set_register(target.full, add(state.register(target.full), sign))
        return True

    def _and(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size < 4:
            return False
        bits = self.read(state, instruction, source, target.size, False)
        term = state.register(target.full)
        if not isinstance(bits, Const) or isinstance(term, FrameAddress):
            return False
        state.set_register(target.full, mask(term, bits.value))
        return True

    def _or(self, state: State, instruction: Instruction) -> bool:
        # Compilers set a register to -1 this way.
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size < 4:
            return False
        if not isinstance(source, ImmediateOperand) or source.value != -1:
            return False
        state.set_register(target.full, part(Const(_U64), target.size, False))
        return True

    def _xor(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if target != source or not isinstance(target, RegisterOperand) or target.size < 4:
            return False
        if target.full is None:
            return False
        state.set_register(target.full, Const(0))
        return True

    def _push(self, state: State, instruction: Instruction) -> bool:
        (source,) = instruction.arguments
        stack = state.register("rsp")
        if not isinstance(stack, FrameAddress) or source.size not in (4, 8):
            return False
        if isinstance(source, RegisterOperand) and source.full is None:
            return False
        term = self.read(state, instruction, source, 8, True)
        below = MemoryOperand(base="rsp", displacement=-8)
        self.store(state, instruction, below, 8, term)
        state.set_register("rsp", add(stack, -8))
        return True

    def _pop(self, state: State, instruction: Instruction) -> bool:
        (target,) = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size != 8:
            return False
        stack = state.register("rsp")
        term = self.load(state, instruction, MemoryOperand(base="rsp"), 8)
        if isinstance(stack, FrameAddress):
            # A pop restores a register or takes an argument off the stack, which its callee
            # may have changed: no sign of a slot of the function's own.
            self.loaded_slots[stack.offset].discard(instruction.address)
        state.set_register("rsp", add(stack, 8))
        state.set_register(target.full, term)
        return True

    def _push_flags(self, state: State, instruction: Instruction) -> bool:
        stack = state.register("rsp")
        if not isinstance(stack, FrameAddress):
            return False
        flags = Defined(instruction.address, "rflags")
        self.store(state, instruction, MemoryOperand(base="rsp", displacement=-8), 8, flags)
        state.set_register("rsp", add(stack, -8))
        return True

    def _pop_flags(self, state: State, instruction: Instruction) -> bool:
        stack = state.register("rsp")
        if not isinstance(stack, FrameAddress):
            return False
        escape_value(state, self.load(state, instruction, MemoryOperand(base="rsp"), 8))
        state.set_register("rsp", add(stack, 8))
        return True

    def _leave(self, state: State, instruction: Instruction) -> bool:
        state.set_register("rsp", state.register("rbp"))
        term = self.load(state, instruction, MemoryOperand(base="rsp"), 8)
        state.set_register("rsp", add(state.register("rsp"), 8))
        state.set_register("rbp", term)
        return True

    def _exchange(self, state: State, instruction: Instruction) -> bool:
        left, right = instruction.arguments
        if left == right:
            return left.size in (2, 8)
        if left.size != 8 or not _is_general(left, right):
            return False
        first = self.read(state, instruction, left, 8, False)
        second = self.read(state, instruction, right, 8, False)
        self.write(state, instruction, left, 8, second)
        self.write(state, instruction, right, 8, first)
        return True

    def _move_if(self, state: State, instruction: Instruction) -> bool:
        target, source = instruction.arguments
        if not isinstance(target, RegisterOperand) or target.full is None or target.size < 4:
            return False
        taken = self.read(state, instruction, source, target.size, False)
        kept = part(state.register(target.full), target.size, False)
        if taken != kept:
            escape_value(state, taken)
            escape_value(state, kept)
            taken = UNKNOWN
        state.set_register(target.full, named(instruction, target.full, taken))
        return True

    def _string(self, state: State, instruction: Instruction) -> bool:
        # Of known length; the direction flag is clear in compiled code (psABI 3.2.1).
        target, source = instruction.arguments
        size = target.size
        if not isinstance(target, MemoryOperand) or not _is_general(source):
            return False  # movsd may be one of SSE
        count = state.register("rcx") if instruction.repeats else Const(1)
        if not isinstance(count, Const) or not 0 < count.value * size <= _LONGEST_STRING:
            return False
        total = count.value * size
        place = self.place(state, instruction, target)
        if place.frame_offset is None:
            return False
        if isinstance(source, MemoryOperand):
            read = self.place(state, instruction, source)
            if state.hides:
                state.reveal_all()
            if read.frame_offset is not None:
                self.loaded_slots.setdefault(read.frame_offset, set()).add(instruction.address)
            state.set_register("rsi", add(state.register("rsi"), total))
        state.store(place.frame_offset, Slot(total, UNKNOWN))
        state.set_register("rdi", add(state.register("rdi"), total))
        if instruction.repeats:
            state.set_register("rcx", Const(0))
        return True

    def _sign_extend_rax(self, state: State, _: Instruction) -> bool:
        escape_value(state, state.register("rax"))
        state.set_register("rax", part(state.register("rax"), 4, True))
        return True


_CONDITIONS = (
    "a", "ae", "b", "be", "e", "g", "ge", "l", "le", "ne", "no", "np", "ns", "o", "p", "s",
)  # fmt: skip
_HANDLERS: dict[str, Callable[[Transfer, State, Instruction], bool]] = {
    "mov": Transfer._move,
    "movabs": Transfer._move,
    "movzx": Transfer._extend,
    "movsx": Transfer._extend,
    "movsxd": Transfer._extend,
    "lea": Transfer._lea,
    "add": Transfer._add,
    "sub": Transfer._add,
    "inc": Transfer._add_one,
    "dec": Transfer._add_one,
    "and": Transfer._and,
    "or": Transfer._or,
    "xor": Transfer._xor,
    "push": Transfer._push,
    "pop": Transfer._pop,
    "pushfq": Transfer._push_flags,
    "popfq": Transfer._pop_flags,
    "leave": Transfer._leave,
    "xchg": Transfer._exchange,
    "cdqe": Transfer._sign_extend_rax,
    **{f"{name}{size}": Transfer._string for name in ("stos", "movs") for size in "bwdq"},
    **{f"cmov{condition}": Transfer._move_if for condition in _CONDITIONS},
}


def _is_general(*operands: Operand) -> bool:
    return all(
        not isinstance(operand, RegisterOperand) or operand.full is not None for operand in operands
    )
