"""What the function tracer's trampolines pass on: recovered from their own code."""

from __future__ import annotations

import pytest

from crashkit.arguments import recover_entry_registers
from crashkit.dataflow import Const, FrameAddress, Load, analyse_function, state_at
from crashkit.symbols.lookup import SymbolAt, names_of
from tests.unit.kernel_doubles import Kernel

GENERATED = 0xFFFF_FFFF_C037_6000
OPS = 0xFFFF_FFFF_A8A3_A040

# pushf; sub $0xa8,%rsp; mov %rbp,0x20(%rsp); mov 0x24(%rip),%rdx; mov %r12,0x18(%rsp);
# lea (%rsp),%rcx; call .+0x1000; mov 0x18(%rsp),%r12; mov 0x20(%rsp),%rbp; add $0xa8,%rsp;
# popf; ret; int3; (what is no whole instruction); the address of the ftrace_ops
CODE = bytes.fromhex(
    "9c 48 81 ec a8 00 00 00 48 89 6c 24 20 48 8b 15 24 00 00 00 4c 89 64 24 18"
    "48 8d 0c 24 e8 fb 0f 00 00 4c 8b 64 24 18 48 8b 6c 24 20 48 81 c4 a8 00 00 00"
    "9d c3 cc 00 40"
) + OPS.to_bytes(8, "little")
CALL, BACK = 0x1D, 0x22


def trampoline(at: int = GENERATED) -> tuple[Kernel, SymbolAt]:
    kernel = Kernel()
    kernel.put(at, CODE)
    names_of(kernel.prog).text = (0xFFFF_FFFF_8100_0000, 0xFFFF_FFFF_8200_0000)
    return kernel, SymbolAt("ftrace_trampoline", at, len(CODE), None)


def test_the_address_behind_its_code_is_a_constant() -> None:
    kernel, function = trampoline()
    flow = analyse_function(kernel.prog, function)
    before = state_at(flow, GENERATED + CALL)
    assert before.register("rdx") == Const(OPS)
    assert before.register("rcx") == FrameAddress(-8 - 8 - 0xA8)
    assert flow.complete


def test_a_load_of_the_kernels_text_is_no_constant() -> None:
    at = 0xFFFF_FFFF_8100_4000
    kernel, function = trampoline(at)
    flow = analyse_function(kernel.prog, function)
    assert isinstance(state_at(flow, at + CALL).register("rdx"), Load)


@pytest.mark.parametrize("distance", [0x39, -1, 0x1000])
def test_a_load_of_what_is_not_all_its_own_is_no_constant(distance: int) -> None:
    kernel, function = trampoline()
    code = bytearray(CODE)
    code[0x10:0x14] = (distance - 0x14).to_bytes(4, "little", signed=True)
    kernel.put(GENERATED, bytes(code))
    flow = analyse_function(kernel.prog, function)
    assert isinstance(state_at(flow, GENERATED + CALL).register("rdx"), Load)


def test_registers_it_shows_to_a_handler_are_those_it_has_itself() -> None:
    # The handler is given a pointer to what was stored, and may change it.
    kernel, function = trampoline()
    found = recover_entry_registers(kernel.prog, function, GENERATED + BACK, False)
    assert {name: (at.register, at.cfa_offset) for name, at in found.items()} == {
        name: (name, None) for name in ("rbx", "rbp", "r12", "r13", "r14", "r15")
    }
    assert all(at.certain for at in found.values())
