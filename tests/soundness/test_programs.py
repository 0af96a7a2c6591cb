"""Random functions, run on a processor: what the analysis says of each state must be so.

The processor is made as unkind as the kernel allows: a callee changes every register it
may and everything it can reach a pointer to, and an instruction that has an exception
handler may fault in any execution.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import unicorn

from crashkit.dataflow import UNKNOWN, Dataflow, Load, State, Term, analyse
from crashkit.dataflow.extents import Variables
from crashkit.disasm import disassemble
from crashkit.registers import CALLER_SAVED
from tests.soundness.encoding import GENERAL
from tests.soundness.machine import DATA, DATA_SIZE, STACK, Machine
from tests.soundness.meaning import DisagreementError, Execution, value_of
from tests.soundness.programs import Program, write_program

PROGRAMS = int(os.environ.get("CRASHKIT_SOUNDNESS_PROGRAMS", "0")) or 1200
BATCHES = 8
_EXECUTIONS = 3
_STEPS = 120
_FRAME = 0x400
_CFA = STACK + 0x2000
_WHOLE = frozenset({"mov", "push", "call", "xchg"})


@dataclass
class Tally:
    """What was compared, so that a test that compares nothing fails."""

    executions: int = 0
    registers: int = 0
    slots: int = 0
    loads: int = 0
    calls: int = 0
    faults: int = 0
    kept: int = 0
    """Slots whose variable nobody knows, while others' addresses are known."""


