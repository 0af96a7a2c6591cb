"""Logs in apport's problem reports and in records of pstore."""

from __future__ import annotations

import base64
import gzip
import os
import zlib
from pathlib import Path

import pytest

from crashkit.errors import TargetError
from crashkit.target import identify, read_text

LOG = "[    1.000000] BUG: first\n[    1.000001] second: ünder\n[    1.000002] third\n"


def text_of(path: Path) -> str:
    target = identify(path)
    assert target.format == "text"
    return read_text(target.readable)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def base64_lines(data: bytes, size: int = 30) -> str:
    pieces = [data[:10], *(data[at : at + size] for at in range(10, len(data), size))]
    return "".join(f" {base64.b64encode(piece).decode()}\n" for piece in pieces)


def report(*fields: str, problem: str = "KernelCrash") -> str:
    return f"ProblemType: {problem}\nArchitecture: amd64\n" + "".join(fields) + "Uname: Linux\n"


def lines(key: str, text: str = LOG) -> str:
    return f"{key}:\n" + "".join(f" {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("key", ["VmCoreDmesg", "Dmesg", "OopsText", "CurrentDmesg"])
@pytest.mark.parametrize("problem", ["KernelCrash", "KernelOops"])
def test_text_of_a_problem_report(tmp_path: Path, key: str, problem: str) -> None:
    path = write(tmp_path / "linux.0.crash", report(lines(key), problem=problem))
    assert text_of(path) == LOG


def test_packed_log_of_a_problem_report(tmp_path: Path) -> None:
    packed = base64_lines(gzip.compress(LOG.encode() * 50))
    path = write(tmp_path / "linux.crash", report(f"VmCoreDmesg: base64\n{packed}"))
    assert text_of(path) == LOG * 50


def test_cut_log_of_a_problem_report_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    text = "".join(f"[    1.{n:06}] {n * 7919:x}\n" for n in range(2000))
    packed = base64_lines(gzip.compress(text.encode()))
    path = write(tmp_path / "x.crash", report(f"VmCoreDmesg: base64\n{packed[: len(packed) // 2]}"))
    read = text_of(path)
    assert text.startswith(read)
    assert len(read) > 1000


def test_the_longer_log_is_preferred(tmp_path: Path) -> None:
    path = write(tmp_path / "x.crash", report(lines("OopsText", "short\n"), lines("VmCoreDmesg")))
    assert text_of(path) == LOG


def test_a_report_with_a_dump_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "x.crash", report("VmCore: base64\n AAAA\n", lines("VmCoreDmesg")))
    assert any("apport-unpack" in warning for warning in identify(path).warnings)


def test_a_report_without_a_log(tmp_path: Path) -> None:
    path = write(tmp_path / "x.crash", report("VmCore: base64\n AAAA\n"))
    with pytest.raises(TargetError, match=r"without a kernel log.*apport-unpack"):
        identify(path)


def test_a_program_s_report_is_text(tmp_path: Path) -> None:
    path = write(tmp_path / "x.crash", report(lines("Dmesg"), problem="Crash"))
    assert text_of(path).startswith("ProblemType: Crash\n")


def record(part: int, text: str) -> str:
    return f"Panic#1 Part{part}\n{text}"


def test_records_of_one_crash_are_joined(tmp_path: Path) -> None:
    first, second, third = LOG.splitlines(keepends=True)
    for part, text in ((1, third), (2, second), (3, first)):
        write(tmp_path / f"dmesg-efi_pstore-17000000000{part}001", record(part, text))
    write(tmp_path / "console-ramoops-0", "no report\n")
    found = text_of(tmp_path)
    assert all(record(part, "").strip() in found for part in (1, 2, 3))
    assert "third" in found
    assert "no report" not in found
    assert text_of(tmp_path / "dmesg-efi_pstore-170000000002001") == record(2, second) + "\n"


@pytest.mark.parametrize("wbits", [15, -15, 12])
def test_packed_records(tmp_path: Path, wbits: int) -> None:
    stream = zlib.compressobj(wbits=wbits)
    packed = stream.compress(LOG.encode()) + stream.flush()
    write(tmp_path / "dmesg-erst-7123456789012345.enc.z", packed)
    write(tmp_path / "dmesg-erst-7123456789012346.enc.z", b"\x28\xb5\x2f\xfd" + bytes(40))
    target = identify(tmp_path)
    assert read_text(target.readable).strip() == LOG.strip()
    assert any("not known here" in warning for warning in target.warnings)


def test_the_latest_of_several_crashes_is_read(tmp_path: Path) -> None:
    for number, time in ((0, 1_700_000_000), (1, 1_700_000_001), (2, 1_600_000_000)):
        path = write(tmp_path / f"dmesg-ramoops-{number}", f"record {number}\n")
        os.utime(path, (time, time))
    target = identify(tmp_path)
    assert read_text(target.readable) == "record 0\n\nrecord 1\n\n"
    assert any("2 crashes" in warning for warning in target.warnings)


def test_unreadable_records(tmp_path: Path) -> None:
    write(tmp_path / "dmesg-efi-170000000001001.enc.z", b"\x28\xb5\x2f\xfd" + bytes(40))
    with pytest.raises(TargetError, match="nothing can be unpacked"):
        identify(tmp_path)


def test_what_systemd_joined_is_preferred_to_its_records(tmp_path: Path) -> None:
    write(tmp_path / "dmesg.txt", LOG)
    write(tmp_path / "dmesg-efi-170000000001001", record(1, "third\n"))
    assert text_of(tmp_path) == LOG


def test_a_compressed_report(tmp_path: Path) -> None:
    path = write(tmp_path / "x.crash.gz", gzip.compress(report(lines("Dmesg")).encode()))
    assert text_of(path) == LOG
