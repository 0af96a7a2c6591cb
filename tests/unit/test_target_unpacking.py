"""Whole dumps in compressed files, split dumps, and VMCOREINFO that only memory has."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from crashkit.errors import TargetError
from crashkit.target import (
    find_kdump_log,
    identify,
    open_program,
    qemu_kdump,
    read_text,
    searching,
)
from tests.unit.target_doubles import (
    KERNEL_BASE,
    RELEASE,
    Kdump,
    Load,
    elf_core,
    kernel_notes,
    note,
    page,
    prstatus,
    vmcoreinfo,
)


def write(folder: Path, data: bytes, name: str = "vmcore") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


PYTHON_ONES = [("gzip", gzip.compress), ("xz", lzma.compress), ("bzip2", bz2.compress)]


@pytest.mark.parametrize(("name", "pack"), PYTHON_ONES, ids=[name for name, _ in PYTHON_ONES])
def test_a_packed_dump_is_read_like_the_dump(tmp_path: Path, name: str, pack: object) -> None:
    dump = elf_core()
    assert callable(pack)
    target = identify(write(tmp_path, pack(dump), f"vmcore.{name}"))
    plain = identify(write(tmp_path, dump))
    assert (target.format, target.release, target.truncated) == ("elf", plain.release, False)
    assert target.path == str(tmp_path / f"vmcore.{name}")
    assert open_program(target).read(0, 8, physical=True) == bytes([1]) * 8


@pytest.mark.parametrize("program", ["zstd", "lz4", "lzop"])
def test_a_program_unpacks_what_python_does_not(tmp_path: Path, program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed; apt-packages.txt names it")
    plain = write(tmp_path, elf_core())
    with plain.open("rb") as file, (tmp_path / "packed").open("wb") as packed:
        subprocess.run([program, "-c"], stdin=file, stdout=packed, check=True)
    assert identify(tmp_path / "packed").release == RELEASE


def test_a_program_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(TargetError, match="the program zstd is not installed"):
        identify(write(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(60)))


def test_two_streams_in_one_file_are_both_read(tmp_path: Path) -> None:
    dump = elf_core()
    packed = gzip.compress(dump[:500]) + gzip.compress(dump[500:])
    assert identify(write(tmp_path, packed)).missing_bytes == 0


def test_a_cut_packed_dump_gives_what_is_there(tmp_path: Path) -> None:
    packed = gzip.compress(elf_core() + bytes(range(256)) * 64, compresslevel=1)
    target = identify(write(tmp_path, packed[:-12]))
    assert target.truncated
    assert any("gzip file around the dump is cut" in words for words in target.warnings)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x1f\x8b" + b"garbage", "nothing can be unpacked"),
        (gzip.compress(gzip.compress(elf_core())), "more than once"),
        (gzip.compress(b"\x7fELF"), "cut inside its ELF header"),
    ],
)
def test_what_holds_no_dump_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        identify(write(tmp_path, data))


def test_a_packed_log_is_text(tmp_path: Path) -> None:
    target = identify(write(tmp_path, gzip.compress(b"[    1.0] Oops: 0000 [#1]\n" * 8)))
    assert target.format == "text"
    assert read_text(target.readable).startswith("[    1.0] Oops")


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crashkit.target.unpacking._ROOM", 1 << 62)
    with pytest.raises(TargetError, match="set TMPDIR"):
        identify(write(tmp_path, gzip.compress(elf_core())))


# Split dumps

SPLIT = {3: page(3), 5: page(5), 9: page(9), 12: page(12)}


def part(first: int, last: int) -> bytes:
    return Kdump(pages=SPLIT, split=(first, last)).build()


def test_the_parts_of_a_split_dump_are_joined(tmp_path: Path) -> None:
    write(tmp_path, part(6, 20), "b")
    write(tmp_path, part(0, 6), "a")
    write(tmp_path, b"a note", "README")
    for given in ("a", "b"):
        target = identify(tmp_path / given)
        assert (target.format, target.truncated) == ("kdump-split", False)
        prog = open_program(target)
        for frame in SPLIT:
            assert prog.read(frame * 4096, 4, physical=True) == bytes([frame]) * 4


def test_a_missing_part_is_named_by_its_page_frames(tmp_path: Path) -> None:
    path = write(tmp_path, part(6, 20))
    with pytest.raises(TargetError, match="page frames from 0x0 to 0x6 is not beside it"):
        identify(path)


def test_parts_of_two_dumps_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path, part(0, 8), "a")
    write(tmp_path, part(6, 20), "b")
    with pytest.raises(TargetError, match="more than one split dump"):
        identify(tmp_path / "a")


def test_a_folder_of_parts_is_one_dump(tmp_path: Path) -> None:
    write(tmp_path, part(0, 6), "vmcore1")
    write(tmp_path, part(6, 20), "vmcore2")
    assert identify(tmp_path).format == "kdump-split"


# VMCOREINFO in memory

TEXT = vmcoreinfo(**{"SYMBOL(init_uts_ns)": f"{KERNEL_BASE:x}"})


def without_note(*contents: bytes) -> bytes:
    loads = [
        Load(data=page(1) + text.ljust(4096, b"\0"), virtual=KERNEL_BASE, physical=0x4000 * n)
        for n, text in enumerate(contents)
    ]
    return elf_core(prstatus() + note(b"QEMU", 0, bytes(64)), loads)


def test_vmcoreinfo_is_found_in_memory(tmp_path: Path) -> None:
    target = identify(write(tmp_path, without_note(TEXT)))
    assert target.release == RELEASE
    assert any("found in memory" in words for words in target.warnings)
    assert open_program(target)["UTS_RELEASE"].string_().decode() == RELEASE


def test_a_copy_with_the_crash_time_added_is_the_same(tmp_path: Path) -> None:
    target = identify(write(tmp_path, without_note(TEXT, TEXT + b"CRASHTIME=1763694000\n")))
    assert target.crash_time == 1763694000


def test_two_kernels_in_memory_are_a_conflict(tmp_path: Path) -> None:
    other = TEXT.replace(RELEASE.encode(), b"5.10.0-1-other")
    with pytest.raises(TargetError, match="2 different texts"):
        identify(write(tmp_path, without_note(TEXT, other)))


def test_a_format_string_is_no_vmcoreinfo(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="did not publish VMCOREINFO"):
        identify(write(tmp_path, without_note(b"OSRELEASE=%s\nPAGESIZE=%ld\n")))


def test_a_note_is_believed_without_a_search(tmp_path: Path) -> None:
    loads = [Load(data=vmcoreinfo(OSRELEASE="9.9.9").ljust(4096, b"\0"), virtual=KERNEL_BASE)]
    assert identify(write(tmp_path, elf_core(kernel_notes(), loads))).release == RELEASE


# The log beside a dump


def test_the_log_that_kdump_saved_is_found(tmp_path: Path) -> None:
    dump = write(tmp_path, elf_core())
    assert find_kdump_log(dump) is None
    write(tmp_path, b"a console", "console.txt")
    assert find_kdump_log(dump) is None
    log = write(tmp_path, b"[    1.0] x\n", "vmcore-dmesg.txt")
    assert find_kdump_log(dump) == log
    write(tmp_path, b"[    1.0] x\n", "dmesg.202611210400")
    assert find_kdump_log(dump) is None


def test_more_texts_than_are_looked_at_are_not_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own may be among those that were not."""
    monkeypatch.setattr(searching, "_MOST", 3)
    search = searching.Search("vmcore")
    for _ in range(3):
        search.add(TEXT)
    assert search.result() == TEXT
    search.add(TEXT)
    with pytest.raises(TargetError, match="more than 3 texts"):
        search.result()


def test_texts_that_differ_are_searched_no_further() -> None:
    search = searching.Search("vmcore")
    for number in range(1000):
        search.add(TEXT.replace(b"OSRELEASE=", b"OSRELEASE=%d." % number))
    with pytest.raises(TargetError, match="4 different texts"):
        search.result()


def pages_of(runs: list[tuple[int, int]]) -> list[int]:
    return [
        page
        for start, size in runs
        for page in range(start // 4096, (start + size - searching.CHUNK_OVERLAP) // 4096)
    ]


def test_runs_of_pages_are_all_the_pages() -> None:
    dice = random.Random(3)
    bits = sum(1 << frame for frame in range(40_000) if dice.random() < 0.5 or 9000 < frame < 20000)
    runs = list(qemu_kdump._runs(bits))
    assert pages_of(runs) == [frame for frame in range(40_000) if bits >> frame & 1]
    assert not list(qemu_kdump._runs(0))


def test_a_bitmap_of_holes_takes_the_time_of_its_size() -> None:
    bits = int.from_bytes(b"\x55" * (1 << 18), "little")
    started = time.process_time()
    assert sum(1 for _run in qemu_kdump._runs(bits)) == 1 << 20
    assert time.process_time() - started < 10
