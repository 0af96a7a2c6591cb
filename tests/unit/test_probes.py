"""Kprobes in code: what they hide is what they keep of it."""

from __future__ import annotations

import pytest

from crashkit.dataflow import Dataflow, Entry, analyse_function, function
from crashkit.disasm import disassemble_function
from crashkit.disasm.probes import without_probes
from crashkit.symbols import SymbolAt
from tests.unit.kernel_doubles import Kernel

TEXT = 0xFFFF_FFFF_8100_0000
SEVERAL = 0xFFFF_FFFF_8150_0000
SLOT = 0xFFFF_FFFF_C020_0000
# mov %rdi,%rax; mov %rsi,%rcx; mov 8(%rdi),%rdx; ret
CODE = bytes.fromhex("48 89 f8 48 89 f1 48 8b 57 08 c3")
PROBED = 3


def kernel() -> Kernel:
    made = Kernel()
    made.typedef("kprobe_opcode_t", "u8")
    made.struct("hlist_node", 16, ("next", "struct hlist_node *", 0), ("pprev", "void *", 8))
    made.struct("hlist_head", 8, ("first", "struct hlist_node *", 0))
    made.struct(
        "kprobe", 64, ("hlist", "struct hlist_node", 0), ("addr", "kprobe_opcode_t *", 16),
        ("pre_handler", "void *", 24), ("opcode", "kprobe_opcode_t", 32),
    )  # fmt: skip
    made.struct(
        "arch_optimized_insn", 16, ("copied_insn", "kprobe_opcode_t [4]", 0),
        ("insn", "kprobe_opcode_t *", 8),
    )  # fmt: skip
    made.struct(
        "optimized_kprobe", 96, ("kp", "struct kprobe", 0),
        ("optinsn", "struct arch_optimized_insn", 80),
    )  # fmt: skip
    table = made.variable("kprobe_table", "struct hlist_head [64]")
    made.symbol("kprobe_table", table.value_(), 64 * 8)
    made.symbol("aggr_pre_handler", SEVERAL, 16)
    made.symbol("f", TEXT, len(CODE))
    return made


def probed(made: Kernel, code: bytes, *, optimized: bool = False) -> Kernel:
    """Add a probe on the second instruction; ``code`` is what the dump has."""
    probe = made.allocate(
        "struct optimized_kprobe",
        **{
            "kp.addr": TEXT + PROBED,
            "kp.opcode": CODE[PROBED],
            "kp.pre_handler": SEVERAL if optimized else 0,
            "optinsn.copied_insn": CODE[PROBED + 1 : PROBED + 5],
            "optinsn.insn": SLOT,
        },  # type: ignore[arg-type]
    )
    bucket = made.prog["kprobe_table"][7]
    assert bucket.address_ is not None
    made.put(bucket.address_, probe.value_().to_bytes(8, "little"))
    made.put(TEXT, code)
    return made


def flow(made: Kernel) -> Dataflow:
    return analyse_function(made.prog, SymbolAt("f", TEXT, len(CODE), None))


def patched(patch: bytes) -> bytes:
    return CODE[:PROBED] + patch + CODE[PROBED + len(patch) :]


JUMP = (SLOT - TEXT - PROBED - 5).to_bytes(4, "little", signed=True)


@pytest.mark.parametrize(
    ("patch", "optimized"),
    [(b"\xcc", False), (b"\xcc", True), (b"\xe9" + JUMP, True), (b"\xcc" + JUMP, True)],
    ids=["int3", "int3 of several", "jump", "jump that is being written"],
)
def test_the_instruction_is_what_the_probe_keeps_of_it(patch: bytes, optimized: bool) -> None:
    made = probed(kernel(), patched(patch), optimized=optimized)
    assert without_probes(made.prog, TEXT, patched(patch)) == CODE
    found = flow(made)
    assert found.complete
    assert found.state_before(TEXT + 10).register("rcx") == Entry("rsi")


@pytest.mark.parametrize(
    ("patch", "optimized"),
    [
        (b"\x90", False),  # disarmed, or code that was written since
        (b"\xe9" + JUMP, False),  # a jump, but of no probe that was made one
        (b"\xe9" + bytes(4), True),  # a jump to elsewhere
        (CODE[PROBED : PROBED + 1], True),
    ],
    ids=["no int3", "one alone", "elsewhere", "not armed"],
)
def test_what_the_probe_did_not_put_there_stays(patch: bytes, optimized: bool) -> None:
    made = probed(kernel(), patched(patch), optimized=optimized)
    assert without_probes(made.prog, TEXT, patched(patch)) == patched(patch)


def test_an_int3_of_nobody_hides_an_instruction() -> None:
    made = kernel()
    made.put(TEXT, patched(b"\xcc"))
    assert not flow(made).complete


def test_a_jump_to_code_that_was_made_since_may_come_back() -> None:
    made = kernel()
    made.put(TEXT, patched(b"\xe9" + JUMP))
    assert not flow(made).complete


def test_a_list_that_leads_back_ends() -> None:
    made = probed(kernel(), patched(b"\xcc"))
    (node,) = [head.first for head in made.prog["kprobe_table"] if head.first]
    made.put(node.value_(), node.value_().to_bytes(8, "little"))
    assert without_probes(made.prog, TEXT, patched(b"\xcc")) == CODE


@pytest.mark.parametrize("missing", ["kprobe_table", "kprobe", "hlist_node"])
def test_without_the_probes_the_code_is_as_it_is(missing: str) -> None:
    made = probed(kernel(), patched(b"\xcc"))
    made.forget(missing)
    assert without_probes(made.prog, TEXT, patched(b"\xcc")) == patched(b"\xcc")


def test_a_listing_for_people_shows_what_the_dump_has() -> None:
    made = probed(kernel(), patched(b"\xcc"))
    shown = disassemble_function(made.prog, TEXT, len(CODE))
    assert shown[1].operation == "int3"


def test_a_thunk_made_at_run_time_is_one() -> None:
    # jmp to a place that has jmp *%rax: a tail call through rax
    made = kernel()
    jump = b"\xe9" + (SLOT - TEXT - PROBED - 5).to_bytes(4, "little", signed=True)
    made.put(TEXT, patched(jump)[: PROBED + 5])
    made.put(SLOT, b"\xff\xe0\xcc")
    found = analyse_function(made.prog, SymbolAt("f", TEXT, PROBED + 5, None))
    assert found.instructions[TEXT + PROBED].via == "rax"


@pytest.mark.parametrize("of_file", [CODE, None])
def test_an_int3_of_nobody_is_what_the_file_has_there(
    of_file: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text_of_file(_prog: object, address: int, size: int) -> bytes | None:
        return of_file and of_file[address - TEXT : address - TEXT + size]

    monkeypatch.setattr(function, "text_of_file", text_of_file)
    made = kernel()
    made.put(TEXT, patched(b"\xcc"))
    found = flow(made)
    assert not found.complete
    assert found.from_file is (of_file is not None)
    moved = found.state_before(TEXT + 10).register("rcx")
    assert (moved == Entry("rsi")) is (of_file is not None)


def test_fillers_behind_a_return_are_not_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    # ret; int3…: what the kernel makes of a jmp to its return thunk
    monkeypatch.setattr(function, "text_of_file", lambda *_: b"\x90")
    made = kernel()
    code = CODE[:-5] + b"\xc3\xcc\xcc\xcc\xcc"
    made.put(TEXT, code)
    assert flow(made).complete