@dataclass
class Trial:
    """One function in a processor, and what the analysis says of it."""

    machine: Machine
    rng: random.Random
    tally: Tally
    program: Program = field(init=False)
    flow: Dataflow = field(init=False)
    base: int = 0
    complaint: str | None = None
    steps: int = 0
    _again: bool = False
    states: dict[int, State] = field(default_factory=dict)
    _known: set[tuple[int, int]] = field(default_factory=set)
    """Pieces of the frame that earlier callees knew an address of."""

    def __post_init__(self) -> None:
        self.machine.on(unicorn.UC_HOOK_CODE, self._before_instruction)
        self.machine.on(unicorn.UC_HOOK_MEM_READ, self._on_read)
        self.machine.on(unicorn.UC_HOOK_MEM_WRITE, self._on_write)

    def take(self, program: Program) -> None:
        """Put a function in place and analyse it."""
        self.program = program
        self.base = self.machine.place(program.code + b"\xc3")
        self.states.clear()
        handlers: dict[int, list[int]] = {}
        for at, handler in program.faults.items():
            if at != program.hidden:
                handlers[self.base + at] = [self.base + handler]
        listing = disassemble(program.code, self.base)
        known = program.variables
        variables = None if known is None else Variables.of(known)
        self.flow = analyse(listing, exception_edges=handlers, find_variables=lambda: variables)

    def execute(self) -> None:
        """Run it once from a random state."""
        rng = self.rng
        registers = {name: self._word() for name in GENERAL}
        registers |= {name: self._pointer() for name in ("rdi", "rsi")}
        registers |= {name: rng.getrandbits(4) for name in ("r8", "r9")}
        registers["rsp"] = _CFA - 8
        words = [self._word() for _ in range(128)]
        data = b"".join(word.to_bytes(8, "little") for word in words)
        self.machine.write(DATA, data * (DATA_SIZE // len(data)))
        self.machine.write(_CFA - _FRAME, rng.randbytes(2 * _FRAME))
        self.machine.set(registers, 2 | rng.getrandbits(12) & 0x8D5)
        self.execution = Execution(entry=registers, cfa=_CFA)
        self._known.clear()
        self.now = self.base
        self.previous: int | None = None
        self.steps = 0
        self.machine.run(self.base, 0, _STEPS)
        self.tally.executions += 1

    def _pointer(self) -> int:
        return DATA + DATA_SIZE // 2 + 8 * self.rng.randrange(-64, 64)

    def _word(self) -> int:
        return self._pointer() if self.rng.random() < 0.7 else self.rng.getrandbits(64)

    # Hooks

    def _before_instruction(self, engine: object, address: int, size: int, _: object) -> None:
        self.steps += 1
        offset = address - self.base
        if offset == len(self.program.code):
            self._be_called()
            return
        if self.complaint is not None or not 0 <= offset < len(self.program.code):
            self.machine.engine.emu_stop()
            return
        registers = self.machine.registers()
        if self.previous is not None:
            self.execution.after[self.previous] = registers
        self.previous = self.now = address
        self._compare(address, registers)
        handler = self.program.faults.get(offset)
        if handler is not None and self.rng.random() < 0.3:
            self.tally.faults += 1
            self.previous = None
            self.machine.jump(self.base + handler)

    def _on_read(
        self, engine: object, kind: int, address: int, size: int, value: int, _: object
    ) -> None:
        data = self.machine.read(address, size)
        if self._is_named(address) and self._is_local(int.from_bytes(data, "little")):
            # What the source calculates with a pointer stays in its object; what this
            # program would do with one it reads back need not.
            self.machine.engine.emu_stop()
        at, before = self.execution.loads.get(self.now, (0, b""))
        if before and self._again and at + len(before) == address:
            at, data = at, before + data
        else:
            at = address
        self._again = True
        self.execution.loads[self.now] = (at, data)

    def _on_write(
        self, engine: object, kind: int, address: int, size: int, value: int, _: object
    ) -> None:
        # No compiled function writes to what it saved, nor to its return address.
        saves = range(_CFA - self.program.saves, _CFA)
        inside = address in saves or address + size - 1 in saves
        if inside and self.now - self.base >= self.program.prologue:
            self.machine.engine.emu_stop()
        if self._is_named(address) or self._is_named(address + size - 1):
            # Nor is a pointer made, changed or cut in memory.
            start = address & ~7
            old = self.machine.read(start, 16)
            words = (old[:8], old[8:] if address + size > start + 8 else b"")
            whole = size == 8 and self.flow.instructions[self.now].operation in _WHOLE
            if not whole and any(self._is_local(int.from_bytes(w, "little")) for w in words):
                self.machine.engine.emu_stop()

    def _be_called(self) -> None:
        # At the callee's return: it has changed what it may.
        self.tally.calls += 1
        registers = self.machine.registers()
        stack = registers["rsp"]
        self._known |= set(self._reachable(registers))
        for first, end in self._known:
            start = max(_CFA + first, stack + 8)
            room = min(_CFA + end, _CFA - self.program.saves) - start
            if room > 0:
                self.machine.write(start, self.rng.randbytes(room))
        self.machine.write(_CFA - _FRAME, self.rng.randbytes(stack - (_CFA - _FRAME)))
        for name in CALLER_SAVED:
            registers[name] = self._word()
        self.execution.results[self.now] = registers["rax"]
        self.machine.set(registers, 2 | self.rng.getrandbits(12) & 0x8D5)

    def _reachable(self, registers: dict[str, int]) -> Iterator[tuple[int, int]]:
        # Pieces of the frame that a callee may change, by the addresses it finds.
        words = [registers[name] for name in CALLER_SAVED]
        stack = registers["rsp"] + 8
        is_known = self.program.variables is not None
        own = range(stack, _CFA - self.program.saves - 7, 8) if is_known else ()
        places = (*range(DATA, DATA + DATA_SIZE, 8), *own)
        words += [int.from_bytes(self.machine.read(place, 8), "little") for place in places]
        for word in filter(self._is_local, words):
            at = word - _CFA
            variables = self.program.variables or ()
            near = [(first, end) for first, end in variables if first <= at <= end]
            if not near:
                yield -_FRAME, 0
            for first, end in near:
                yield first, min((f for f, _ in variables if f >= end), default=0)

    def _is_named(self, address: int) -> bool:
        # Memory that the source has a name for, where variables are known at all.
        variables = self.program.variables
        if variables is None or DATA <= address < DATA + DATA_SIZE:
            return variables is not None
        return any(first <= address - _CFA < end for first, end in variables)

    def _is_local(self, word: int) -> bool:
        return _CFA - _FRAME <= word < _CFA

    # Comparison

    def _compare(self, address: int, held: dict[str, int]) -> None:
        self._again = False
        state = self.states.get(address)
        if state is None:
            state = self.states[address] = self.flow.state_before(address)
        slots = {
            offset: int.from_bytes(self.machine.read(_CFA + offset, slot.size), "little")
            for offset, slot in state.slots.items()
        }
        places: dict[str | int, int] = {name: value for name, value in held.items()}  # noqa: C416
        places |= {offset: value for offset, value in slots.items()}  # noqa: C416
        self.execution.entered[address] = places
        try:
            for name, term in state.registers.items():
                if term != UNKNOWN:
                    self._check(address, name, held[name], value_of(term, self.execution), term)
                    self.tally.registers += 1
            for offset, slot in state.slots.items():
                expected = value_of(slot.term, self.execution)
                self._check(address, f"cfa{offset:+}", slots[offset], expected, slot.term)
                self.tally.slots += 1
                self.tally.kept += bool(state.escaped) and not slot.saved
        except DisagreementError as wrong:
            self._complain(address, str(wrong))

    def _check(self, address: int, what: str, found: int, expected: int | None, term: Term) -> None:
        self.tally.loads += isinstance(term, Load)
        if expected is not None and found != expected:
            self._complain(address, f"{what} is {found:#x}, but {term} is {expected:#x}")

    def _complain(self, address: int, text: str) -> None:
        listing = "\n".join(
            f"{'>' if i.address == address else ' '} {i.address:x} {i.text}"
            + (f"  ! {self.program.faults[i.address - self.base] + self.base:x}"
               if i.address - self.base in self.program.faults else "")
            for i in self.flow.instructions.values()
        )  # fmt: skip
        self.complaint = f"{text}\n{listing}"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_terms_are_what_the_processor_has(batch: int) -> None:
    tally = run_programs(batch, PROGRAMS // BATCHES)
    assert tally.registers > 100 * tally.executions
    assert min(tally.slots, tally.loads) > tally.executions
    assert min(tally.calls, tally.faults, tally.kept) > tally.executions / 50


def run_programs(seed: int, count: int) -> Tally:
    """Write, analyse and run programs; fails on the first wrong term."""
    rng = random.Random(seed)
    trial = Trial(Machine(), rng, Tally())
    for number in range(count):
        trial.take(write_program(rng))
        for _ in range(_EXECUTIONS):
            trial.execute()
            assert trial.complaint is None, f"program {number} of {seed}: {trial.complaint}"
    return trial.tally
