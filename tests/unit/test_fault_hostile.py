"""Faults in code and on stacks that were made to exhaust whoever explains them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drgn import TypeParameter
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.dataflow import analyse
from crashkit.disasm import disassemble
from crashkit.errors import Reason
from crashkit.fault import Fault, explain_fault
from tests.unit.code_doubles import BASE, Snippet, fault_frame
from tests.unit.kernel_doubles import Kernel
from tests.unit.test_fault import CT, SP

COPIES = "48 89 f8 48 89 f1"
"""mov %rdi,%rax; mov %rsi,%rcx"""
READ = bytes.fromhex("48 8b 10 c3")
"""mov (%rax),%rdx; ret"""


def junk_fault(junk: bytes, pc: int, **registers: int) -> Fault:
    kernel = Kernel()
    kernel.struct("nf_conn", 0x138, ("next", "struct nf_conn *", 0), ("status", "long", 0x80))
    kernel.put(BASE, junk)
    kernel.symbol("f", BASE, len(junk))
    snippet = Snippet(source="", code=junk)
    made = [TypeParameter(kernel.type("struct nf_conn *"), name) for name in ("ct", "other")]
    prototype = kernel.prog.function_type(kernel.prog.void_type(), made)
    frame = fault_frame(snippet, pc, rsp=SP, rdi=CT, **registers)
    return explain_fault(kernel.prog, frame, fault_address=registers["rax"], prototype=prototype)


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=60), st.integers(0, (1 << 64) - 1))
def test_any_code_is_explained_or_has_reasons(junk: bytes, address: int) -> None:
    fault = junk_fault(junk, BASE, rax=address)
    assert set(fault.absent) == set(fault.why)
    for key, reason in fault.absent.items():
        assert getattr(fault, key) is None
        assert isinstance(reason, Reason)


@pytest.mark.parametrize("count", [40, 400])
@pytest.mark.parametrize(
    "step",
    [
        "48 8b 00",  # mov (%rax),%rax
        "48 0f af c0",  # imul %rax,%rax
        "48 31 c8",  # xor %rcx,%rax
        "48 29 c8 48 8d 04 80",  # sub %rcx,%rax; lea (%rax,%rax,4),%rax
        "48 8b 04 c8 48 0f 44 c1",  # mov (%rax,%rcx,8),%rax; cmove %rcx,%rax
        "48 8d 04 88 48 0f 44 c1 48 29 c8 48 8b 09 48 8b 40 08",
    ],
)
def test_a_value_made_in_many_steps_does_not_exhaust_the_search(step: str, count: int) -> None:
    junk = bytes.fromhex(COPIES) + bytes.fromhex(step) * count
    fault = junk_fault(junk + READ, BASE + len(junk), rax=8, rcx=3)
    assert (fault.access, fault.bad_register, fault.address) == ("read", "rax", 8)
    assert len(fault.expression or "") < 2000


def recursion(code: str, returns: int, count: int) -> Fault:
    """A stack that overflowed in a function that nothing describes and that calls itself."""
    kernel = Kernel()
    snippet = Snippet(source="", code=bytes.fromhex(code))
    kernel.put(BASE, snippet.code)
    kernel.symbol("f.isra.0", BASE, len(snippet.code))
    kernel.put(SP, (BASE + returns).to_bytes(8, "little") * (2 * count))
    fault = fault_frame(snippet, BASE, rdi=8, rsp=SP)
    callers = (
        replace(
            fault_frame(snippet, BASE + returns, rsp=SP + 8 + 16 * above),
            index=above + 1, interrupted=False,
        )
        for above in range(count)
    )  # fmt: skip
    return explain_fault(kernel.prog, fault, fault_address=8, frames=(fault, *callers))


def test_a_stack_of_a_thousand_frames_is_not_followed_to_its_end() -> None:
    # mov (%rdi),%rax; sub $8,%rsp; call f; add $8,%rsp; ret
    fault = recursion("48 8b 07 48 83 ec 08 e8 f4 ff ff ff 48 83 c4 08 c3", 12, 1000)
    assert fault.null_or_bad == "%rdi on entry"
    assert [step.expression for step in fault.origins] == ["%rdi on entry"] * 6


def test_a_place_where_no_code_can_be_has_no_instruction() -> None:
    fault = junk_fault(READ, 0x4141_4141_4141_4141, rax=0)
    assert fault.absent["instruction"] is Reason.NOT_APPLICABLE
    assert "canonical" in fault.why["instruction"]


def test_a_long_block_has_the_same_states_in_whatever_order_they_are_asked_for() -> None:
    code = bytes.fromhex(COPIES) + bytes.fromhex("48 ff c0 48 8b 40 08 48 89 c3") * 60 + READ
    listing = list(disassemble(code, BASE))
    expected = {i.address: analyse(listing).state_before(i.address).registers for i in listing}
    flow = analyse(listing)
    for instruction in [*listing[::-7], *listing[::5], *listing]:
        assert flow.state_before(instruction.address).registers == expected[instruction.address]
