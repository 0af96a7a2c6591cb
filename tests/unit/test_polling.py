"""Loops that only a change of memory can end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crashkit.crash.panics import polling
from crashkit.crash.panics.polling import find_loop, find_polling, polled
from crashkit.decode.address_facts import AddressFacts
from crashkit.disasm import disassemble
from crashkit.errors import Reason, Unavailable
from crashkit.report.text_hang import hang_sentence
from crashkit.symbols import SymbolAt
from crashkit.unwind import RegisterValue
from crashkit.value import Certainty, Origin
from tests.unit.report_doubles import frame

CODE = 0xFFFF_FFFF_C044_04A0
PORT = 0xFFFF_8E84_0796_2180

# jmp 1f; 0: pause; 1: mov 0xa8(%rdi),%eax; cmp $5,%eax; jne 0b; ret
UNTIL_FIVE = "eb02 f390 8b87a8000000 83f805 75f3 c3"
# 0: mov 0xa8(%rdi),%eax; test %eax,%eax; je 1f; pause; jmp 0b; 1: ret
WHILE_SET = "8b87a8000000 85c0 7404 f390 ebf2 c3"
# 0: pause; cmpb $0,0xa8(%rdi); je 0b; ret
COMPARED_IN_MEMORY = "f390 80bfa800000000 74f5 c3"
# 0: pause; mov 0xa8(%rdi),%eax; test $4,%eax; je 0b; ret
ONE_BIT = "f390 8b87a8000000 a904000000 74f1 c3"
# 0: pause; dec %ecx; je 1f; cmpb $0,0xa8(%rdi); je 0b; 1: ret
COUNTED = "f390 ffc9 7409 80bfa800000000 74f1 c3"
# 0: mov (%rdi),%rdi; cmpb $0,0xa8(%rdi); jne 0b; ret
A_LIST = "488b3f 80bfa800000000 75f4 c3"
# 0: movb $1,0x10(%rsi); cmpb $0,0xa8(%rdi); je 0b; ret
WRITES = "c6461001 80bfa800000000 74f3 c3"
# 0: mov %gs:0x10,%eax; test %eax,%eax; je 0b; ret
PER_CPU = "658b042510000000 85c0 74f4 c3"


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Any:
    held = RegisterValue(value=PORT, origin=Origin.REGISTER, certainty=Certainty.PROVED)
    at = frame(0, "wait", pc=CODE + 2, interrupted=True, registers={"rdi": held})
    facts = AddressFacts(address=0, kind="slab", words="slab object kmalloc-192+0xa8")
    for name, answer in {
        "interrupted_frame": lambda crash, _cpu: crash.frame,
        "symbol_at": lambda _prog, _pc: SymbolAt("wait", CODE, 32, None),
        "disassemble_function": lambda prog, _start, _size: disassemble(prog.code, CODE),
        "classify_address": lambda _prog, _address, aliases: facts,
        "read_bytes": lambda prog, at, size, _what: prog.memory[at][:size],
    }.items():
        monkeypatch.setattr(polling, name, answer)
    memory = {PORT + 0xA8: (3).to_bytes(8, "little")}
    return SimpleNamespace(frame=at, prog=SimpleNamespace(code=b"", memory=memory))


@pytest.mark.parametrize(
    ("code", "size", "ends"),
    [
        (UNTIL_FIVE, 4, "is 5"),
        (WHILE_SET, 4, "is 0"),
        (COMPARED_IN_MEMORY, 1, "is not 0"),
        (ONE_BIT, 4, "changes"),
    ],
)
def test_what_a_cpu_waits_for(crash: Any, code: str, size: int, ends: str) -> None:
    crash.prog.code = bytes.fromhex(code)
    found = find_polling(crash, 0)
    assert found is not None
    assert (found.address, found.size, found.value, found.ends) == (PORT + 0xA8, size, 3, ends)


@pytest.mark.parametrize("code", [COUNTED, A_LIST, WRITES, PER_CPU, "90 90 90 90 c3"])
def test_a_loop_that_something_else_may_end_is_none(crash: Any, code: str) -> None:
    crash.prog.code = bytes.fromhex(code)
    assert find_polling(crash, 0) is None


def test_without_registers_nothing_is_said(crash: Any) -> None:
    crash.prog.code = bytes.fromhex(UNTIL_FIVE)
    crash.frame = frame(0, "wait", pc=CODE + 2, interrupted=True)
    for at in (crash.frame, None):
        crash.frame = at
        with pytest.raises(Unavailable) as caught:
            find_polling(crash, 0)
        assert caught.value.reason is Reason.NOT_SAVED


def test_the_smallest_loop_around_the_place() -> None:
    # 0: pause; 1: cmpb $0,0xa8(%rdi); je 1b; jmp 0b
    code = disassemble(bytes.fromhex("f390 80bfa800000000 74f7 ebf3"), CODE)
    inner = find_loop(code, CODE + 2)
    assert inner is not None
    assert [one.operation for one in inner] == ["cmp", "je"]
    outer = find_loop(code, CODE)
    assert outer is not None
    assert polled(outer) is None  # no way out
    assert find_loop(code, CODE + 64) is None


@pytest.mark.parametrize(
    ("ends", "words"),
    [("is 5", "are 5: now 0."), ("is not 5", "are not 5: now 0."), ("changes", "change: now 0.")],
)
def test_the_sentence(ends: str, words: str) -> None:
    place = {"function": "wait", "offset": 9, "module": None, "pc": "0x1"}
    line = {"cpu": 1, "place": place, "interrupts": True, "comm": "poller", "pid": 7, "task": "0x1"}
    polls = {"address": f"{PORT:#x}", "size": 4, "value": 0, "words": "slab object x", "ends": ends}
    stall = {"cpus": [{"line": line, "polls": polls}]}
    said = hang_sentence({"panic": {"kind": "rcu-stall", "facts": {"stall": stall}}})
    assert said is not None
    assert said.endswith(f"It loops until the 4 bytes at {PORT:016x} (slab object x) {words}")
