from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from drgn import FaultError, Program, ProgramFlags

from crashkit.errors import TargetError, UsageError
from crashkit.target import Target, identify, open_program
from tests.unit.target_doubles import (
    PAGE,
    Kdump,
    Load,
    elf_core,
    flattened,
    kernel_notes,
    qemu_kdump,
    vmcoreinfo,
)

PAGES = {frame: os.urandom(64) * (PAGE // 64) for frame in range(1, 60)}
RAW = dict.fromkeys(PAGES, 0)


def opened(folder: Path, data: bytes) -> Program:
    path = folder / "vmcore"
    path.write_bytes(data)
    prog = open_program(identify(path))
    assert prog.flags & ProgramFlags.IS_LINUX_KERNEL
    assert prog.enabled_debug_info_finders() == []
    return prog


def readable(prog: Program) -> dict[int, bytes]:
    found = {}
    for frame in range(70):
        try:
            found[frame] = prog.read(frame * PAGE, PAGE, True)
        except FaultError:
            continue
    return found


def test_elf(tmp_path: Path) -> None:
    prog = opened(tmp_path, elf_core(loads=[Load(data=PAGES[1], physical=PAGE)]))
    assert readable(prog) == {1: PAGES[1]}


def test_kdump(tmp_path: Path) -> None:
    assert readable(opened(tmp_path, Kdump(pages=PAGES).build())) == PAGES


def test_flattened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert readable(opened(tmp_path, flattened(Kdump(pages=PAGES).build()))) == PAGES
    capfd.readouterr()  # libdrgn warns of flattened files


def test_truncated_elf_faults_and_never_gives_zeros(tmp_path: Path) -> None:
    loads = [Load(data=b"".join(PAGES.values()), physical=PAGE)]
    prog = opened(tmp_path, elf_core(loads=loads)[: -10 * PAGE])
    assert readable(prog) == {frame: PAGES[frame] for frame in list(PAGES)[:-10]}


@pytest.mark.parametrize("flags", [None, RAW], ids=["zlib", "uncompressed"])
@pytest.mark.parametrize("percent", [1, 20, 50, 90, 99])
def test_truncated_kdump_gives_right_pages_only(
    tmp_path: Path, flags: dict[int, int] | None, percent: int
) -> None:
    dump = Kdump(pages=PAGES, flags=flags)
    data = dump.build()
    body = len(data) - dump.descriptors_at
    found = readable(opened(tmp_path, data[: dump.descriptors_at + body * percent // 100]))
    assert found == {frame: PAGES[frame] for frame in found}
    assert bool(found) is (percent >= 20)
    assert len(found) < len(PAGES)


@pytest.mark.parametrize("percent", [50, 99])
def test_truncated_flattened_kdump_gives_right_pages_only(tmp_path: Path, percent: int) -> None:
    dump = Kdump(pages=PAGES, flags=RAW)
    data = flattened(dump.build(), chunk=5000)
    found = readable(opened(tmp_path, data[: len(data) * percent // 100]))
    assert found
    assert found == {frame: PAGES[frame] for frame in found}


def test_truncated_flattened_elf(tmp_path: Path) -> None:
    loads = [Load(data=b"".join(PAGES.values()), physical=PAGE)]
    data = flattened(elf_core(loads=loads))
    found = readable(opened(tmp_path, data[: len(data) // 2]))
    assert 20 < len(found) < 40
    assert found == {frame: PAGES[frame] for frame in found}


def test_kdump_of_a_full_disk(tmp_path: Path) -> None:
    dump = Kdump(pages=PAGES, status=9, lost=frozenset({5, 6}))
    assert readable(opened(tmp_path, dump.build())) == {
        frame: data for frame, data in PAGES.items() if frame not in {5, 6}
    }


@pytest.mark.parametrize("as_stream", [False, True])
def test_kdump_by_qemu(tmp_path: Path, as_stream: bool) -> None:
    data = qemu_kdump(PAGES)
    assert readable(opened(tmp_path, flattened(data) if as_stream else data)) == PAGES


@pytest.mark.parametrize("percent", [85, 90, 95, 99])
def test_truncated_kdump_by_qemu_gives_right_pages_only(tmp_path: Path, percent: int) -> None:
    data = flattened(qemu_kdump(PAGES))
    found = readable(opened(tmp_path, data[: len(data) * percent // 100]))
    assert 0 < len(found) < len(PAGES)
    assert found == {frame: PAGES[frame] for frame in found}


def test_no_room_for_completing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(TargetError, match=r"QEMU's incomplete header .* set TMPDIR"):
        opened(tmp_path, qemu_kdump(PAGES))


def test_incomplete_flag_takes_no_page_away(tmp_path: Path) -> None:
    assert readable(opened(tmp_path, Kdump(pages=PAGES, status=9).build())) == PAGES


def test_mending_leaves_no_file_and_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    prog = opened(tmp_path, Kdump(pages=PAGES).build()[:-99])
    assert len(list(tmp_path.iterdir())) == 1
    del prog
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_room_for_mending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(TargetError, match="set TMPDIR"):
        opened(tmp_path, Kdump(pages=PAGES).build()[:-99])


def test_copy_that_cannot_be_written(tmp_path: Path) -> None:
    far = struct.pack(">qq", 1 << 61, 8) + bytes(8)
    data = flattened(Kdump(pages=PAGES).build(), end=False) + far
    with pytest.raises(TargetError, match="cannot be written: "):
        opened(tmp_path, data)


@pytest.mark.parametrize(
    "info",
    [vmcoreinfo(OSRELEASE=""), vmcoreinfo(**{"SYMBOL(swapper_pg_dir)": ""}), b"\xff\xfe"],
)
def test_garbled_vmcoreinfo_is_a_sentence(tmp_path: Path, info: bytes) -> None:
    for data in (
        elf_core(kernel_notes(info=info)),
        Kdump(pages=PAGES, notes=kernel_notes(info=info)).build(),
    ):
        with pytest.raises(TargetError, match=r"drgn cannot open .*vmcore: .*; .*copy"):
            opened(tmp_path, data)


def test_text_is_not_opened() -> None:
    with pytest.raises(TargetError, match="is a text file"):
        open_program(Target(path="console.txt", format="text"))


def test_never_the_live_kernel() -> None:
    with pytest.raises(UsageError):
        open_program(Target(path="/proc/kcore", format="elf"))


def test_file_that_went_away(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(elf_core())
    target = identify(path)
    path.unlink()
    with pytest.raises(TargetError, match="No such file"):
        open_program(target)
