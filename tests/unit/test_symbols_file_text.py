"""Code by the vmlinux file, where the dump lacks it."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crashkit import disasm
from crashkit.disasm import disassemble_known
from crashkit.errors import Unavailable
from crashkit.symbols.file_text import text_of_file
from tests.unit.kernel_doubles import Kernel

BASE = 0xFFFF_FFFF_8100_0000
BIAS = 0x1200_0000
CODE = bytes(range(64))


def elf(*segments: tuple[int, int, int, bytes]) -> bytes:
    """An ELF file: type, flags and address of each segment, and its bytes."""
    data = b""
    heads = b""
    first = 64 + 56 * len(segments)
    for kind, flags, address, code in segments:
        heads += struct.pack(
            "<IIQQQQQQ", kind, flags, first + len(data), address, 0, len(code), len(code), 0
        )
        data += code
    head = b"\x7fELF\x02\x01" + bytes(10)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    return head + heads + data


def program(path: Path | None) -> Any:
    module = SimpleNamespace(
        loaded_file_path=None,
        debug_file_path=None if path is None else str(path),
        debug_file_bias=BIAS,
        loaded_file_bias=None,
    )
    return SimpleNamespace(cache={}, main_module=lambda: module)


def test_code_is_where_the_kernel_was_loaded(tmp_path: Path) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(elf((4, 4, 0, b"note"), (1, 5, BASE, CODE), (1, 6, BASE + 0x1000, CODE)))
    prog = program(file)
    assert text_of_file(prog, BASE + BIAS, 64) == CODE
    assert text_of_file(prog, BASE + BIAS + 60, 4) == CODE[60:]
    assert text_of_file(prog, BASE + BIAS + 60, 5) is None  # beyond its end
    assert text_of_file(prog, BASE + BIAS - 1, 2) is None
    assert text_of_file(prog, BASE + BIAS + 0x1000, 4) is None  # data


@pytest.mark.parametrize(
    "content",
    [b"", b"\x7fELF", elf((1, 5, BASE, b"")), elf((1, 5, BASE, CODE))[:-60], b"\x7fELF\x01" * 40],
)
def test_a_file_without_the_code_has_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "vmlinux"
    file.write_bytes(content)
    assert text_of_file(program(file), BASE + BIAS, 32) is None


def test_no_file(tmp_path: Path) -> None:
    assert text_of_file(program(None), BASE, 4) is None
    assert text_of_file(program(tmp_path / "gone"), BASE, 4) is None


def test_the_dumps_bytes_count_more_than_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel()
    page = BASE + 0x1000
    kernel.put(page, bytes.fromhex("5b c3"))  # pop %rbx; ret
    start = page - 4
    with pytest.raises(Unavailable):
        disassemble_known(kernel.prog, start - 0x1000, 8)
    whole = bytes.fromhex("53 48 89 fb 90 90")  # push %rbx; mov %rdi,%rbx; and what was patched
    monkeypatch.setattr(disasm, "text_of_file", lambda *_: whole)
    found = disassemble_known(kernel.prog, start, 6)
    assert [i.text for i in found] == ["push %rbx", "mov %rdi,%rbx", "pop %rbx", "ret"]
