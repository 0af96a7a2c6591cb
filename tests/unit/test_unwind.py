"""The ORC walk over a mock kernel: every kind of step, and every way to end."""

from __future__ import annotations

import struct

import drgn
import pytest
from drgn import TypeMember

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import orc as orc_
from crashkit.symbols.lookup import SymbolAt
from crashkit.unwind import Context, EntryLocation, RegisterValue, walk
from crashkit.unwind.nmi_path import walk_from_nmi
from crashkit.unwind.panic_path import find_exception_frame, walk_from_kexec
from crashkit.unwind.tracer import _Trampoline, original_of, trampoline_at
from crashkit.value import Certainty, Origin
from tests.unit.stack_doubles import PT_REGS_SIZE, STACK, TEXT, MockKernel, functions, orc

SP = STACK + 0x3000


def known(**values: int) -> dict[str, RegisterValue]:
    return {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
    }


def chain() -> MockKernel:
    """inner (24 bytes of frame) <- middle (8) <- outer, which ends the stack."""
    kernel = MockKernel()
    kernel.function("inner", 0x0, orc(24))
    kernel.function("middle", 0x100, orc(8))
    kernel.function("outer", 0x200, orc(0, kind=1))
    kernel.push(SP + 16, TEXT + 0x110, TEXT + 0x210)
    return kernel


def test_calls_are_left_by_their_return_addresses() -> None:
    walked = walk(chain().program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["inner", "middle", "outer"]
    assert [f.index for f in walked.frames] == [0, 1, 2]
    assert [f.slot for f in walked.frames] == [None, SP + 16, SP + 24]
    assert walked.frames[0].cfa == SP + 24
    assert (walked.end, walked.complete) == ("end of stack", True)


def test_return_address_at_the_end_of_a_function_belongs_to_it() -> None:
    kernel = chain()
    kernel.push(SP + 16, TEXT + 0x200)  # middle ends in a call that does not return
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames)[:2] == ["inner", "middle"]


def test_frame_pointer_rules_need_and_restore_rbp() -> None:
    kernel = MockKernel()
    kernel.function("inner", 0, orc(16, sp=4, bp=1, bp_offset=-16))
    kernel.function("outer", 0x100, orc(0, kind=1))
    kernel.push(SP, 0xB0B, TEXT + 0x110)
    prog = kernel.program()
    with_rbp = walk(prog, Context(pc=TEXT + 5, sp=SP - 64, registers=known(rbp=SP)))
    assert functions(with_rbp.frames) == ["inner", "outer"]
    rbp = with_rbp.frames[1].registers["rbp"]
    assert (rbp.value, rbp.origin, rbp.slot) == (0xB0B, Origin.CFI, SP)
    without = walk(prog, Context(pc=TEXT + 5, sp=SP - 64))
    assert functions(without.frames) == ["inner"]
    assert "rbp" in without.end
    assert not without.complete


def test_exception_frame_gives_all_registers_of_the_interrupted_function() -> None:
    kernel = MockKernel()
    kernel.function("asm_exc_page_fault", 0, orc(0, kind=3))
    kernel.function("victim", 0x100, orc(8))
    kernel.function("outer", 0x200, orc(0, kind=1))
    kernel.pt_regs(SP, ip=TEXT + 0x120, sp=SP + PT_REGS_SIZE, cs=0x10, r13=0xABC)
    kernel.push(SP + PT_REGS_SIZE, TEXT + 0x210)
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["asm_exc_page_fault", "victim", "outer"]
    victim = walked.frames[1]
    assert victim.interrupted
    assert victim.exception == "asm_exc_page_fault"
    assert victim.pt_regs == SP
    assert victim.registers["r13"].value == 0xABC
    assert [f.index for f in walked.frames] == [0, 0, 1]  # crash numbers no [exception RIP]


def test_partial_exception_frame_gives_no_register_it_did_not_save() -> None:
    kernel = MockKernel()
    kernel.function("asm_entry", 0, orc(0, kind=4))
    kernel.function("victim", 0x100, orc(0, kind=1))
    kernel.push(SP, TEXT + 0x120, 0x10, 0x246, SP + 0x100, 0x18)  # what iret needs
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert set(walked.frames[1].registers) == {"rip", "cs", "rflags", "rsp", "ss"}
    assert walked.frames[1].sp == SP + 0x100


