"""Decoded instructions: text, effects, flow, and what a build hides them behind."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from crashkit.disasm import (
    Flow,
    Instruction,
    decode_one,
    disassemble,
    disassemble_function,
)
from crashkit.errors import Reason, Unavailable, UsageError
from tests.unit import code_doubles
from tests.unit.code_doubles import BASE, EL7_DELIVER, Snippet
from tests.unit.kernel_doubles import PAGE, Kernel

_SNIPPETS = {name: s for name, s in vars(code_doubles).items() if isinstance(s, Snippet)}


def one(code: str, **options: object) -> Instruction:
    (instruction,) = disassemble(bytes.fromhex(code), BASE, **options)  # type: ignore[arg-type]
    return instruction


@pytest.mark.skipif(shutil.which("as") is None, reason="needs as and ld of binutils")
@pytest.mark.parametrize("name", sorted(_SNIPPETS))
def test_bytes_are_of_their_source(name: str, tmp_path: Path) -> None:
    snippet = _SNIPPETS[name]
    source, object_file, flat = tmp_path / "a.s", tmp_path / "a.o", tmp_path / "a.bin"
    source.write_text(snippet.source)
    subprocess.run(["as", "-o", object_file, source], check=True)
    link: list[str | Path] = [
        "ld",
        "--oformat",
        "binary",
        "-Ttext=0x1000",
        "-e",
        "0",
        "-o",
        flat,
        object_file,
    ]
    subprocess.run(link, check=True, capture_output=True)
    assert flat.read_bytes() == snippet.code


def test_text_is_what_the_article_prints() -> None:
    assert [i.text for i in EL7_DELIVER.listing()] == [
        "nopl 0x0(%rax,%rax,1)",
        "push %rbp",
        "mov %rsp,%rbp",
        "push %r14",
        "push %r13",
        "push %r12",
        "push %rbx",
        "mov %rdi,%rbx",
        "sub $0x20,%rsp",
        "mov %gs:0x28,%rax",
        "mov %rax,-0x28(%rbp)",
        "xor %eax,%eax",
        "mov 0xf0(%rdi),%rax",
        "mov 0xa30(%rax),%rdx",
        "test %rdx,%rdx",
        "ret",
    ]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("c7 43 34 00 00 00 80", "movl $0x80000000,0x34(%rbx)"),
        ("0f b6 53 38", "movzbl 0x38(%rbx),%edx"),
        ("48 63 d0", "movslq %eax,%rdx"),
        ("48 8d 3c d0", "lea (%rax,%rdx,8),%rdi"),
        ("48 83 c4 80", "add $0xffffffffffffff80,%rsp"),
        ("8b 04 c5 20 2e 28 82", "mov -0x7dd7d1e0(,%rax,8),%eax"),
        ("f0 48 0f b1 37", "lock cmpxchg %rsi,(%rdi)"),
        ("f3 48 ab", "rep stos %rax,%es:(%rdi)"),
        ("f3 48 a5", "rep movsq %ds:(%rsi),%es:(%rdi)"),
        ("48 98", "cltq"),
        ("d1 e8", "shr %eax"),
        ("48 c1 27 04", "shlq $0x4,(%rdi)"),
        ("0f b6 07", "movzbl (%rdi),%eax"),
        ("f6 87 80 00 00 00 08", "testb $0x8,0x80(%rdi)"),
        ("66 90", "xchg %ax,%ax"),
        ("2e e8 fb 0f 00 00", "cs call ffffffff81001001"),
        ("74 06", "je ffffffff81000008"),
        ("ff 50 10", "call *0x10(%rax)"),
        ("f3 c3", "repz ret"),
        ("0f 01 e8", "serialize"),
        ("65 48 8b 05 00 10 00 00", "mov %gs:0x1000(%rip),%rax"),
    ],
)
def test_att_text_is_objdumps(code: str, text: str) -> None:
    assert one(code).text == text


def test_intel_text_on_request_and_no_third_syntax() -> None:
    assert one("48 8b 90 30 0a 00 00", syntax="intel").text == "mov rdx, qword ptr [rax + 0xa30]"
    with pytest.raises(UsageError):
        disassemble(b"\x90", 0, syntax="masm")


@pytest.mark.skipif(
    shutil.which("objdump") is None or shutil.which("bash") is None,
    reason="needs objdump of binutils, and bash as code to disassemble",
)
def test_text_agrees_with_objdump_on_real_code() -> None:
    path = Path(str(shutil.which("bash"))).resolve()
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".text")
        assert section is not None
        start, code = section["sh_addr"], section.data()[:60_000]
    stop = start + len(code)
    command = ["objdump", "-d", "-w", "--no-show-raw-insn", f"--start-address={start:#x}"]
    listed = subprocess.run(
        [*command, f"--stop-address={stop:#x}", path], capture_output=True, text=True, check=True
    ).stdout
    expected = {}
    for address, text in re.findall(r"^ *([0-9a-f]+):\t(.*)$", listed, re.MULTILINE):
        plain = re.sub(r"\s*[<#].*", "", text)
        expected[int(address, 16)] = re.sub(r"\s+", " ", plain).strip()
    ours = disassemble(code, start)
    differ = [
        (i.text, expected[i.address])
        for i in ours
        if i.address in expected and i.text != expected[i.address]
    ]
    floating = [pair for pair in differ if pair[0].startswith("f")]
    assert len(ours) > 5_000
    # x87 operands are printed in capstone's words; the last bytes may be cut.
    assert len(differ) - len(floating) <= 2, differ[:10]


@pytest.mark.parametrize(
    ("code", "reads", "writes"),
    [
        ("48 89 fb", "rdi", "rbx"),  # mov %rdi,%rbx
        ("89 f8", "rdi", "rax"),  # mov %edi,%eax: zero-extends, so all of rax
        ("b0 01", "rax", "rax"),  # mov $1,%al keeps the rest of rax
        ("f0 48 0f b1 37", "rsi rdi rax", "rax"),  # lock cmpxchg %rsi,(%rdi)
        ("48 0f c7 0f", "rdi rax rbx rcx rdx", "rax rdx"),  # cmpxchg16b (%rdi)
        ("48 87 06", "rax rsi", "rax"),  # xchg %rax,(%rsi)
        ("48 87 c6", "rax rsi", "rax rsi"),  # xchg %rax,%rsi
        ("f0 48 0f c1 07", "rax rdi", "rax"),  # lock xadd %rax,(%rdi)
        ("48 f7 e1", "rax rcx", "rax rdx"),  # mul %rcx
        ("48 f7 f1", "rax rcx rdx", "rax rdx"),  # div %rcx
        ("48 0f af c1", "rax rcx", "rax"),  # imul %rcx,%rax
        ("48 6b c1 18", "rcx", "rax"),  # imul $0x18,%rcx,%rax
        ("48 f7 e9", "rax rcx", "rax rdx"),  # imul %rcx
        ("f3 48 ab", "rax rcx rdi", "rcx rdi"),  # rep stos
        ("48 ad", "rsi", "rax rsi"),  # lods
        ("f2 0f 10 07", "rdi", ""),  # movsd (%rdi),%xmm0 is no string operation
        ("53", "rbx rsp", "rsp"),  # push %rbx
        ("c9", "rbp rsp", "rbp rsp"),  # leave
        ("0f 05", "rax rcx rdx rsi rdi r8 r9 r10 r11", "rax rcx r11"),  # syscall
        ("0f a2", "rax rcx", "rax rbx rcx rdx"),  # cpuid
        ("0f 30", "rax rcx rdx", ""),  # wrmsr
        ("48 0f 44 c6", "rax rsi", "rax"),  # cmove %rsi,%rax
        ("0f 94 c0", "rax", "rax"),  # sete %al
        ("66 0f 7e c0", "rax", "rax"),  # movd %xmm0,%eax: not in the table, an upper bound
    ],
)
def test_registers_read_and_written(code: str, reads: str, writes: str) -> None:
    instruction = one(code)
    assert instruction.reads == frozenset(reads.split())
    assert instruction.writes == frozenset(writes.split())


@pytest.mark.parametrize(
    ("code", "kind", "size"),
    [
        ("48 8b 90 30 0a 00 00", "read", 8),
        ("c6 04 25 00 00 00 00 01", "write", 1),
        ("f0 48 0f b1 37", "read-write", 8),
        ("48 0f c7 0f", "read-write", 16),
        ("0f c7 0f", "read-write", 8),
        ("48 8d 47 08", "address", 0),
        ("0f 1f 44 00 00", "address", None),
        ("48 39 07", "read", 8),
        ("48 01 07", "read-write", 8),
        ("ff 50 10", "read", 8),
        ("53", "write", 8),
        ("f3 48 ab", "write", 8),
        ("0f 29 04 24", "read-write", 16),  # movaps %xmm0,(%rsp): an upper bound
        ("0f 28 04 24", "read", 16),
    ],
)
def test_memory_accesses(code: str, kind: str, size: int | None) -> None:
    instruction = one(code)
    assert instruction.access == kind
    if size:
        assert instruction.access_size == size


def test_a_push_from_memory_reads_and_writes() -> None:
    kinds = [(a.kind, a.memory.base) for a in one("ff 77 08").accesses]
    assert kinds == [("read", "rdi"), ("write", "rsp")]


def test_operand_of_the_fault() -> None:
    memory = one("48 8b 90 30 0a 00 00").memory
    assert memory is not None
    assert (memory.base, memory.index, memory.displacement) == ("rax", None, 0xA30)
    segment = one("65 48 8b 04 25 28 00 00 00").memory
    assert segment is not None
    assert (segment.base, segment.segment, segment.displacement) == (None, "gs", 0x28)
    relative = one("48 8b 05 00 10 00 00")
    assert relative.memory is not None
    assert relative.absolute(relative.memory) == BASE + 7 + 0x1000


@pytest.mark.parametrize(
    ("code", "flow", "target"),
    [
        ("eb 02", Flow.JUMP, BASE + 4),
        ("74 02", Flow.BRANCH, BASE + 4),
        ("e3 02", Flow.BRANCH, BASE + 4),
        ("e8 00 10 00 00", Flow.CALL, BASE + 0x1005),
        ("ff d0", Flow.CALL, None),
        ("c3", Flow.RETURN, None),
        ("48 cf", Flow.RETURN, None),
        ("0f 0b", Flow.STOP, None),
        ("cc", Flow.STOP, None),
        ("f4", Flow.NEXT, None),
        ("90", Flow.NEXT, None),
    ],
)
def test_flow(code: str, flow: Flow, target: int | None) -> None:
    instruction = one(code)
    assert (instruction.flow, instruction.target) == (flow, target)


def test_thunks_are_seen_through_by_name() -> None:
    names = {
        BASE + 0x1005: "__x86_indirect_thunk_rbx",
        BASE + 0x2005: "__x86_return_thunk",
        BASE + 0x3005: "__fentry__",
        BASE + 0x4005: "panic",
    }
    call = one("e8 00 10 00 00", name_at=names.get)
    jump = one("e9 00 10 00 00", name_at=names.get)
    back = one("e9 00 20 00 00", name_at=names.get)
    tracer = one("e8 00 30 00 00", name_at=names.get)
    noreturn = one("e8 00 40 00 00", name_at=names.get)
    assert (call.flow, call.target, call.via) == (Flow.CALL, None, "rbx")
    assert (jump.flow, jump.target, jump.via) == (Flow.JUMP, None, "rbx")
    assert back.flow is Flow.RETURN
    assert (tracer.flow, tracer.writes, tracer.accesses) == (Flow.NEXT, frozenset(), ())
    assert noreturn.flow is Flow.STOP


def test_only_a_warnings_trap_goes_on() -> None:
    assert one("0f 0b", is_warning=lambda a: a == BASE).flow is Flow.NEXT
    assert one("0f 0b", is_warning=lambda _: False).flow is Flow.STOP


def test_bytes_that_are_no_instruction() -> None:
    (bad, good) = disassemble(b"\x06\x90", BASE)
    assert (bad.text, bad.size, bad.flow) == ("(bad)", 1, Flow.STOP)
    assert good.text == "nop"


def test_code_comes_from_the_dump_once_and_its_absence_has_a_reason() -> None:
    kernel = Kernel()
    kernel.put(BASE, EL7_DELIVER.code)
    first = disassemble_function(kernel.prog, BASE, len(EL7_DELIVER.code))
    kernel.drop(BASE)
    assert disassemble_function(kernel.prog, BASE, len(EL7_DELIVER.code)) == first
    with pytest.raises(Unavailable) as absent:
        disassemble_function(kernel.prog, BASE, 8)
    with pytest.raises(Unavailable) as implausible:
        disassemble_function(kernel.prog, BASE, 1 << 40)
    assert absent.value.reason is Reason.NOT_IN_DUMP
    assert implausible.value.reason is Reason.CORRUPTED


def test_call_at_the_entry_is_the_tracers() -> None:
    kernel = Kernel()
    kernel.put(BASE, bytes.fromhex("e8 00 10 00 00 c3"))
    first, _ = disassemble_function(kernel.prog, BASE, 6)
    assert (first.flow, first.writes) == (Flow.NEXT, frozenset())


@pytest.mark.parametrize("before", ["", "f3 0f 1e fa", "66 0f 1f 00"])
def test_a_call_after_endbr_or_its_seal_is_the_tracers(before: str) -> None:
    kernel = Kernel()
    code = bytes.fromhex(before + " e8 00 10 00 00 c3")
    kernel.put(BASE, code)
    *_, tracer, _ret = disassemble_function(kernel.prog, BASE, len(code), name_at=lambda _: None)
    assert (tracer.flow, tracer.writes) == (Flow.NEXT, frozenset())
    named = disassemble_function(kernel.prog, BASE, len(code), name_at=lambda _: "some_function")
    assert named[-2].flow is Flow.CALL  # a function that is not traced may begin with a call


def test_a_call_after_another_nop_is_a_call() -> None:
    kernel = Kernel()
    kernel.put(BASE, bytes.fromhex("0f 1f 40 00 e8 00 10 00 00 c3"))
    called = disassemble_function(kernel.prog, BASE, 10, name_at=lambda _: None)[1]
    assert called.flow is Flow.CALL


def test_an_instruction_at_the_end_of_the_last_page() -> None:
    kernel = Kernel()
    last = BASE + PAGE - 3
    kernel.put(last, bytes.fromhex("48 89 fb"))
    assert decode_one(kernel.prog, last).text == "mov %rdi,%rbx"
    kernel.put(last, bytes.fromhex("48 8b 90"))
    with pytest.raises(Unavailable) as cut:
        decode_one(kernel.prog, last)
    assert cut.value.reason is Reason.CORRUPTED


@given(st.binary(max_size=200))
def test_any_bytes_are_covered_exactly_once(code: bytes) -> None:
    place = BASE
    for instruction in disassemble(code, BASE):
        assert instruction.address == place
        assert instruction.text
        place = instruction.end
    assert place == BASE + len(code)
