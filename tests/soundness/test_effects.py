"""The effects table against a processor: what changed must be declared, and what decides too."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from crashkit.disasm import Access, Instruction, disassemble
from tests.soundness.encoding import GENERAL, TEMPLATES, Template, random_place
from tests.soundness.machine import DATA, DATA_SIZE, STACK, STACK_SIZE, Machine

RUNS = int(os.environ.get("CRASHKIT_SOUNDNESS_RUNS", "0")) or 24
"""Executions of each template."""
_U64 = 0xFFFF_FFFF_FFFF_FFFF
_POINTERS = (3, 5, 6, 7)  # rbx, rbp, rsi, rdi
_MIDDLE = 0x2000
_IDENTIFIERS = frozenset({"cpuid", "rdtsc"})


def random_registers(rng: random.Random) -> dict[str, int]:
    registers = {name: rng.choice((rng.getrandbits(64), rng.getrandbits(6))) for name in GENERAL}
    for number in _POINTERS:
        registers[GENERAL[number]] = DATA + _MIDDLE + 8 * rng.randrange(-64, 64)
    registers["rsp"] = STACK + _MIDDLE + 8 * rng.randrange(-64, 64)
    if rng.random() < 0.5:
        registers["rbp"] = STACK + _MIDDLE + 8 * rng.randrange(-64, 64)
    for name in ("rcx", "r8", "r9"):
        registers[name] = rng.randrange(64)
    return registers


def address_of(access: Access, instruction: Instruction, registers: dict[str, int]) -> int:
    memory = access.memory
    base = registers[memory.base] if memory.base else 0
    index = registers[memory.index] if memory.index else 0
    return (base + index * memory.scale + memory.displacement) & _U64


def declared_bytes(instruction: Instruction, registers: dict[str, int]) -> set[int]:
    covered: set[int] = set()
    for access in instruction.accesses:
        if access.kind in ("write", "read-write"):
            start = address_of(access, instruction, registers)
            count = registers["rcx"] if instruction.repeats else 1
            covered.update(range(start, start + access.size * count))
    return covered


class Bench:
    """Runs one instruction at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.machine = Machine()
        self.data = self.rng.randbytes(DATA_SIZE)
        self.stack = self.rng.randbytes(STACK_SIZE)

    def outcome(
        self, start: int, size: int, registers: dict[str, int], flags: int
    ) -> tuple[dict[str, int], dict[int, int]] | None:
        """Registers after it, and the memory bytes that changed; None on a fault."""
        machine = self.machine
        machine.write(DATA, self.data)
        machine.write(STACK, self.stack)
        machine.set(registers, flags)
        if not machine.run(start, start + size, 0):
            return None
        changed: dict[int, int] = {}
        for base, before in ((DATA, self.data), (STACK, self.stack)):
            after = machine.read(base, len(before))
            if after != before:
                pairs = enumerate(zip(before, after, strict=True))
                changed.update((base + n, new) for n, (old, new) in pairs if old != new)
        return machine.registers(), changed


def one(bench: Bench, template: Template) -> str | None:
    """Execute a template once; returns the complaint, ``""`` when it agrees, None on a fault."""
    rng = bench.rng
    place = random_place(rng, template.form, (*_POINTERS, 4))
    code = template.make(rng, place, rng.choice([n for n in range(16) if n != 4]))
    start = bench.machine.place(code)
    listing = disassemble(code, start)
    if len(listing) != 1:
        return f"{code.hex()} is decoded as {[i.text for i in listing]}"
    instruction = listing[0]
    registers, flags = random_registers(rng), 2 | rng.getrandbits(12) & 0x8D5
    found = bench.outcome(start, len(code), registers, flags)
    if found is None:
        return None
    after, changed = found
    undeclared = {n for n in GENERAL if after[n] != registers[n]} - instruction.writes
    if undeclared:
        return f"{instruction.text} ({code.hex()}) also writes {sorted(undeclared)}"
    uncovered = changed.keys() - declared_bytes(instruction, registers)
    if uncovered and instruction.exact:
        return f"{instruction.text} ({code.hex()}) also writes memory {sorted(uncovered)[:4]}"
    return _reads_all_it_declares(bench, instruction, registers, flags, found)


def _reads_all_it_declares(
    bench: Bench,
    instruction: Instruction,
    registers: dict[str, int],
    flags: int,
    found: tuple[dict[str, int], dict[int, int]],
) -> str:
    # Other values in what it does not read must change nothing else.
    others = [n for n in GENERAL if n not in instruction.reads and n != "rsp"]
    if instruction.operation in _IDENTIFIERS or not others:
        return ""
    partly = [name for name in others if name in instruction.writes]
    name = bench.rng.choice(partly or others)
    changed = {**registers, name: registers[name] ^ 0x5A5A_5A5A_5A5A_5A5A}
    again = bench.outcome(instruction.address, instruction.size, changed, flags)
    expected = dict(found[0])
    if name not in instruction.writes:
        expected[name] = changed[name]
    if again is None or again != (expected, found[1]):
        return f"{instruction.text} ({instruction.data.hex()}) also reads {name}"
    return ""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_what_an_instruction_changes_is_declared(template: Template) -> None:
    bench = Bench(hash_of(template.name))
    results = Counter(one(bench, template) for _ in range(RUNS))
    complaints = [text for text in results if text]
    assert not complaints, complaints
    assert results[""] >= min(4, RUNS), "it hardly ever runs to its end"


def hash_of(name: str) -> int:
    """A seed that is the same in every run."""
    return int.from_bytes(name.encode()[:16], "little")
