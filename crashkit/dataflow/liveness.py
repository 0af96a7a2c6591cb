"""Registers whose value may still be used: what becomes of an address that is lost sight of.

Backward, over all ways that are known. Two uses are told apart: as an argument of a call,
where the register has a C pointer's value, and any other, where a compiler may keep a
distance in it that makes it point outside of its object. A pointer that is read from what
it points at counts as passed: it may be another address, and that one be stored through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from crashkit.disasm import Flow, Instruction, RegisterOperand
from crashkit.registers import CALLER_SAVED, GENERAL

_BIT = {name: 1 << number for number, name in enumerate(GENERAL)}
_SHIFT = len(GENERAL)
_ALL = (1 << _SHIFT) - 1
_CALLER_SAVED = sum(_BIT[name] for name in CALLER_SAVED)
_COMPARES = frozenset({"cmp", "test", "bt"})
_LOADS = frozenset({"mov", "movzx", "movsx", "movsxd"})


class Liveness:
    """For each basic block, the registers whose value on entry may be used."""

    def __init__(
        self,
        instructions: Mapping[int, Instruction],
        leaders: Iterable[int],
        exception_edges: Mapping[int, Sequence[int]],
    ) -> None:
        self._instructions = instructions
        self._edges = exception_edges
        # The low bits are those used here, the high ones those passed on.
        self._before = dict.fromkeys(leaders, 0)
        order = sorted(self._before, reverse=True)
        changed = True
        while changed:
            changed = False
            for leader in order:
                live = self._through(leader)
                if live != self._before[leader]:
                    self._before[leader] = live
                    changed = True

    def is_used(self, leader: int, register: str) -> bool:
        """Whether it may be stored through, stored, or calculated with."""
        return bool(self._before[leader] & _BIT[register])

    def is_passed(self, leader: int, register: str) -> bool:
        """Whether a call may be made with it as it is, or a pointer be read through it."""
        return bool(self._before[leader] >> _SHIFT & _BIT[register])

    def _through(self, leader: int) -> int:
        block = []
        address = leader
        while True:
            instruction = self._instructions[address]
            block.append(instruction)
            address = instruction.end
            ends = instruction.flow not in (Flow.NEXT, Flow.CALL)
            if ends or address in self._before or address not in self._instructions:
                break
        live = self._after(block[-1])
        for instruction in reversed(block):
            live = _before(instruction, live)
            for handler in self._edges.get(instruction.address, ()):
                live |= self._before.get(handler, 0)
        return live

    def _after(self, last: Instruction) -> int:
        live = 0
        if last.flow in (Flow.JUMP, Flow.BRANCH):
            live |= self._at(last.target)
        if last.flow in (Flow.NEXT, Flow.BRANCH, Flow.CALL):
            live |= self._at(last.end)
        return live

    def _at(self, address: int | None) -> int:
        # Code elsewhere may use every register.
        return self._before.get(address or 0, _ALL | _ALL << _SHIFT)


def _before(instruction: Instruction, live: int) -> int:
    if instruction.operation == "call" and instruction.flow is not Flow.NEXT:
        live &= ~(_CALLER_SAVED | _CALLER_SAVED << _SHIFT)
        live |= _CALLER_SAVED << _SHIFT
        return live | _bits(instruction.reads - {"rsp"})
    copied = _copied(instruction)
    if copied is not None:
        target, source = copied
        at_target = (live >> target) & (1 | 1 << _SHIFT)
        live &= ~((1 | 1 << _SHIFT) << target)
        return live | at_target << source
    written = _bits(instruction.writes)
    live &= ~(written | written << _SHIFT)
    return live | _bits(_used(instruction)) | _bits(_read_through(instruction)) << _SHIFT


def _copied(instruction: Instruction) -> tuple[int, int] | None:
    # Numbers of the registers of a whole move.
    if instruction.operation != "mov":
        return None
    target, source = instruction.arguments
    if not isinstance(target, RegisterOperand) or not isinstance(source, RegisterOperand):
        return None
    if target.size != 8 or target.full is None or source.full is None:
        return None
    return GENERAL.index(target.full), GENERAL.index(source.full)


def _used(instruction: Instruction) -> Iterable[str]:
    # Comparing changes nothing, nor does reading what an address points at.
    if instruction.operation in _COMPARES and not instruction.writes_memory:
        return ()
    if instruction.operation in _LOADS and instruction.access == "read":
        target = instruction.arguments[0]
        return () if target.size >= 4 else instruction.writes  # the rest of it stays
    if instruction.operation in ("xor", "sub") and _clears(instruction):
        return ()
    return instruction.reads


def _read_through(instruction: Instruction) -> Iterable[str]:
    # Where what is read may be a pointer.
    is_load = instruction.operation in _LOADS and instruction.access == "read"
    memory = instruction.memory
    return memory.registers if is_load and memory and instruction.access_size == 8 else ()


def _clears(instruction: Instruction) -> bool:
    target, source = instruction.arguments
    return target == source and isinstance(target, RegisterOperand) and target.size >= 4


def _bits(names: Iterable[str]) -> int:
    return sum(_BIT[name] for name in names if name in _BIT)