def test_walk_stops_at_user_space() -> None:
    kernel = MockKernel()
    kernel.function("entry_SYSCALL_64_after_hwframe", 0, orc(0, kind=3))
    kernel.pt_regs(SP, ip=0x401000, sp=0x7FFF_0000, cs=0x33)
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["entry_SYSCALL_64_after_hwframe"]
    assert (walked.end, walked.complete) == ("user space", True)


def test_garbage_return_address_ends_the_walk_with_its_value() -> None:
    kernel = chain()
    kernel.push(SP + 16, 0x1234)
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["inner"]
    assert "0x1234" in walked.end
    assert not walked.complete


def test_missing_stack_page_ends_the_walk_with_its_address() -> None:
    kernel = chain()
    kernel.missing.add(SP + 24)
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["inner", "middle"]
    assert not walked.complete
    assert "dump" in walked.end


GENERATED = 0xFFFF_FFFF_C100_0040  # where BPF programs lie, in no module


def generated() -> MockKernel:
    """inner, called by a BPF program with a frame pointer, called by outer."""
    kernel = MockKernel()
    kernel.function("inner", 0x0, orc(8))
    kernel.function("outer", 0x200, orc(0, kind=1))
    kernel.push(SP, GENERATED)
    kernel.push(SP + 0x40, 0xB0B, TEXT + 0x210)  # the program's saved rbp, return address
    return kernel


def keep_rbp(function: SymbolAt, _pc: int, _interrupted: bool) -> dict[str, EntryLocation]:
    return {"rbp": EntryLocation(register="rbp")}


def test_generated_code_is_left_by_its_frame_pointer() -> None:
    kernel = generated()
    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbp=SP + 0x40, rbx=5))
    walked = walk(kernel.program(), start, recover=keep_rbp)
    assert functions(walked.frames) == ["inner", None, "outer"]
    assert walked.frames[2].how == "frame pointer"
    assert walked.frames[2].registers["rbp"].value == 0xB0B
    assert walked.frames[2].registers["rbp"].certainty is Certainty.INFERRED
    assert "rbx" not in walked.frames[2].registers  # where the program saved it is not known
    assert walked.complete


@pytest.mark.parametrize("rbp", [SP + 0x41, SP - 0x40, SP + 0x2000, 0, SP + 0x100])
def test_generated_code_with_a_wild_frame_pointer_ends_the_walk(rbp: int) -> None:
    kernel = generated()
    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbp=rbp))
    walked = walk(kernel.program(), start, recover=keep_rbp)
    assert functions(walked.frames) == ["inner", None]
    assert walked.reason is Reason.NO_DEBUGINFO  # unknown code is no damage
    assert f"{GENERATED:#x}" in walked.end


def test_every_end_has_its_reason() -> None:
    assert walk(chain().program(), Context(pc=TEXT + 5, sp=SP)).reason is None
    garbage = chain()
    garbage.push(SP + 16, 0x1234)
    assert walk(garbage.program(), Context(pc=TEXT + 5, sp=SP)).reason is Reason.CORRUPTED
    missing = chain()
    missing.missing.add(SP + 24)
    assert walk(missing.program(), Context(pc=TEXT + 5, sp=SP)).reason is Reason.NOT_IN_DUMP


