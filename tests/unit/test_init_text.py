"""Init code after boot: what lies there is not what ran."""

from __future__ import annotations

import pytest
from drgn import Object, TypeEnumerator

from crashkit.disasm import disassemble_function, disassemble_known
from crashkit.errors import Reason, Unavailable
from crashkit.symbols.init_text import is_given_up
from tests.unit.kernel_doubles import Kernel

START, END = 0xFFFF_FFFF_8200_0000, 0xFFFF_FFFF_8200_1000
_STATES = ("SYSTEM_BOOTING", "SYSTEM_SCHEDULING", "SYSTEM_FREEING_INITMEM", "SYSTEM_RUNNING")
NEW = dict(zip(_STATES, range(4), strict=True))
OLD = {"SYSTEM_BOOTING": 0, "SYSTEM_SCHEDULING": 1, "SYSTEM_RUNNING": 2}


def booted(state: int | None, names: dict[str, int] | None = None) -> Kernel:
    kernel = Kernel()
    kernel.put(START, b"\x90" * 0x20)
    kernel.symbol("_sinittext", START, 0)
    kernel.symbol("_einittext", END, 0)
    if state is not None:
        prog = kernel.prog
        enumerators = [TypeEnumerator(name, value) for name, value in (names or NEW).items()]
        type_ = prog.enum_type("system_states", prog.type("unsigned int"), enumerators)
        kernel._variables["system_state"] = Object(prog, type_, state)
    return kernel


@pytest.mark.parametrize(
    ("state", "names", "freed"),
    [(0, NEW, False), (1, NEW, False), (2, NEW, True), (3, NEW, True), (1, OLD, False),
     (2, OLD, True), (None, NEW, True)],
)  # fmt: skip
def test_it_is_given_up_when_the_kernel_has_booted(
    state: int | None, names: dict[str, int], freed: bool
) -> None:
    prog = booted(state, names).prog
    assert is_given_up(prog, START) is freed
    assert is_given_up(prog, END - 1) is freed
    assert not is_given_up(prog, END)
    assert not is_given_up(prog, START - 1)


def test_what_lies_there_now_is_not_disassembled() -> None:
    prog = booted(3).prog
    for disassemble in (disassemble_function, disassemble_known):
        with pytest.raises(Unavailable) as raised:
            disassemble(prog, START, 0x20)
        assert raised.value.reason is Reason.NOT_IN_DUMP
        assert "init" in raised.value.detail


def test_while_the_kernel_boots_it_is() -> None:
    assert len(disassemble_function(booted(1).prog, START, 0x20)) == 0x20


def test_a_kernel_without_the_symbols_has_none() -> None:
    assert not is_given_up(Kernel().prog, START)
