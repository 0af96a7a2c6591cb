from __future__ import annotations

import struct
from pathlib import Path

import pytest

from crashkit.target import flattened as flattened_format
from crashkit.target import identify
from crashkit.target.places import open_file
from tests.unit.target_doubles import Kdump, Load, elf_core, flattened, page
from tests.unit.test_target_formats import check_kernel, refusal, write

PAGES = {frame: page(frame % 251) for frame in range(1, 40)}


def test_flattened_elf(tmp_path: Path) -> None:
    target = identify(write(tmp_path, flattened(elf_core())))
    check_kernel(target)
    assert (target.format, target.truncated) == ("elf-flattened", False)


@pytest.mark.parametrize(
    ("sections", "fits"),
    [((0, 0, 0), True), ((200, 64, 1), True), ((1 << 40, 64, 1), False), ((200, 0, 0), False)],
)
def test_sections_of_a_flattened_elf(
    tmp_path: Path, sections: tuple[int, int, int], fits: bool
) -> None:
    room = bytes(200)  # the first PT_LOAD: a section header of zeros
    data = elf_core(loads=[Load(data=room)], sections=sections)
    data = (
        elf_core(loads=[Load(data=room)], sections=(len(data) - 200, *sections[1:]))
        if (sections[0] == 200)
        else data
    )
    check_kernel(identify(write(tmp_path, data)))
    if fits:
        check_kernel(identify(write(tmp_path, flattened(data))))
    else:
        assert "section headers point out" in refusal(write(tmp_path, flattened(data)))


def test_flattened_kdump(tmp_path: Path) -> None:
    target = identify(write(tmp_path, flattened(Kdump(pages=PAGES).build())))
    check_kernel(target)
    assert (target.format, target.compression) == ("kdump-flattened", "zlib")
    assert not target.truncated


def test_flattened_segments_may_come_in_any_order_and_overwrite(tmp_path: Path) -> None:
    dump = elf_core()
    whole = flattened(dump, end=False)
    wrong_first = struct.pack(">qq", 0, 64) + bytes(64)
    data = whole[:4096] + wrong_first + whole[4096:] + b"\xff" * 16
    check_kernel(identify(write(tmp_path, data)))


def test_flattened_read_from_a_disk_has_bytes_after_its_end(tmp_path: Path) -> None:
    target = identify(write(tmp_path, flattened(elf_core()) + bytes(5000)))
    assert not target.truncated


@pytest.mark.parametrize("cut", [16, 17, 500, 5000])
def test_truncated_flattened(tmp_path: Path, cut: int) -> None:
    target = identify(write(tmp_path, flattened(elf_core())[:-cut]))
    check_kernel(target)
    assert target.truncated
    assert target.missing_bytes > 0


def test_flattened_with_nothing_inside(tmp_path: Path) -> None:
    assert "neither an ELF nor a kdump" in refusal(write(tmp_path, flattened(b"hello" * 99)))
    assert "(it is cut)" in refusal(write(tmp_path, flattened(b"", end=False)))
    assert "cut inside its first header" in refusal(write(tmp_path, flattened(b"")[:20]))


def test_garbled_flattened(tmp_path: Path) -> None:
    data = bytearray(flattened(elf_core()))
    data[4096:4112] = struct.pack(">qq", 5, -9)
    assert "segment header at byte 4096 is impossible" in refusal(write(tmp_path, bytes(data)))
    data[16:24] = struct.pack(">q", 2)
    assert "type 2" in refusal(write(tmp_path, bytes(data)))


def test_only_the_first_segments_of_a_huge_flattened_file_are_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = flattened(Kdump(pages=PAGES).build(), chunk=256)
    path = write(tmp_path, data)
    with open_file(path) as file:
        source = flattened_format.FlattenedSource(file, max_segments=40)
    assert source.complete
    assert not source.walked
    monkeypatch.setattr(flattened_format.FlattenedSource.__init__, "__defaults__", (40,))
    target = identify(path)
    check_kernel(target)
    assert not target.truncated
