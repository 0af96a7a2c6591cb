"""The kernel's tables of places where a function may go on: exceptions and static keys."""

from __future__ import annotations

import pytest

from crashkit.dataflow import Dataflow, Entry, Unknown, analyse_function
from crashkit.dataflow.edges import more_edges
from crashkit.disasm import Instruction, disassemble
from crashkit.symbols import SymbolAt
from crashkit.symbols.lookup import ModuleRange, names_of
from tests.unit.kernel_doubles import Kernel

TEXT = 0xFFFF_FFFF_8100_0000
EXCEPTIONS, JUMPS = 0xFFFF_FFFF_8200_0000, 0xFFFF_FFFF_8200_1000
MODULE = 0xFFFF_FFFF_C000_0000
OBJECT = 0xFFFF_8880_0020_0000
# 1: mov %rdi,%rax; mov (%rsi),%rdx; nop; ret; fixup: mov %rsi,%rax; jmp back to the nop
CODE = bytes.fromhex("48 89 f8 48 8b 16 90 c3 48 89 f0 eb f9")
LOAD, NOP, FIXUP = 3, 6, 8


def kernel(
    *, exceptions: dict[int, int] | None = None, jumps: dict[int, int] | None = None
) -> Kernel:
    """A kernel with ``f`` at TEXT, and the tables; None leaves a table's symbols out."""
    made = Kernel()
    made.struct("exception_table_entry", 12, ("insn", "int", 0), ("fixup", "int", 4),
                ("data", "int", 8))  # fmt: skip
    made.struct("jump_entry", 16, ("code", "int", 0), ("target", "int", 4), ("key", "long", 8))
    made.struct(
        "module", 64,
        ("num_exentries", "unsigned int", 0), ("extable", "unsigned long", 8),
        ("jump_entries", "unsigned long", 16), ("num_jump_entries", "unsigned int", 24),
    )  # fmt: skip
    made.put(TEXT, CODE)
    made.symbol("f", TEXT, len(CODE))
    if exceptions is not None:
        table(made, EXCEPTIONS, 12, exceptions, "___ex_table")
    if jumps is not None:
        table(made, JUMPS, 16, jumps, "___jump_table")
    return made


def table(made: Kernel, at: int, step: int, entries: dict[int, int], name: str = "") -> None:
    """Write a table of distances, each from its own field, and what names its ends."""
    for number, (code, target) in enumerate(entries.items()):
        place = at + number * step
        made.put(place, (code - place).to_bytes(4, "little", signed=True))
        made.put(place + 4, (target - place - 4).to_bytes(4, "little", signed=True))
    if name:
        made.symbol("__start" + name, at, 1)
        made.symbol("__stop" + name, at + step * len(entries), 1)


def listing(address: int = TEXT) -> list[Instruction]:
    return disassemble(CODE, address)


def flow(made: Kernel) -> Dataflow:
    return analyse_function(made.prog, SymbolAt("f", TEXT, len(CODE), None))


def test_a_fault_goes_on_at_its_fixup() -> None:
    made = kernel(exceptions={TEXT + LOAD: TEXT + FIXUP}, jumps={})
    assert more_edges(made.prog, listing()) == ({TEXT + LOAD: [TEXT + FIXUP]}, True)
    state = flow(made).state_before(TEXT + NOP)
    assert state.register("rax") not in (Entry("rdi"), Entry("rsi"))


def test_an_exception_knows_what_was_there_before_it() -> None:
    made = kernel(exceptions={TEXT + LOAD: TEXT + FIXUP}, jumps={})
    state = flow(made).state_before(TEXT + FIXUP)
    assert (state.register("rsi"), state.register("rbx")) == (Entry("rsi"), Entry("rbx"))


def test_a_handler_changes_registers() -> None:
    # ex_handler_fault() and others change ax, cx and dx, and the register that ``data`` names.
    made = kernel(exceptions={TEXT + LOAD: TEXT + FIXUP}, jumps={})
    made.put(EXCEPTIONS + 8, (17 | 3 << 8).to_bytes(4, "little"))
    state = flow(made).state_before(TEXT + FIXUP)
    assert state.register("rsi") == Entry("rsi")
    for name in ("rax", "rcx", "rdx", "rbx"):
        assert isinstance(state.register(name), Unknown), name


def test_code_that_no_table_leads_to_never_runs() -> None:
    made = kernel(exceptions={}, jumps={})
    assert more_edges(made.prog, listing()) == ({}, True)
    assert flow(made).state_before(TEXT + NOP).register("rax") == Entry("rdi")


@pytest.mark.parametrize("missing", ["exceptions", "jumps"])
def test_without_one_of_the_tables_any_code_may_run(missing: str) -> None:
    tables: dict[str, dict[int, int]] = {"exceptions": {}, "jumps": {}}
    del tables[missing]
    made = kernel(**tables)
    assert more_edges(made.prog, listing()) == ({}, False)
    assert isinstance(flow(made).state_before(TEXT + NOP).register("rax"), Unknown)


def test_a_static_key_jumps_or_does_not() -> None:
    made = kernel(exceptions={}, jumps={TEXT + NOP: TEXT + FIXUP})
    edges, known = more_edges(made.prog, listing())
    assert (edges, known) == ({TEXT + NOP: [TEXT + FIXUP, TEXT + NOP + 1]}, True)


def test_entries_of_other_functions_do_not_count() -> None:
    made = kernel(
        exceptions={TEXT - 1: TEXT + FIXUP, TEXT + len(CODE): TEXT, TEXT + 1: TEXT}, jumps={}
    )
    assert more_edges(made.prog, listing()) == ({}, True)


def in_module(made: Kernel) -> Kernel:
    """Add a module that holds the same code, and its own table."""
    made.put(MODULE, CODE)
    made.allocate("struct module", OBJECT, num_exentries=1, extable=MODULE + 0x800,
                  num_jump_entries=0)  # fmt: skip
    table(made, MODULE + 0x800, 12, {MODULE + LOAD: MODULE + FIXUP})
    names_of(made.prog).modules.append(
        ModuleRange(
            name="m", ranges=((MODULE, MODULE + 0x1000),), object_address=OBJECT, build_id=None
        )
    )
    return made


def test_a_modules_code_has_the_modules_tables() -> None:
    made = in_module(kernel(exceptions={TEXT + LOAD: TEXT + FIXUP}, jumps={}))
    expected: dict[int, list[int]] = {MODULE + LOAD: [MODULE + FIXUP]}
    assert more_edges(made.prog, listing(MODULE)) == (expected, True)


def test_a_modules_table_that_is_not_in_the_dump() -> None:
    made = in_module(kernel(exceptions={}, jumps={}))
    made.drop(OBJECT)
    assert more_edges(made.prog, listing(MODULE)) == ({}, False)


def test_a_table_of_impossible_size_is_none() -> None:
    made = kernel(exceptions={}, jumps={})
    made._symbols[:] = [s for s in made._symbols if s.name != "__stop___ex_table"]
    made.symbol("__stop___ex_table", EXCEPTIONS - 12, 1)
    assert more_edges(made.prog, listing()) == ({}, False)
    again = kernel(exceptions={}, jumps={})
    again._symbols[:] = [s for s in again._symbols if s.name != "__stop___ex_table"]
    again.symbol("__stop___ex_table", EXCEPTIONS + (1 << 26), 1)
    assert more_edges(again.prog, listing()) == ({}, False)


def test_nothing_is_asked_of_no_code() -> None:
    assert more_edges(kernel(exceptions={}, jumps={}).prog, []) == ({}, False)
