"""Functions that align their stack pointer, in frames of which the CFA is known."""

from __future__ import annotations

import pytest

from crashkit.dataflow import Dataflow, Entry, FrameAddress, alignment_of, analyse_function
from crashkit.symbols import SymbolAt
from crashkit.value import Certainty
from tests.unit.arguments_doubles import CALLEE, CALLER, Stacked, call
from tests.unit.kernel_doubles import Kernel

BASE = 0xFFFF_FFFF_8100_0000

# push %rbp; mov %rsp,%rbp; push %rbx; and $-16,%rsp; sub $0x20,%rsp; mov %rdi,8(%rsp)
BEFORE = bytes.fromhex("55 48 89 e5 53 48 83 e4 f0 48 83 ec 20 48 89 7c 24 08")
# mov 8(%rsp),%rax; lea -8(%rbp),%rsp; mov %ebx,%eax; pop %rbx; pop %rbp; ret
AFTER = bytes.fromhex("48 8b 44 24 08 48 8d 65 f8 89 d8 5b 5d c3")
BY_RBP = BEFORE + bytes.fromhex("e8 fb 0f 00 00") + AFTER
BACK = len(BEFORE) + 5
# lea 8(%rsp),%r10; and $-16,%rsp; push -8(%r10); push %rbp; mov %rsp,%rbp; push %r10;
# sub $0x18,%rsp; mov %rdi,8(%rsp); call; mov 8(%rsp),%rax; mov -8(%rbp),%r10; leave;
# lea -8(%r10),%rsp; ret
BY_R10 = bytes.fromhex(
    "4c 8d 54 24 08 48 83 e4 f0 41 ff 72 f8 55 48 89 e5 41 52 48 83 ec 18 48 89 7c 24 08"
    "e8 fb 0f 00 00 48 8b 44 24 08 4c 8b 55 f8 c9 49 8d 62 f8 c3"
)


def analysed(code: bytes, cfa: int | None) -> Dataflow:
    kernel = Kernel()
    kernel.put(BASE, code)
    function = SymbolAt("f", BASE, len(code), None)
    return analyse_function(kernel.prog, function, cfa)


def at(flow: Dataflow, offset: int) -> tuple[object, object]:
    state = flow.state_before(BASE + offset)
    slot = {place: each.term for place, each in state.slots.items() if each.term == Entry("rdi")}
    return state.register("rsp"), slot


@pytest.mark.parametrize(("cfa", "rsp"), [(0x1000, -64), (0x1008, -56), (0xFF8, -56)])
def test_what_is_taken_off_is_known_by_the_cfa(cfa: int, rsp: int) -> None:
    flow = analysed(BY_RBP, cfa)
    assert at(flow, BACK) == (FrameAddress(rsp), {rsp + 8: Entry("rdi")})
    assert flow.state_before(BASE + len(BY_RBP) - 1).register("rsp") == FrameAddress(-8)
    assert flow.complete


def test_without_it_nothing_is_known_there() -> None:
    rsp, slots = at(analysed(BY_RBP, None), BACK)
    assert not isinstance(rsp, FrameAddress)
    assert slots == {}


@pytest.mark.parametrize(("cfa", "rsp"), [(0x1000, -64), (0x1008, -56)])
def test_by_r10(cfa: int, rsp: int) -> None:
    # Without variables that are known the callee may change them: r10 has the frame's address.
    flow = analysed(BY_R10, cfa)
    assert at(flow, 0x1C) == (FrameAddress(rsp), {rsp + 8: Entry("rdi")})
    assert flow.state_before(BASE + len(BY_R10) - 1).register("rsp") != FrameAddress(rsp)


def test_two_ways_to_it_with_another_stack_pointer_tell_nothing() -> None:
    # test %esi,%esi; je 1f; push %rbx; 1: and $-32,%rsp; sub $0x20,%rsp; mov %rdi,8(%rsp); ret
    code = bytes.fromhex("85 f6 74 01 53 48 83 e4 e0 48 83 ec 20 48 89 7c 24 08 c3")
    rsp, slots = at(analysed(code, 0x1000), len(code) - 1)
    assert not isinstance(rsp, FrameAddress)
    assert slots == {}


@pytest.mark.parametrize("operand", ["10", "80 ", "f3"])
def test_another_and_is_no_alignment(operand: str) -> None:
    code = bytes.fromhex(f"48 83 e4 {operand} 48 89 7c 24 08 c3")  # and $…,%rsp
    rsp, _ = at(analysed(code, 0x1000), len(code) - 1)
    assert not isinstance(rsp, FrameAddress)


def test_other_functions_do_not_depend_on_their_place() -> None:
    kernel = Kernel()
    kernel.put(BASE, b"\x90\xc3")
    function = SymbolAt("f", BASE, 2, None)
    assert alignment_of(kernel.prog, function, 0x1008) is None
    assert analyse_function(kernel.prog, function, 0x1008) is analyse_function(
        kernel.prog, function, 0x1010
    )
    assert alignment_of(kernel.prog, SymbolAt("gone", BASE + 0x10000, 2, None), 8) is None


def stopped(*cfas: int, sp_of: int | None = None) -> Stacked:
    """Frames of the function at these CFAs, each below the next; in each rdi is in its slot."""
    stack = Stacked()
    made = BEFORE + call(CALLER + len(BEFORE), CALLEE) + AFTER
    stack.put("caller", CALLER, made)
    stack.describe("caller", "unsigned long")
    for cfa in cfas:
        sp = cfa - 24 - (cfa - 24) % 16 - 0x20 if sp_of is None else sp_of
        stack.stop("caller", BACK, sp=sp, cfa=cfa)
        stack.words(sp + 8, cfa)
    return stack


def test_an_argument_is_read_from_where_it_is_in_each_frame() -> None:
    low, high = 0xFFFF_C900_0000_1100, 0xFFFF_C900_0000_1208
    stack = stopped(low, high)
    for position, cfa in enumerate((low, high), 1):
        found, _ = stack.recover(position)
        assert (found["a"].value, found["a"].certainty) == (cfa, Certainty.PROVED)


def test_a_stack_pointer_that_does_not_fit_proves_nothing() -> None:
    found, missing = stopped(0xFFFF_C900_0000_1100, sp_of=0xFFFF_C900_0000_10B8).recover(1)
    assert "a" in missing or found["a"].certainty is Certainty.INFERRED
