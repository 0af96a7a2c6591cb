"""A BUG() ends a path, a WARN() does not, and where nothing tells it does not either."""

from __future__ import annotations

import pytest

from crashkit.dataflow import Dataflow, Entry, Unknown, analyse_function
from crashkit.dataflow.bugs import goes_on
from crashkit.symbols import SymbolAt
from crashkit.symbols.lookup import ModuleRange, names_of
from tests.unit.kernel_doubles import Kernel

TEXT = 0xFFFF_FFFF_8100_0000
TABLE = 0xFFFF_FFFF_8200_0000
MODULE = 0xFFFF_FFFF_C000_0000
OBJECT = 0xFFFF_8880_0020_0000
# mov %rdi,%rax; test %rsi,%rsi; je 1f; xor %eax,%eax; ud2; 1: nop; ret
CODE = bytes.fromhex("48 89 f8 48 85 f6 74 04 31 c0 0f 0b 90 c3")
TRAP, AFTER = 10, 12
_WARNING = 1


def kernel(
    flags: int | None, *, at: int = TEXT, table: int = TABLE, absolute: bool = False
) -> Kernel:
    """A kernel with ``f``, whose ``ud2`` has an entry with these flags; None: it has none."""
    made = Kernel()
    disp = ("bug_addr", "unsigned long", 0) if absolute else ("bug_addr_disp", "int", 0)
    made.struct("bug_entry", 24, disp, ("file_disp", "int", 8), ("line", "unsigned short", 12),
                ("flags", "unsigned short", 14))  # fmt: skip
    made.struct("module", 64, ("bug_table", "unsigned long", 8), ("num_bugs", "unsigned int", 16))
    made.put(at, CODE)
    made.symbol("f", at, len(CODE))
    made.symbol("__start___bug_table", TABLE, 1)
    made.symbol("__stop___bug_table", TABLE + 48, 1)
    made.put(TABLE, bytes(48))
    if flags is not None:
        place = at + TRAP
        value = (
            place.to_bytes(8, "little")
            if absolute
            else (place - table - 24).to_bytes(4, "little", signed=True)
        )
        made.put(table + 24, value)
        made.put(table + 24 + 14, flags.to_bytes(2, "little"))
    return made


def flow(made: Kernel, at: int = TEXT) -> Dataflow:
    return analyse_function(made.prog, SymbolAt("f", at, len(CODE), None))


@pytest.mark.parametrize("absolute", [False, True])
def test_behind_a_bug_nothing_runs(absolute: bool) -> None:
    made = kernel(0, absolute=absolute)
    assert not goes_on(made.prog, TEXT + TRAP)
    assert flow(made).state_before(TEXT + AFTER).register("rax") == Entry("rdi")


@pytest.mark.parametrize("flags", [_WARNING, _WARNING | 1 << 8, _WARNING | 6])
def test_behind_a_warning_the_function_goes_on(flags: int) -> None:
    made = kernel(flags)
    assert goes_on(made.prog, TEXT + TRAP)
    assert isinstance(flow(made).state_before(TEXT + AFTER).register("rax"), Unknown)


def test_a_trap_that_is_not_in_the_table_may_go_on() -> None:
    assert goes_on(kernel(None).prog, TEXT + TRAP)


def test_an_address_with_both_may_go_on() -> None:
    made = kernel(0)
    made.put(TABLE, (TEXT + TRAP - TABLE).to_bytes(4, "little", signed=True))
    made.put(TABLE + 14, b"\x01\x00")
    assert goes_on(made.prog, TEXT + TRAP)


@pytest.mark.parametrize("size", [-24, 1 << 28])
def test_a_table_of_impossible_size_tells_nothing(size: int) -> None:
    made = kernel(0)
    made._symbols[:] = [s for s in made._symbols if s.name != "__stop___bug_table"]
    made.symbol("__stop___bug_table", TABLE + size, 1)
    assert goes_on(made.prog, TEXT + TRAP)


def test_without_the_type_or_the_table_nothing_is_a_bug() -> None:
    made = kernel(0)
    made.forget("bug_entry")
    assert goes_on(made.prog, TEXT + TRAP)
    made = kernel(0)
    made.drop(TABLE)
    assert goes_on(made.prog, TEXT + TRAP)


def test_a_module_has_its_own_table() -> None:
    made = kernel(0, at=MODULE, table=MODULE + 0x800)
    made.allocate("struct module", OBJECT, bug_table=MODULE + 0x800, num_bugs=2)
    ranges = ((MODULE, MODULE + 0x1000),)
    module = ModuleRange(name="m", ranges=ranges, object_address=OBJECT, build_id=None)
    names_of(made.prog).modules.append(module)
    assert not goes_on(made.prog, MODULE + TRAP)
    assert flow(made, MODULE).state_before(MODULE + AFTER).register("rax") == Entry("rdi")