def test_endless_stack_is_bounded() -> None:
    kernel = MockKernel()
    kernel.function("again", 0x0, orc(8))
    kernel.push(STACK, *([TEXT + 5] * (0x4000 // 8)))
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=STACK))
    assert len(walked.frames) == 256
    assert walked.reason is Reason.BUDGET


def nmi_stack(*, interrupted_sp: int) -> tuple[MockKernel, Context]:
    kernel = MockKernel()
    kernel.function("crash_nmi_callback", 0x000, orc(8))
    kernel.function("nmi_handle", 0x100, orc(8))
    kernel.function("asm_exc_nmi", 0x200, orc(0, kind=3))
    kernel.function("victim", 0x300, orc(0, kind=1))
    kernel.push(STACK + 0x200, TEXT + 0x20)  # stale: a walk from here leads nowhere
    kernel.push(STACK + 0x800, TEXT + 0x30, TEXT + 0x110, TEXT + 0x210)
    kernel.pt_regs(STACK + 0x818, ip=TEXT + 0x320, sp=interrupted_sp, cs=0x10)
    return kernel, Context(pc=TEXT + 0x320, sp=SP)


def test_nmi_path_is_believed_only_if_it_arrives_at_the_note() -> None:
    kernel, start = nmi_stack(interrupted_sp=SP)
    found = walk_from_nmi(kernel.program(), (STACK, STACK + 0x1000), start)
    assert found is not None
    assert functions(found.frames) == ["crash_nmi_callback", "nmi_handle", "asm_exc_nmi", "victim"]
    assert found.frames[0].slot == STACK + 0x800
    kernel, start = nmi_stack(interrupted_sp=SP + 8)
    assert walk_from_nmi(kernel.program(), (STACK, STACK + 0x1000), start) is None


def test_cyclic_stack_ends() -> None:
    kernel = MockKernel()
    kernel.function("asm_exc_page_fault", 0, orc(0, kind=3))
    kernel.pt_regs(SP, ip=TEXT + 5, sp=SP, cs=0x10)
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert len(walked.frames) == 1
    assert "repeats" in walked.end


def call_from(kernel: MockKernel, at: int, target: int) -> int:
    """Write ``call rel32`` at a text offset and return its return address."""
    kernel.text[at : at + 5] = b"\xe8" + struct.pack("<i", target - (TEXT + at + 5))
    return TEXT + at + 5


def test_function_without_rule_is_left_by_the_call_that_entered_it() -> None:
    kernel = MockKernel()
    kexec = kernel.function("__crash_kexec", 0, None)
    kernel.function("panic", 0x100, orc(8))
    kernel.function("outer", 0x200, orc(0, kind=1))
    back = call_from(kernel, 0x120, kexec)
    stale = TEXT + 0x1F0  # kernel text, but no call into __crash_kexec precedes it
    kernel.push(SP, 7, stale, back, TEXT + 0x210)
    walked = walk(kernel.program(), Context(pc=TEXT + 0x30, sp=SP))
    assert functions(walked.frames) == ["__crash_kexec", "panic", "outer"]
    assert walked.frames[1].how == "call-site scan"
    assert walked.frames[1].slot == SP + 16


def test_function_without_rule_and_without_caller_ends_the_walk() -> None:
    kernel = MockKernel()
    kernel.function("__crash_kexec", 0, None)
    walked = walk(kernel.program(), Context(pc=TEXT + 0x30, sp=STACK + 0x3F00))
    assert functions(walked.frames) == ["__crash_kexec"]
    assert "__crash_kexec" in walked.end


def test_callee_saved_registers_follow_where_each_function_keeps_them() -> None:
    kernel = chain()
    kernel.push(SP + 8, 0x5B)  # inner pushed r13 just below its return address

    def recover(function: SymbolAt, _pc: int, _interrupted: bool) -> dict[str, EntryLocation]:
        if function.name == "inner":
            return {
                "r13": EntryLocation(cfa_offset=-16),
                "rbx": EntryLocation(register="rbx"),
                "rax": EntryLocation(register="rax"),
            }
        return {"r13": EntryLocation(register="r13")}

    start = Context(pc=TEXT + 5, sp=SP, registers=known(r13=1, rbx=2, rax=3))
    walked = walk(kernel.program(), start, recover=recover)
    _inner, middle, outer = walked.frames
    assert (middle.registers["r13"].value, middle.registers["rbx"].value) == (0x5B, 2)
    assert (middle.registers["r13"].slot, middle.registers["r13"].saved_by) == (SP + 8, "inner")
    assert "rax" not in middle.registers  # a call may change it
    assert outer.registers["r13"].value == 0x5B
    assert "rbx" not in outer.registers  # middle was not said to keep it


def test_a_tracers_trampoline_is_left_as_the_code_it_is_a_copy_of() -> None:
    trampoline = 0xFFFF_FFFF_C037_6000
    kernel = MockKernel()
    kernel.function("handler", 0x000, orc(16))
    template = kernel.function("ftrace_regs_caller", 0x100, orc(32))
    kernel.function("traced", 0x200, orc(8))
    # handler, called by the trampoline, which the traced function's first instruction calls
    kernel.push(SP, 0, trampoline + 0x20)
    kernel.push(SP + 16, 0, 0, 0x5B, TEXT + 0x205)
    kernel.push(SP + 48, TEXT + 0x210)
    prog = kernel.program()
    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbx=7))
    assert len(walk(prog, start).frames) == 2  # nothing says what it is
    prog.cache["crashkit.trampolines"] = [_Trampoline(trampoline, 0x80, template)]

    def recover(function: SymbolAt, pc: int, _interrupted: bool) -> dict[str, EntryLocation]:
        if function.name == "ftrace_trampoline":
            assert (function.address, pc) == (trampoline, trampoline + 0x20)
            return {"rbx": EntryLocation(cfa_offset=-16)}
        return {"rbx": EntryLocation(register="rbx")}

    frames = walk(prog, start, recover=recover).frames
    assert [frame.function for frame in frames[:3]] == [
        "handler",
        "ftrace_trampoline",
        "traced",
    ]
    assert (frames[1].offset, frames[1].size, frames[2].offset) == (0x20, 0x80, 5)
    assert frames[2].registers["rbx"].value == 0x5B


