"""Which spinlocks a function on the stack took, by its code and registers."""

from __future__ import annotations

import pytest

from crashkit.crash.panics.spin_holders import taken_by
from crashkit.symbols.lookup import names_of
from crashkit.unwind import Frame, RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.arguments_doubles import call
from tests.unit.kernel_doubles import Kernel
from tests.unit.report_doubles import frame

HOLD = 0xFFFF_FFFF_8100_0000
LOCK, UNLOCK, POLL = HOLD + 0x100, HOLD + 0x200, HOLD + 0x300
DEVICE = 0xFFFF_8880_1234_5000

_ENTER = bytes.fromhex("53 48 89 fb")  # push %rbx; mov %rdi,%rbx
_RING = bytes.fromhex("48 8d 7b 30")  # lea 0x30(%rbx),%rdi
_DEVICE = bytes.fromhex("48 89 df")  # mov %rbx,%rdi
_PLAIN_UNLOCK = bytes.fromhex("c6 07 00")  # movb $0x0,(%rdi)
_LEAVE = bytes.fromhex("5b c3")  # pop %rbx; ret
RET = b"\xc3"


def _code(*parts: bytes | int) -> tuple[bytes, list[int]]:
    # Numbers are functions to call; gives the code and the calls' return addresses.
    code, returns = b"", []
    for part in parts:
        if isinstance(part, int):
            code += call(HOLD + len(code), part)
            returns.append(HOLD + len(code))
        else:
            code += part
    return code, returns


def _kernel(code: bytes) -> Kernel:
    kernel = Kernel()
    names_of(kernel.prog).text = (HOLD, HOLD + 0x1000)
    functions = {"hold": (HOLD, code), "_raw_spin_lock": (LOCK, RET),
                 "_raw_spin_unlock": (UNLOCK, RET), "poll": (POLL, RET)}  # fmt: skip
    for name, (address, body) in functions.items():
        kernel.put(address, body)
        kernel.symbol(name, address, len(body))
    return kernel


def _stack(code: bytes, at: int, registers: dict[str, int]) -> tuple[Frame, ...]:
    held = {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in registers.items()
    }
    return (frame(0, "hold", at - HOLD, pc=at, size=len(code), registers=held),)


def test_a_lock_taken_before_and_not_let_go() -> None:
    code, returns = _code(_ENTER, _RING, LOCK, _DEVICE, POLL, _RING, UNLOCK, _LEAVE)
    prog = _kernel(code).prog
    (taken,) = taken_by(prog, _stack(code, returns[1], {"rbx": DEVICE}))
    assert taken.value == DEVICE + 0x30
    assert (taken.function, taken.called, taken.offset) == ("hold", "_raw_spin_lock", 8)


@pytest.mark.parametrize("unlock", [(_RING, UNLOCK), (_RING, _PLAIN_UNLOCK)])
def test_a_lock_that_was_let_go(unlock: tuple[bytes | int, ...]) -> None:
    code, returns = _code(_ENTER, _RING, LOCK, *unlock, _DEVICE, POLL, _LEAVE)
    prog = _kernel(code).prog
    assert list(taken_by(prog, _stack(code, returns[-1], {"rbx": DEVICE}))) == []


def test_the_call_under_way_is_not_a_lock_that_it_has() -> None:
    code, returns = _code(_ENTER, _RING, LOCK, _LEAVE)
    prog = _kernel(code).prog
    assert list(taken_by(prog, _stack(code, returns[0], {"rbx": DEVICE}))) == []


def test_the_same_lock_again_is_told_by_the_first_call() -> None:
    code, returns = _code(_ENTER, _RING, LOCK, _RING, LOCK, _LEAVE)
    prog = _kernel(code).prog
    (taken,) = taken_by(prog, _stack(code, returns[1], {"rbx": DEVICE}))
    assert taken.value == DEVICE + 0x30


def test_without_the_register_nothing_is_said() -> None:
    code, returns = _code(_ENTER, _RING, LOCK, _DEVICE, POLL, _LEAVE)
    prog = _kernel(code).prog
    assert list(taken_by(prog, _stack(code, returns[1], {}))) == []


def test_code_that_is_not_in_the_dump_is_left_out() -> None:
    code, returns = _code(_ENTER, _RING, LOCK, POLL, _LEAVE)
    kernel = _kernel(code)
    kernel.drop(HOLD)
    assert list(taken_by(kernel.prog, _stack(code, returns[1], {"rbx": DEVICE}))) == []
