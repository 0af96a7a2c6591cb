"""One dump in the shapes that dumps come in, whole and cut: the same crash, or a sentence."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.errors import CrashkitError, Reason, Unavailable
from crashkit.pipeline import triage
from crashkit.recipe import load_recipes
from crashkit.symbols import attach, find_symbol
from crashkit.target import kdump
from tests.samples.conftest import SAMPLES
from tests.unit.target_doubles import flattened

pytestmark = pytest.mark.sample

CUTS = int(os.environ.get("CRASHKIT_FUZZ_RUNS", "16")) // 8
UTSNAME, STATUS = slice(12, 12 + 4 * 65), 424
NOTE_OF_CPU = struct.pack("<III", 5, 336, 1) + b"CORE"
OF_INTEREST = ("_stext", "panic", "nf_conntrack_hash", "init_net", "__start_BTF")


def told_nothing(data: bytearray) -> None:
    """As before Linux 6.0: VMCOREINFO does not say where kallsyms are."""
    edit_notes(data, b"SYMBOL(kallsyms_", b"SYMBOL(Kallsyms_")


def without_registers(data: bytearray) -> None:
    edit_notes(data, NOTE_OF_CPU, NOTE_OF_CPU[:-4] + b"NONE")


def by_qemu(data: bytearray) -> None:
    data[UTSNAME] = bytes(4 * 65)
    edit_notes(data, NOTE_OF_CPU, NOTE_OF_CPU[:-4] + b"QEMU", most=1)


def by_qemu_unpublished(data: bytearray) -> None:
    by_qemu(data)
    edit_notes(data, b"VMCOREINFO\0", b"NOTHING_OF\0")
    data[kdump.BLOCK_SIZE + 32 : kdump.BLOCK_SIZE + 48] = bytes(16)


def of_a_full_disk(data: bytearray) -> None:
    data[STATUS] |= kdump.INCOMPLETE


def as_a_stream(data: bytearray) -> None:
    data[:] = flattened(bytes(data), chunk=1 << 16)


def as_a_stream_by_qemu(data: bytearray) -> None:
    by_qemu_unpublished(data)
    as_a_stream(data)


SHAPES: dict[str, Callable[[bytearray], None]] = {
    shape.__name__: shape
    for shape in (
        told_nothing, without_registers, by_qemu, by_qemu_unpublished, of_a_full_disk,
        as_a_stream_by_qemu,
    )
}  # fmt: skip


def edit_notes(data: bytearray, old: bytes, new: bytes, most: int = -1) -> None:
    """Replace bytes in the headers; memory, where notes are too, stays."""
    headers = bytes(data[: 16 * kdump.BLOCK_SIZE])
    assert old in headers
    data[: len(headers)] = headers.replace(old, new, most)


def shaped(folder: Path, shape: Callable[[bytearray], None]) -> Path:
    data = bytearray((SAMPLES / "clash-ct-net" / "vmcore").read_bytes())
    shape(data)
    path = folder / "vmcore"
    path.write_bytes(data)
    return path


def summary(crash: Crash) -> list[object]:
    names = [find_symbol(crash.prog, name) for name in OF_INTEREST]
    frames = [(frame.pc, frame.sp, frame.function) for frame in crash.frames]
    return [crash.types, names, frames, crash.thread.cpu, crash.log]


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_crash(
    name: str, tmp_path: Path, sample: Callable[[str], Crash], capfd: pytest.CaptureFixture[str]
) -> None:
    with open_crash(shaped(tmp_path, SHAPES[name]), types="btf") as crash:
        assert summary(crash) == summary(sample("clash-ct-net"))
        report = triage(crash)
    assert [finding["verdict"] for finding in report["findings"]] == ["confirmed"]
    assert report.exit_code == (5 if name == "of_a_full_disk" else 0)
    assert ("marked it as incomplete" in str(report.document)) == (name == "of_a_full_disk")
    capfd.readouterr()  # libdrgn warns of flattened files


def test_every_symbol_is_that_of_the_table_that_vmcoreinfo_names(
    tmp_path: Path, sample: Callable[[str], Crash]
) -> None:
    with open_crash(shaped(tmp_path, told_nothing), types="btf") as crash:
        assert everything(crash) == everything(sample("clash-ct-net"))


def everything(crash: Crash) -> list[tuple[object, ...]]:
    from crashkit.symbols.kallsyms import CoreSymbols
    from crashkit.symbols.lookup import names_of

    found = names_of(crash.prog).find_symbols
    assert isinstance(found, CoreSymbols)
    return sorted((s.address, s.name, s.size, s.binding, s.kind) for s in found.every(crash.prog))


@pytest.mark.parametrize("cut", range(CUTS))
@pytest.mark.parametrize("name", [*SHAPES, "as_a_stream"])
def test_a_cut_is_survived(
    name: str, cut: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shaped(tmp_path, globals()[name])
    dice = random.Random(f"{name} {cut}")
    size = path.stat().st_size
    os.truncate(path, dice.choice((dice.randrange(size), size - dice.randrange(size // 8))))
    try:
        with open_crash(path, types="btf") as crash:
            report = triage(crash, recipes=load_recipes())
    except CrashkitError as refused:
        assert str(path) in str(refused)
    else:
        assert "RELEASE: 6.1.192-crashkit" in report.text()
        assert report.exit_code == 5
        assert [finding["error"] for finding in report["findings"] if finding["error"]] == []
    capfd.readouterr()


def test_stacks_of_all_cpus_without_types(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_btf(_prog: object) -> None:
        raise Unavailable("BTF of vmlinux", Reason.NO_DEBUGINFO, "taken out by the test")

    monkeypatch.setattr(attach, "_vmlinux_blob", no_btf)
    with open_crash(SAMPLES / "clash-ct-net" / "vmcore", types="btf") as crash:
        with pytest.raises(Unavailable, match="the CPUs"):
            crash.cpu_stacks()
        with pytest.raises(Unavailable, match="CPU 0"):
            crash.stack_on(0)
