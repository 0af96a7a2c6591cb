"""Walks from places that are no code."""

from __future__ import annotations

import pytest

from crashkit.unwind import Context, Walk, walk
from tests.unit.stack_doubles import STACK, TEXT, MockKernel, functions, orc
from tests.unit.test_unwind import known

SP = STACK + 0x3000
AT = 0x120
CALL_RAX, CALL_MEMBER, CALL_FAR_MEMBER = b"\xff\xd0", b"\xff\x50\x18", b"\x41\xff\x94\x24\0\1\0\0"
DATA = TEXT + 0x8000


def direct(target: int) -> bytes:
    return b"\xe8" + (target - AT).to_bytes(4, "little", signed=True)


def stopped(pc: int, call: bytes, **code: bytes) -> Walk:
    """``caller`` has made a call that ends at 0x120; rsp points at its return address."""
    kernel = MockKernel()
    kernel.function("caller", 0x100, orc(0, kind=1))
    kernel.function("_sinittext", 0x7000, None, 0)
    kernel.function("_einittext", 0x7800, None, 0)
    kernel.function("_etext", 0x6000, None, 0)
    kernel.function("data", 0x8000, None)
    kernel.function("init", 0x7100, None)
    for number, (name, made) in enumerate(code.items()):
        kernel.function(name, 0x200 + 0x100 * number, orc(0, kind=1), len(made))
        kernel.text[0x200 + 0x100 * number : 0x200 + 0x100 * number + len(made)] = made
    kernel.text[AT - len(call) : AT] = call
    kernel.push(SP, TEXT + AT)
    start = Context(pc=pc, sp=SP, registers=known(rbx=5, rax=6))
    return walk(kernel.program(), start)


@pytest.mark.parametrize("call", [CALL_RAX, CALL_MEMBER, CALL_FAR_MEMBER])
@pytest.mark.parametrize("pc", [0, 0x1234, 0xFFFF_FFFF_C000_0000, 0xDEAD_0000_0000_0100, DATA])
def test_a_call_through_a_bad_pointer_returns_to_the_caller(pc: int, call: bytes) -> None:
    walked = stopped(pc, call)
    assert [frame.pc for frame in walked.frames] == [pc, TEXT + AT]
    caller = walked.frames[1]
    assert (caller.function, caller.sp, caller.slot) == ("caller", SP + 8, SP)
    assert {name: held.value for name, held in caller.registers.items()} == {"rbx": 5}
    assert walked.complete


@pytest.mark.parametrize("pc", [TEXT + 0x300, TEXT + 0x7100])
def test_code_without_a_rule_is_not_taken_for_a_bad_pointer(pc: int) -> None:
    assert functions(stopped(pc, CALL_RAX).frames)[1:] == []


def test_a_call_of_a_function_that_jumps_through_a_pointer() -> None:
    assert functions(stopped(0, direct(0x200), jumps=b"\x90\xff\xe0").frames) == [None, "caller"]


def test_a_thunk_is_a_call_through_a_pointer() -> None:
    call = direct(0x200)
    assert len(stopped(0, call, __x86_indirect_thunk_rax=b"\x90\xc3").frames) == 2


@pytest.mark.parametrize("call", [b"\x90\x90", direct(0x200), direct(0x201)])
def test_what_no_call_through_a_pointer_pushed_is_no_return_address(call: bytes) -> None:
    # Such as after a return to a bad address: then rsp points at something else.
    walked = stopped(0, call, plain=b"\x90\xc3")
    assert functions(walked.frames) == [None]
    assert "no kernel text" in walked.end
    assert not walked.complete
