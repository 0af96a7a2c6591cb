"""The fault explained from the text alone: bytes, registers and the CPU's address together."""

from __future__ import annotations

import pytest

from crashkit.errors import Reason
from crashkit.fault import printed_fault
from crashkit.fault.model import Fault
from crashkit.fault.printed_code import disassemble_printed, find_definition
from crashkit.oops import CodeBytes, parse_oops
from crashkit.report.text_bt import register_rows
from tests.unit import oops_logs as logs

PROLOGUE = "0f 1f 44 00 00 41 54 55 53 48 89 fb 48 8b bf 88 00 00 00 48 8b 47 10"
# nopl 0(%rax,%rax,1); push %r12; push %rbp; push %rbx; mov %rdi,%rbx; mov 0x88(%rdi),%rdi;
# mov 0x10(%rdi),%rax
TRAP = "<48> 8b 40 28 48 85 c0 74 05"  # mov 0x28(%rax),%rax; test %rax,%rax; je


def log(
    *, code: str = f"{PROLOGUE} {TRAP}", rax: int = 0, address: int = 0x28,
    opening: str = "BUG: kernel NULL pointer dereference, address: {:016x}",
) -> str:  # fmt: skip
    return (
        f"{opening.format(address)}\nOops: 0000 [#1] SMP\n"
        f"RIP: 0010:widget_get+0x17/0x40 [widget]\nCode: {code}\n"
        f"RSP: 0018:ffffa3a7001ef788 EFLAGS: 00000246\nRAX: {rax:016x} RBX: ffff8e4e8f66ff00\n"
    )


def explained(text: str) -> Fault:
    oops = parse_oops(text)
    assert oops is not None
    fault = printed_fault(oops)
    assert fault is not None
    return fault


def test_registers_and_operand_give_the_address_the_cpu_reported() -> None:
    fault = explained(log())
    assert (fault.instruction, fault.bad_register) == ("mov 0x28(%rax),%rax", "rax")
    assert (fault.address, fault.access, fault.conflict) == (0x28, "read", None)
    assert (fault.diagnosis.kind, fault.diagnosis.statement) == ("null", "rax was NULL")


def test_what_set_the_register_is_shown() -> None:
    made, trapping = explained(log()).steps
    assert (made.instruction, made.offset, made.value) == ("mov 0x10(%rdi),%rax", 0x13, 0)
    assert (trapping.instruction, trapping.offset) == ("mov 0x28(%rax),%rax", 0x17)
    assert trapping.trapping


def test_another_address_than_the_cpus_is_a_conflict() -> None:
    fault = explained(log(rax=0x1000))
    assert fault.conflict is not None
    assert "0x1028" in fault.conflict
    assert fault.address == 0x28
    assert (fault.bad_register, fault.absent["bad_register"]) == (None, Reason.NO_DEBUGINFO)
    assert fault.steps == ()


def test_a_general_protection_fault_has_the_address_of_its_operand() -> None:
    opening = "general protection fault: 0000 [#1] SMP\nsome words {}"
    fault = explained(log(rax=0xDEAD000000000100, opening=opening))
    assert fault.address == 0xDEAD000000000128
    assert fault.diagnosis.kind == "list-poison"


def test_a_check_by_kasan_is_about_the_address_it_checks() -> None:
    code = f"{PROLOGUE} <80> 3c 10 00 74 05"  # cmpb $0x0,(%rax,%rdx,1)
    opening = "general protection fault: 0000 [#1] SMP KASAN\nsome words {}"
    text = log(code=code, rax=5, opening=opening) + "RDX: dffffc0000000000\n"
    fault = explained(text)
    assert fault.diagnosis.statement.startswith("rax << 3 was 0x28")
    assert fault.diagnosis.kind == "null"


def test_an_operand_relative_to_rip_needs_the_address() -> None:
    code = f"{PROLOGUE} <48> 8b 05 00 10 00 00"
    fault = explained(log(code=code, address=0xFFFF888000000000))
    assert (fault.instruction, fault.conflict) == (None, None)


def test_other_machines_code_is_not_read_as_x86() -> None:
    for text in (logs.ARM64_5, logs.I386_26, logs.POWERPC):
        fault = explained(text)
        assert (fault.instruction, fault.conflict, fault.steps) == (None, None, ())
        assert fault.diagnosis.kind == "null"


def test_registers_of_other_machines_have_their_own_names() -> None:
    rows = register_rows({"x0": "0x1c", "sp": "0xffffffc0123f3a10"})
    assert rows == ["       X0: 000000000000001c       SP: ffffffc0123f3a10"]
    assert register_rows({"eax": "0x1"}) == ["      EAX: 00000001"]


def test_no_interrupted_place_no_fault() -> None:
    oops = parse_oops("Kernel panic - not syncing: VFS: Unable to mount root fs")
    assert oops is not None
    assert printed_fault(oops) is None


def around(before: str) -> CodeBytes:
    data = bytes.fromhex(before)
    return CodeBytes(data=data + bytes.fromhex("488b4028"), trapping=len(data))


def test_backwards_only_where_every_start_agrees() -> None:
    code = disassemble_printed(around(PROLOGUE))
    assert [i.text for i in code.before] == ["mov 0x10(%rdi),%rax"]
    assert not code.ambiguous
    assert code.trapping is not None
    made = find_definition(code, "rax")
    assert made is not None
    assert made.text == "mov 0x10(%rdi),%rax"


def test_readings_that_disagree_are_ambiguous() -> None:
    # Any suffix of these is a whole instruction before the mark: a constant and its move.
    code = disassemble_printed(around("48 b8 " + "90 " * 8 + "48 b8 " + "90 " * 8))
    assert code.ambiguous or all(i.text == "nop" for i in code.before)
    assert find_definition(code, "rax") is None


@pytest.mark.parametrize("before", ["", "48 8b 47 10", "90 " * 14])
def test_too_few_bytes_prove_no_boundary(before: str) -> None:
    code = disassemble_printed(around(before))
    assert (code.before, code.ambiguous) == ((), False)
    assert code.trapping is not None


def test_a_call_in_between_ends_the_search() -> None:
    code = disassemble_printed(around(PROLOGUE + " e8 00 00 00 00"))
    assert find_definition(code, "rax") is None


def test_no_mark_no_instruction() -> None:
    code = disassemble_printed(CodeBytes(data=b"\x90" * 20, trapping=None))
    assert (code.trapping, code.before, code.after) == (None, (), ())
