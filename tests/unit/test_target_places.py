from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import pytest

from crashkit.errors import TargetError, UsageError
from crashkit.target import Target, find_log, identify, is_symbol_file
from crashkit.target import places as places_module
from tests.unit.target_doubles import Kdump, elf_core, flattened, page

LOG = b"[    0.000000] Linux version 6.1.0\n[    1.0] BUG: kernel NULL pointer dereference\n"


def refusal(path: Path) -> str:
    with pytest.raises(TargetError) as error:
        identify(path)
    return str(error.value)


@pytest.mark.parametrize("name", ["/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/crash"])
def test_live_kernel_is_refused(tmp_path: Path, name: str) -> None:
    link = tmp_path / "vmcore"
    link.symlink_to(name)
    for path in (Path(name), link, tmp_path / ".." / tmp_path.name / "vmcore"):
        with pytest.raises(UsageError, match="running kernel"):
            identify(path)


def test_live_kernel_behind_the_only_file_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "vmcore").symlink_to("/proc/kcore")
    with pytest.raises((UsageError, TargetError)):
        identify(tmp_path)


def test_kcore_by_another_name_is_known_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "innocent"
    path.write_bytes(elf_core())
    fields = list(path.stat())
    fields[stat.ST_SIZE] = 0x7FFF_FF60_3000
    extra = {"st_blocks": 0, "st_rdev": 0}
    monkeypatch.setattr(Path, "stat", lambda self, **_: os.stat_result(fields, extra))
    with pytest.raises(UsageError):
        places_module.refuse_live(path)


def test_missing_file(tmp_path: Path) -> None:
    text = refusal(tmp_path / "nothing")
    assert "does not exist" in text
    assert str(tmp_path / "nothing") in text


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert "cannot be opened" in refusal(tmp_path / "a" / "vmcore")


def test_symlink_loop(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert "cannot be opened" in refusal(tmp_path / "a")


def test_unreadable_file_says_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(b"x")
    path.chmod(0o600)

    def closed(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", closed)
    text = refusal(path)
    assert "(mode 0600, owner " in text
    assert "run as root" in text
    assert "chgrp " in text


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.touch()
    assert "is empty" in refusal(path)
    assert "is empty" in refusal(tmp_path)


def test_fifo_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert "pipe" in refusal(path)


def test_character_device() -> None:
    assert "device" in refusal(Path("/dev/null"))


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "console.txt"
    for data in (LOG, LOG * 2000, "[0.0] größe\r\n".encode(), LOG + bytes(50) + b"\x1b[0m"):
        path.write_bytes(data)
        assert identify(path) == Target(path=str(path), format="text")


def test_random_bytes_are_neither(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (bytes(range(256)) * 4, bytes(5000), b"\x01\x02\x03\x04", bytes(600) + b"hello"):
        path.write_bytes(data)
        assert "neither a vmcore" in refusal(path)


@pytest.mark.parametrize(
    ("magic", "what"),
    [
        (b"PK\x03\x04", "unzip"),
        (bytes(257) + b"ustar", "tar xf"),
        (bytes(0x202) + b"HdrS", "boot image"),
        (b"PAGEDU64", "Windows"),
        (b"LibvirtQemudSave", "virsh dump"),
    ],
)
def test_other_formats_say_what_to_do(tmp_path: Path, magic: bytes, what: str) -> None:
    path = tmp_path / "vmcore.x"
    path.write_bytes(magic.ljust(1000, b"\0"))
    text = refusal(path)
    assert what in text
    assert str(path) in text


def test_directory_with_one_dump(tmp_path: Path) -> None:
    (tmp_path / "vmcore-dmesg.txt").write_bytes(LOG)
    (tmp_path / "kexec-dmesg.log").write_bytes(LOG)
    (tmp_path / "vmlinux").write_bytes(elf_core(kind=2))
    for data in (elf_core(), Kdump(pages={1: page(1)}).build(), flattened(elf_core())):
        (tmp_path / "202611210400.img").write_bytes(data)
        assert identify(tmp_path).path == str(tmp_path / "202611210400.img")
    assert find_log(tmp_path / "202611210400.img") == tmp_path / "vmcore-dmesg.txt"


def test_directory_with_several_dumps(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"dump.{number}").write_bytes(elf_core())
    text = refusal(tmp_path)
    assert "holds 7 dumps (dump.0, dump.1, dump.2, dump.3, dump.4 and 2 more)" in text


def test_directory_with_a_log_only(tmp_path: Path) -> None:
    (tmp_path / "dmesg.202611210400").write_bytes(LOG)
    assert identify(tmp_path).format == "text"
    (tmp_path / "dmesg.202611220400").write_bytes(LOG)
    assert "2 logs and no dump" in refusal(tmp_path)
    assert find_log(tmp_path / "vmcore") is None


def test_of_several_logs_the_better_is_chosen(tmp_path: Path) -> None:
    for name in ("console.txt", "console.old", "backtrace", "dmesg.0", "dmesg", "vmcore-dmesg.txt"):
        (tmp_path / name).write_bytes(LOG)
        if name != "console.old" and name != "dmesg.0":
            assert identify(tmp_path).path == str(tmp_path / name)


def test_abrts_notes_are_no_dump(tmp_path: Path) -> None:
    (tmp_path / "vmcore_info").write_text("a note\n")
    (tmp_path / "backtrace").write_bytes(LOG)
    (tmp_path / "kernel").write_text("4.18.0-553.el8.x86_64\n")
    assert identify(tmp_path) == Target(
        path=str(tmp_path / "backtrace"), format="text", release="4.18.0-553.el8.x86_64"
    )


def test_directory_with_a_compressed_dump(tmp_path: Path) -> None:
    (tmp_path / "vmcore.gz").write_bytes(gzip.compress(elf_core()))
    (tmp_path / "vmcore-dmesg.txt").write_bytes(LOG)
    assert identify(tmp_path).path == str(tmp_path / "vmcore.gz")


def test_directory_of_directories(tmp_path: Path) -> None:
    for name in ("127.0.0.1-2026-11-20", "127.0.0.1-2026-11-21"):
        (tmp_path / name).mkdir()
    assert f"such as {tmp_path / '127.0.0.1-2026-11-21'}" in refusal(tmp_path)


def test_directory_without_a_dump(tmp_path: Path) -> None:
    assert "holds no dump and no log" in refusal(tmp_path)


def test_symbol_files_are_told_from_dumps() -> None:
    assert is_symbol_file(elf_core(kind=2)[:64])
    assert is_symbol_file(elf_core(kind=1)[:64])
    assert not is_symbol_file(elf_core()[:64])
    assert not is_symbol_file(Kdump(pages={1: page(1)}).build()[:64])
    assert not is_symbol_file(b"\x7fELF")
