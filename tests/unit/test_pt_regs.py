"""The registers a system call was made with: which stay as they were, and in which calls."""

from __future__ import annotations

import pytest

from crashkit.arguments.pt_regs import user_registers
from crashkit.value import Certainty
from tests.unit.arguments_doubles import CALLER, OTHER, SP, Stacked, call
from tests.unit.stack_doubles import _ORDER

REGS = SP + 8
"""Where ``struct pt_regs`` lies: on top of the entry code's stack when it calls."""
ENTRY = "entry_SYSCALL_64_after_hwframe"
DI, AX, ORIG_AX, R10 = 0x70, 0x50, 0x78, 0x38
ARGUMENTS = {"di", "si", "dx", "r10", "r8", "r9"}


def system_call(
    member: int, *, entry: str = ENTRY, function: str = "__x64_sys_x", end: bytes = b"\xc3"
) -> Stacked:
    """A call of ``callee`` with a word of pt_regs in rdi, by a system call's function."""
    stack = Stacked()
    stack.kernel.struct(
        "pt_regs", 168, *((n, "unsigned long", 8 * i) for i, n in enumerate(_ORDER))
    )
    stack.caller(bytes.fromhex("48 8b 7f") + bytes([member]), depth=8)  # mov member(%rdi),%rdi
    stack.change(1, function=function)
    code = bytes.fromhex("48 89 e7")  # mov %rsp,%rdi
    code += call(OTHER + len(code), CALLER)
    stack.put(entry, OTHER, code + end)
    # The entry code of a system call has its symbol in the middle of the frame.
    cfa = REGS + (168 if entry == ENTRY else 8)
    stack.stop(entry, len(code), sp=REGS, cfa=cfa)
    stack.words(REGS, *range(100, 121))
    return stack


def certainty(stack: Stacked) -> Certainty:
    return stack.recover()[0]["a"].certainty


@pytest.mark.parametrize("member", [DI, R10])
def test_argument_registers_of_a_system_call_are_as_they_were(member: int) -> None:
    stack = system_call(member)
    argument = stack.recover()[0]["a"]
    assert (argument.value, argument.certainty) == (100 + member // 8, Certainty.PROVED)
    assert f"the system call's {_ORDER[member // 8]} at" in argument.how


@pytest.mark.parametrize("member", [AX, ORIG_AX, 0x28])
def test_the_result_the_number_and_the_others_may_have_changed(member: int) -> None:
    # ax and orig_ax are written in the call (do_syscall_64, syscall_enter_from_user_mode).
    stack = system_call(member)
    argument = stack.recover()[0]["a"]
    assert (argument.value, argument.certainty) == (100 + member // 8, Certainty.INFERRED)


def test_only_the_six_arguments_are_stable() -> None:
    stack = system_call(DI)
    found = user_registers(stack.kernel.prog, stack.frames)
    assert found.members == {REGS + 8 * _ORDER.index(name): name for name in ARGUMENTS}
    assert found.stable(REGS + DI, 4) == "di"
    assert found.stable(REGS + DI, 16) is None  # reaches into the next
    assert found.stable(REGS + DI + 4, 4) is None


@pytest.mark.parametrize("function", ["do_execveat_common", "__do_sys_rt_sigreturn", "ptrace_stop"])
def test_calls_that_give_the_task_other_registers_prove_nothing(function: str) -> None:
    assert certainty(system_call(DI, function=function)) is Certainty.INFERRED


def test_an_exceptions_entry_code_is_no_system_call() -> None:
    assert certainty(system_call(DI, entry="asm_exc_page_fault")) is Certainty.INFERRED


def test_an_entry_that_was_interrupted_has_not_called() -> None:
    stack = system_call(DI)
    stack.change(2, interrupted=True)
    assert user_registers(stack.kernel.prog, stack.frames).members == {}
    assert user_registers(stack.kernel.prog, []).members == {}


def test_without_types_nothing_is_stable() -> None:
    stack = system_call(DI)
    stack.kernel.forget("pt_regs")
    assert user_registers(stack.kernel.prog, stack.frames).members == {}


def test_an_address_that_is_not_proved_makes_no_proof() -> None:
    # The entry code's rdi comes out of code with an int3 in it: test; jne 1f; …; 1: int3
    stack = system_call(DI)
    code = bytes.fromhex("85 ff 75 09 48 89 e7")
    code += call(OTHER + len(code), CALLER)
    stack.put(ENTRY, OTHER, code + b"\xc3\xcc")
    del stack.frames[2]
    stack.stop(ENTRY, len(code), sp=REGS, cfa=REGS + 168)
    argument = stack.recover()[0]["a"]
    assert (argument.value, argument.certainty) == (100 + DI // 8, Certainty.INFERRED)
