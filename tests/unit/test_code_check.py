"""Code of the dump against that of its vmlinux: moved addresses, patches, damage."""

import struct

import pytest
from drgn import Architecture, Platform, Program

from crashkit.errors import Reason, Unavailable
from crashkit.symbols import code_check, file_text, patch_sites
from crashkit.symbols.code_check import check_code

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


def test_a_breakpoint_is_explained_as_one() -> None:
    memory = changed(60, b"\xcc")
    found = check_code(program(memory), START + 8, 200)
    assert (found.explained, found.corrupt) == ({"breakpoint": 1}, ())


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