@pytest.mark.parametrize("pc", [0xFFFF_FFFF_C037_5FFF, 0xFFFF_FFFF_C037_6080])
def test_what_is_beside_a_trampoline_is_not_in_it(pc: int) -> None:
    prog = MockKernel().program()
    prog.cache["crashkit.trampolines"] = [_Trampoline(0xFFFF_FFFF_C037_6000, 0x80, TEXT)]
    assert original_of(prog, pc) is None
    assert trampoline_at(prog, pc) is None


def test_a_kernel_without_a_tracer_has_no_trampolines() -> None:
    assert original_of(MockKernel().program(), 0xFFFF_FFFF_C037_6000) is None


def test_what_only_some_of_the_code_tells_is_inferred() -> None:
    kernel = chain()
    kernel.push(SP + 8, 0x5B)

    def recover(function: SymbolAt, _pc: int, _interrupted: bool) -> dict[str, EntryLocation]:
        if function.name != "inner":
            return {}
        return {
            "r13": EntryLocation(cfa_offset=-16, certain=False),
            "rbx": EntryLocation(register="rbx", certain=False),
            "r12": EntryLocation(register="r12"),
            "r14": EntryLocation(cfa_offset=-0x100000),  # no such page
        }

    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbx=2, r12=3))
    _inner, middle, _outer = walk(kernel.program(), start, recover=recover).frames
    assert middle.registers["r13"].certainty is Certainty.INFERRED
    assert middle.registers["rbx"].certainty is Certainty.INFERRED
    assert middle.registers["r12"].certainty is Certainty.PROVED
    assert "r14" not in middle.registers


def test_panic_path_is_found_below_the_fault() -> None:
    kernel = MockKernel()
    machine = kernel.function("machine_kexec", 0x000, orc(16))
    crash = kernel.function("__crash_kexec", 0x100, None)
    kernel.function("oops_end", 0x200, orc(8))
    kernel.function("asm_exc_page_fault", 0x300, orc(0, kind=3))
    kernel.function("victim", 0x400, orc(0, kind=1))
    regs = SP + 8  # so that rsp at the fault is aligned, as the CPU leaves it
    kernel.pt_regs(regs, ip=TEXT + 0x420, sp=regs + PT_REGS_SIZE, cs=0x10)
    into_machine = call_from(kernel, 0x120, machine)
    into_crash = call_from(kernel, 0x220, crash)
    kernel.push(regs - 48, TEXT + 0x50, 0, into_machine, 9, into_crash, TEXT + 0x310)
    prog = kernel.program()
    top = regs + PT_REGS_SIZE
    assert find_exception_frame(prog, TEXT + 0x420, top, STACK) == regs
    assert find_exception_frame(prog, TEXT + 0x421, top, STACK) is None
    (walked,) = walk_from_kexec(prog, STACK, regs)
    assert functions(walked.frames) == [
        "machine_kexec", "__crash_kexec", "oops_end", "asm_exc_page_fault", "victim",
    ]  # fmt: skip
    assert walked.frames[-1].pt_regs == regs


