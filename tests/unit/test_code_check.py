"""Code of the dump against that of its vmlinux: moved addresses, patches, damage."""

import struct

import pytest
from drgn import Architecture, Platform, Program

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import code_check, file_text, patch_sites
from crashkit.symbols.code_check import check_code
from tests.unit.kernel_doubles import Kernel

LINKED = 0xFFFF_FFFF_8100_0000
SLIDE = 0x2D00_0000
START = LINKED + SLIDE
CODE = bytes(range(1, 65)) * 4


def program(memory: bytes) -> Program:
    prog = Program(Platform(Architecture.X86_64))
    prog.add_memory_segment(
        START, len(memory), lambda _a, count, offset, _p: memory[offset : offset + count]
    )
    return prog


@pytest.fixture(autouse=True)
def vmlinux(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(_prog: Program, address: int, size: int) -> bytes | None:
        offset = address - START
        found = CODE[offset : offset + size] if offset >= 0 else b""
        return found if len(found) == size else None

    monkeypatch.setattr(code_check, "text_of_file", text)
    monkeypatch.setattr(code_check, "slide_of_file", lambda _prog: SLIDE)
    sites = (patch_sites._Table("static key", [START + 100], 5),)
    monkeypatch.setattr(patch_sites, "_read_all", lambda _prog: iter(sites))


def changed(offset: int, data: bytes) -> bytes:
    return CODE[:offset] + data + CODE[offset + len(data) :]


def test_the_same_code_has_no_difference() -> None:
    found = check_code(program(CODE), START + 8, 200)
    assert (found.compared, found.explained, found.corrupt) == (200, {}, ())


@pytest.mark.parametrize("by", [SLIDE, -SLIDE])
def test_an_address_that_moved_is_none(by: int) -> None:
    (then,) = struct.unpack_from("<I", CODE, 40)
    memory = changed(40, struct.pack("<I", (then + by) & 0xFFFF_FFFF))
    assert memory != CODE
    assert check_code(program(memory), START + 8, 200).corrupt == ()
    # Also where only a part of it was asked for.
    assert check_code(program(memory), START + 42, 60).corrupt == ()


def test_a_place_that_the_kernel_patches_is_explained() -> None:
    memory = changed(100, b"\x0f\x1f\x44\x00\x00")
    found = check_code(program(memory), START + 8, 200)
    assert (found.explained, found.corrupt) == ({"static key": 1}, ())


def test_a_byte_beside_that_place_is_not() -> None:
    memory = changed(100, b"\x0f\x1f\x44\x00\x00\xff")
    found = check_code(program(memory), START + 8, 200)
    assert found.explained == {"static key": 1}
    (bad,) = found.corrupt
    assert (bad.address, bad.expected, bad.found) == (START + 105, CODE[105:106], b"\xff")


def test_one_bit_is_counted_as_one() -> None:
    memory = changed(60, bytes([CODE[60] ^ 0x10]))
    (bad,) = check_code(program(memory), START + 8, 200).corrupt
    assert (bad.address, bad.bits) == (START + 60, 1)


def probed(kernel: Kernel, *probes: int) -> None:
    """Give the kernel a table of kprobes; the first chain has those at the given addresses."""
    kernel.typedef("kprobe_opcode_t", "u8")
    kernel.struct("hlist_node", 16, ("next", "struct hlist_node *", 0), ("pprev", "void *", 8))
    kernel.struct("hlist_head", 8, ("first", "struct hlist_node *", 0))
    kernel.struct(
        "kprobe", 24, ("hlist", "struct hlist_node", 0), ("addr", "kprobe_opcode_t *", 16)
    )
    kernel.variable("kprobe_table", "struct hlist_head [64]")
    table = kernel.prog["kprobe_table"].address_
    place = kernel.prog["kprobe_table"][3].address_
    assert table is not None
    assert place is not None
    kernel.symbol("kprobe_table", table, 512)
    for address in probes:
        probe = kernel.allocate("struct kprobe", addr=address)
        kernel.put(place, probe.value_().to_bytes(8, "little"))
        place = probe.value_()


def kernel_with(memory: bytes) -> Kernel:
    made = Kernel()
    made.put(START, memory)
    return made


def check(kernel: Kernel) -> tuple[dict[str, int], list[int]]:
    found = check_code(kernel.prog, START + 8, 200)
    return found.explained, [one.address - START for one in found.corrupt]


def test_a_breakpoint_is_explained_by_the_kprobe_that_is_there() -> None:
    kernel = kernel_with(changed(60, b"\xcc"))
    probed(kernel, START + 20, START + 60)
    assert check(kernel) == ({"kprobe": 1}, [])


def test_a_breakpoint_without_a_kprobe_is_corruption() -> None:
    kernel = kernel_with(changed(60, b"\xcc"))
    probed(kernel, START + 20)
    assert check(kernel) == ({}, [60])
    assert check(kernel_with(changed(60, b"\xcc"))) == ({}, [60])  # a kernel without kprobes


def test_a_jump_is_explained_by_an_optimized_kprobe_and_nothing_beside_it() -> None:
    kernel = kernel_with(changed(60, b"\xe9\xaa\xbb\xaa\xbb\xff"))
    probed(kernel, START + 60)
    assert check(kernel) == ({"kprobe": 1}, [65])
    kernel = kernel_with(changed(60, b"\xcc\xaa"))
    probed(kernel, START + 60)
    assert check(kernel) == ({"kprobe": 1}, [61])


@pytest.mark.parametrize("refs", [1, 0])
def test_code_that_is_being_rewritten_is_explained_while_it_is(refs: int) -> None:
    kernel = kernel_with(changed(60, b"\xcc\xaa"))
    kernel.symbol("_stext", START, len(CODE))
    kernel.struct("counter", 4, ("counter", "int", 0))
    kernel.typedef("atomic_t", "struct counter")
    kernel.struct("text_poke_loc", 16, ("rel_addr", "int", 0))
    kernel.struct(
        "bp_patching_desc", 16, ("vec", "struct text_poke_loc *", 0), ("nr_entries", "int", 8),
        ("refs", "atomic_t", 12),
    )  # fmt: skip
    entry = kernel.allocate("struct text_poke_loc", rel_addr=60)
    kernel.variable("bp_desc", "struct bp_patching_desc")
    place = kernel.prog["bp_desc"].address_
    assert place is not None
    kernel.symbol("bp_desc", place, 16)
    kernel.put(place, struct.pack("<Qii", entry.value_(), 1, refs))
    assert check(kernel) == (({"code being rewritten": 1}, []) if refs else ({}, [60]))


def test_with_a_damaged_table_of_kprobes_a_breakpoint_is_nobodys() -> None:
    kernel = kernel_with(changed(60, b"\xcc")[:80] + b"\xff" + CODE[81:])
    probed(kernel, START + 20)
    head = kernel.prog["kprobe_table"][3].address_
    assert head is not None
    kernel.put(head, (0xFFFF_8888_0000_0000).to_bytes(8, "little"))
    assert check(kernel) == ({"breakpoint, by whom is not known": 1}, [80])


def test_boot_code_is_not_compared() -> None:
    kernel = kernel_with(b"\xcc" * len(CODE))
    kernel.symbol("_sinittext", START, 8)
    kernel.symbol("_einittext", START + len(CODE), 8)
    with pytest.raises(Unavailable) as why:
        check_code(kernel.prog, START + 8, 200)
    assert why.value.reason is Reason.NOT_APPLICABLE


def test_code_that_no_file_has_is_unknown() -> None:
    with pytest.raises(Unavailable) as why:
        check_code(program(CODE), START + 0x10_0000, 16)
    assert why.value.reason is Reason.NO_DEBUGINFO


def test_a_table_of_sites_answers_inside_only() -> None:
    table = patch_sites._Table("ftrace", [100, 200], [5, 2])
    assert [table.find(at) is not None for at in (99, 100, 104, 105, 200, 201, 202)] == [
        False, True, True, False, True, True, False,
    ]  # fmt: skip


def test_without_a_file_there_is_nothing_to_read() -> None:
    prog = program(CODE)
    assert file_text.data_of_file(prog, START, 8) is None
    assert list(file_text.sections_of_file(prog, "runtime_")) == []