@pytest.mark.parametrize(
    ("members", "data", "kind", "signal"),
    [
        # before 6.3: type:2 end:1, type 0 is a call
        ((("type", 40, 2), ("end", 42, 1)), struct.pack("<hhH", 16, 0, 5), "CALL", False),
        ((("type", 40, 2), ("end", 42, 1)), struct.pack("<hhH", 0, 0, 5 | 4 << 8), "END", False),
        # 6.3: signal beside end
        (
            (("type", 40, 2), ("signal", 42, 1), ("end", 43, 1)),
            struct.pack("<hhH", 16, 0, 5 | 1 << 8 | 4 << 8),
            "REGS",
            True,
        ),
        # from 6.4: type:3, 2 is a call
        (
            (("type", 40, 3), ("signal", 43, 1)),
            struct.pack("<hhH", 16, 0, 5 | 2 << 8),
            "CALL",
            False,
        ),
    ],
)
def test_entry_layout_comes_from_the_type(
    members: tuple[tuple[str, int, int], ...], data: bytes, kind: str, signal: bool
) -> None:
    prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    s16 = prog.int_type("s16", 2, True)
    u32 = prog.int_type("unsigned int", 4, False)
    fields = [TypeMember(s16, "sp_offset", 0), TypeMember(s16, "bp_offset", 16)]
    for name, first, width in (("sp_reg", 32, 4), ("bp_reg", 36, 4), *members):
        fields.append(TypeMember(drgn.Object(prog, u32, bit_field_size=width), name, first))
    rule = orc_.decode(orc_.layout_of(prog.struct_type("orc_entry", 6, fields)), data)
    assert rule is not None
    assert rule.kind.name.startswith(kind)
    assert rule.signal is signal


def test_impossible_entry_is_corrupt_not_guessed() -> None:
    layout = orc_.Layout(
        6,
        {
            "sp_offset": (0, 16), "bp_offset": (16, 16), "sp_reg": (32, 4),
            "bp_reg": (36, 4), "type": (40, 3), "signal": (43, 1),
        },
    )  # fmt: skip
    with pytest.raises(Unavailable):
        orc_.decode(layout, struct.pack("<hhH", 8, 0, 15 | 2 << 8))


def orc_as_of_7_1(sp_offset: int, *, sp: int = 3, bp: int = 0, kind: int = 2) -> bytes:
    """One entry with the registers numbered as from Linux 7.1 on: SP is 3, BP 4, PREV_SP 8."""
    return orc(sp_offset, sp=sp, bp=bp, bp_offset=-16 if bp else 0, kind=kind)


def test_registers_numbered_anew_are_known_by_the_most_frequent_base() -> None:
    kernel = MockKernel()
    kernel.function("inner", 0x0, orc_as_of_7_1(24))
    kernel.function("middle", 0x100, orc_as_of_7_1(16, sp=4, bp=8))
    kernel.function("outer", 0x200, orc_as_of_7_1(0, kind=1))
    kernel.function("other", 0x300, orc_as_of_7_1(16, sp=5))  # DI, as 5 was SP before
    kernel.push(SP + 16, TEXT + 0x110, 0xB0B, TEXT + 0x210)
    start = Context(pc=TEXT + 5, sp=SP, registers=known(rbp=SP + 24))
    walked = walk(
        kernel.program(), start, recover=lambda *_: {"rbp": EntryLocation(register="rbp")}
    )
    assert functions(walked.frames) == ["inner", "middle", "outer"]
    assert walked.frames[2].registers["rbp"].value == 0xB0B
    assert walked.complete


def test_registers_numbered_either_way_are_not_guessed() -> None:
    kernel = MockKernel()
    kernel.function("inner", 0x0, orc_as_of_7_1(24))
    kernel.function("other", 0x100, orc(24))
    walked = walk(kernel.program(), Context(pc=TEXT + 5, sp=SP))
    assert functions(walked.frames) == ["inner"]
    assert walked.end == "no unwind rule for inner"


def test_numbers_that_neither_kernel_has_end_the_walk() -> None:
    kernel = chain()
    kernel.function("odd", 0x300, orc(8, sp=12))
    walked = walk(kernel.program(), Context(pc=TEXT + 0x305, sp=SP))
    assert functions(walked.frames) == ["odd"]
    assert not walked.complete
