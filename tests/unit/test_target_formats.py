from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from crashkit.errors import TargetError
from crashkit.target import Target, identify
from crashkit.target.elf import read_elf
from crashkit.target.places import open_file
from tests.unit import target_doubles as doubles
from tests.unit.target_doubles import (
    BUILD_ID,
    LZO,
    RELEASE,
    SNAPPY,
    ZLIB,
    ZSTD,
    Kdump,
    Load,
    elf_core,
    flattened,
    kernel_notes,
    note,
    page,
    prstatus,
    qemu_kdump,
    vmcoreinfo,
)

PAGES = {frame: page(frame % 251) for frame in range(1, 40)}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "vmcore"
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TargetError) as error:
        identify(path)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def check_kernel(target: Target) -> None:
    assert target.release == RELEASE
    assert target.build_id == BUILD_ID
    assert target.arch == "x86_64"
    assert target.cpus == 2
    assert target.vmcoreinfo.page_size == 4096


SEARCHED = {"SYMBOL(init_uts_ns)": "ffffffff81a00000"}


def in_memory(**lines: str) -> bytes:
    """A page that holds VMCOREINFO, as the kernel keeps it."""
    return (b"\1" * 44 + vmcoreinfo(**SEARCHED, **lines)).ljust(4096, b"\0")


def test_elf(tmp_path: Path) -> None:
    target = identify(write(tmp_path, elf_core(kernel_notes(info=vmcoreinfo(CRASHTIME="1700")))))
    check_kernel(target)
    assert (target.format, target.compression) == ("elf", "none")
    assert target.crash_time == 1700
    assert target.dump_level is None
    assert (target.truncated, target.missing_bytes, target.warnings) == (False, 0, ())


def notes_of(segment: Any) -> Any:
    return segment.iter_notes()


def test_elf_agrees_with_pyelftools(tmp_path: Path) -> None:
    loads = [Load(data=page(1), physical=PHYS), Load(data=page(2), in_memory=3 * doubles.PAGE)]
    data = elf_core(loads=loads)
    reference = ELFFile(io.BytesIO(data))
    with open_file(write(tmp_path, data)) as source:
        ours = read_elf(source)
    segments = list(reference.iter_segments("PT_LOAD"))
    assert ours.zero_filled == sum(s["p_memsz"] - s["p_filesz"] for s in segments) == 8192
    notes = [n for s in reference.iter_segments("PT_NOTE") for n in notes_of(s)]
    assert ours.notes.cpus == sum(n["n_type"] == "NT_PRSTATUS" for n in notes) == 2
    infos = [n for n in notes if n["n_name"] == "VMCOREINFO"]
    assert ours.notes.vmcoreinfo == infos[0]["n_descdata"] == vmcoreinfo()


PHYS = 0x100000


def test_filtered_elf_says_that_zeros_may_be_filtered_pages(tmp_path: Path) -> None:
    loads = [Load(data=page(1), in_memory=5 * doubles.PAGE)]
    target = identify(write(tmp_path, elf_core(loads=loads)))
    assert not target.truncated
    assert any(w.startswith("16384 bytes of memory were filtered") for w in target.warnings)
    assert identify(write(tmp_path, flattened(elf_core(loads=loads)))).warnings == ()


@pytest.mark.parametrize("missing", [1, 4096, 8000])
def test_truncated_elf(tmp_path: Path, missing: int) -> None:
    target = identify(write(tmp_path, elf_core()[:-missing]))
    check_kernel(target)
    assert target.truncated
    assert target.missing_bytes == missing
    assert f"at least {missing} bytes" in target.warnings[0]


def test_unfinished_elf(tmp_path: Path) -> None:
    target = identify(write(tmp_path, elf_core(flags=1)))
    assert target.truncated
    assert target.missing_bytes == 0
    assert "never finished" in target.warnings[0]


def test_elf_cut_before_vmcoreinfo(tmp_path: Path) -> None:
    data = elf_core()
    assert "truncated before its VMCOREINFO" in refusal(write(tmp_path, data[:400]))
    assert "program headers" in refusal(write(tmp_path, data[:100]))
    assert "ELF header" in refusal(write(tmp_path, data[:40]))
    assert "ELF header" in refusal(write(tmp_path, data[:10]))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"machine": 183}, "aarch64"),
        ({"machine": 22, "big_endian": True}, "s390x"),
        ({"machine": 3, "bits": 32}, "i386"),
        ({"machine": 62, "bits": 32}, "x86_64, 32 bit"),
        ({"machine": 2, "bits": 32, "big_endian": True}, "sparc, 32 bit"),
        ({"machine": 60000}, "machine 60000, 64 bit"),
    ],
)
def test_other_architectures_are_named(tmp_path: Path, options: dict[str, Any], name: str) -> None:
    assert f"another architecture ({name})" in refusal(write(tmp_path, elf_core(**options)))


@pytest.mark.parametrize(
    ("kind", "what"),
    [(1, "kernel module"), (2, "vmlinux"), (3, "library"), (77, "unknown type 77")],
)
def test_elf_that_is_no_core(tmp_path: Path, kind: int, what: str) -> None:
    assert what in refusal(write(tmp_path, elf_core(kind=kind)))


def test_user_space_core(tmp_path: Path) -> None:
    psinfo = note(b"CORE", 3, bytes(40) + b"nginx".ljust(96, b"\0"))
    auxv = note(b"CORE", 6, bytes(32))
    data = elf_core(prstatus() + psinfo + auxv)
    assert "core of a user-space process (nginx), not of a kernel" in refusal(write(tmp_path, data))


def test_user_space_core_by_its_addresses(tmp_path: Path) -> None:
    data = elf_core(prstatus(), [Load(data=page(1), virtual=0x400000)])
    assert "core of a user-space process, not" in refusal(write(tmp_path, data))


def test_kernel_core_without_vmcoreinfo(tmp_path: Path) -> None:
    data = elf_core(prstatus(), [Load(data=page(1), virtual=doubles.KERNEL_BASE)])
    assert "has no VMCOREINFO note" in refusal(write(tmp_path, data))


def test_qemu_elf_without_vmcoreinfo(tmp_path: Path) -> None:
    data = elf_core(prstatus() + note(b"QEMU", 0, bytes(440)))
    assert "`-device vmcoreinfo`" in refusal(write(tmp_path, data))


def test_qemu_elf_with_vmcoreinfo(tmp_path: Path) -> None:
    data = elf_core(kernel_notes() + note(b"QEMU", 0, bytes(440)))
    check_kernel(identify(write(tmp_path, data)))


def test_xen_without_vmcoreinfo(tmp_path: Path) -> None:
    assert "by Xen" in refusal(write(tmp_path, elf_core(note(b"Xen", 0x1000001, bytes(8)))))


def test_garbled_vmcoreinfo_is_a_warning(tmp_path: Path) -> None:
    target = identify(write(tmp_path, elf_core(kernel_notes(info=b"\xff\x00junk"))))
    assert target.release is None
    assert target.build_id is None
    assert any("garbled" in warning for warning in target.warnings)


@pytest.mark.parametrize("signature", [b"KDUMP   ", b"DISKDUMP"])
def test_kdump(tmp_path: Path, signature: bytes) -> None:
    target = identify(write(tmp_path, Kdump(pages=PAGES, signature=signature).build()))
    check_kernel(target)
    assert (target.format, target.compression, target.dump_level) == ("kdump", "zlib", 31)
    assert (target.nodename, target.version, target.machine) == ("host", "#1 SMP", "x86_64")
    assert target.crash_time == 1_700_000_000
    assert (target.truncated, target.missing_bytes, target.warnings) == (False, 0, ())


def test_crash_time_of_vmcoreinfo_wins(tmp_path: Path) -> None:
    notes = kernel_notes(info=vmcoreinfo(CRASHTIME="1600000000"))
    target = identify(write(tmp_path, Kdump(pages=PAGES, notes=notes).build()))
    assert target.crash_time == 1_600_000_000


def test_no_time_stamp_is_unknown(tmp_path: Path) -> None:
    assert identify(write(tmp_path, Kdump(pages=PAGES, timestamp=0).build())).crash_time is None


@pytest.mark.parametrize(
    ("flags", "status", "compression"),
    [
        ([LZO], LZO, "lzo"),
        ([SNAPPY], SNAPPY, "snappy"),
        ([ZSTD], ZSTD, "zstd"),
        ([ZLIB, 0], ZLIB, "zlib"),
        ([0], 0, "none"),
        ([0], ZLIB, "none"),
        ([LZO, ZSTD], LZO, "mixed"),
        ([LZO | ZSTD], LZO, "mixed"),
    ],
)
def test_compression_is_what_the_pages_say(
    tmp_path: Path, flags: list[int], status: int, compression: str
) -> None:
    each = {frame: flags[i % len(flags)] for i, frame in enumerate(PAGES)}
    data = Kdump(pages=PAGES, flags=each, status=status).build()
    assert identify(write(tmp_path, data)).compression == compression


def test_compression_without_pages_is_what_the_header_says(tmp_path: Path) -> None:
    dump = Kdump(pages=PAGES, status=ZSTD)
    assert identify(write(tmp_path, dump.build()[: dump.descriptors_at])).compression == "zstd"


def test_truncated_kdump_data(tmp_path: Path) -> None:
    target = identify(write(tmp_path, Kdump(pages=PAGES).build()[:-5]))
    check_kernel(target)
    assert target.truncated
    assert target.missing_bytes == 5
    assert "1 of 39 pages are lost" in target.warnings


def test_truncated_kdump_descriptors(tmp_path: Path) -> None:
    dump = Kdump(pages=PAGES)
    target = identify(write(tmp_path, dump.build()[: dump.descriptors_at + 100]))
    check_kernel(target)
    assert target.truncated
    assert target.missing_bytes >= 39 * 24 - 100
    assert "39 of 39 pages are lost" in target.warnings


def test_kdump_cut_in_its_headers(tmp_path: Path) -> None:
    data = Kdump(pages=PAGES).build()
    assert "kdump header" in refusal(write(tmp_path, data[:300]))
    assert "truncated before its VMCOREINFO" in refusal(write(tmp_path, data[:4200]))


def test_unfinished_kdump(tmp_path: Path) -> None:
    data = Kdump(pages=PAGES, status=ZLIB | 8, lost=frozenset({7, 8})).build()
    target = identify(write(tmp_path, data))
    assert target.truncated
    assert "2 of 39 pages are lost; the disk was full when it was written" in target.warnings


def test_incomplete_flag_of_a_kdump_that_lacks_nothing_known(tmp_path: Path) -> None:
    target = identify(write(tmp_path, Kdump(pages=PAGES, status=ZLIB | 8).build()))
    assert target.truncated
    assert target.missing_bytes == 0
    assert any("makedumpfile marked it as incomplete" in text for text in target.warnings)


def test_garbled_descriptor_is_a_lost_page(tmp_path: Path) -> None:
    dump = Kdump(pages=PAGES)
    data = bytearray(dump.build())
    struct.pack_into("<QI", data, dump.descriptors_at + 24, 1 << 63, 0xFFFFFFFF)
    target = identify(write(tmp_path, bytes(data)))
    assert target.truncated
    assert target.missing_bytes == 0
    assert "1 of 39 pages are lost" in target.warnings


def test_split_kdump(tmp_path: Path) -> None:
    target = identify(write(tmp_path, Kdump(pages=PAGES, split=(0, 40)).build()))
    check_kernel(target)
    assert target.format == "kdump-split"
    assert not target.truncated


@pytest.mark.parametrize(
    "uts", [("Linux", "h", RELEASE, "#1", "aarch64"), ("", "", "", "", "s390x")]
)
def test_kdump_of_another_architecture(tmp_path: Path, uts: tuple[str, str, str, str, str]) -> None:
    assert uts[4] in refusal(write(tmp_path, Kdump(pages=PAGES, uts=uts).build()))


@pytest.mark.parametrize("block_size", [0, 8192, -1])
def test_garbled_kdump_header(tmp_path: Path, block_size: int) -> None:
    assert "garbled" in refusal(write(tmp_path, Kdump(pages=PAGES, block_size=block_size).build()))


def test_kdump_by_qemu(tmp_path: Path) -> None:
    for data in (qemu_kdump(PAGES), flattened(qemu_kdump(PAGES))):
        target = identify(write(tmp_path, data))
        check_kernel(target)
        assert target.format == "kdump"
        assert target.found_vmcoreinfo is None
        assert target.version is None
        assert not target.truncated
        assert "the header that QEMU wrote is completed" in target.warnings[0]


def test_kdump_by_qemu_without_vmcoreinfo(tmp_path: Path) -> None:
    for order in (sorted, lambda frames: sorted(frames, reverse=True)):
        pages = dict(zip(PAGES, PAGES.values(), strict=True))
        pages[order(PAGES)[3]] = in_memory()
        for data in (qemu_kdump(pages, info=False), flattened(qemu_kdump(pages, info=False))):
            target = identify(write(tmp_path, data))
            check_kernel(target)
            assert target.found_vmcoreinfo == vmcoreinfo(**SEARCHED)
            assert "VMCOREINFO was found in memory" in target.warnings[1]


def test_kdump_by_qemu_with_none_anywhere(tmp_path: Path) -> None:
    text = refusal(write(tmp_path, qemu_kdump(PAGES, info=False)))
    assert "did not publish VMCOREINFO" in text


def test_kdump_by_qemu_with_two_that_differ(tmp_path: Path) -> None:
    pages = {**PAGES, 5: in_memory(), 7: in_memory(OSRELEASE="5.4.0-1-other")}
    text = refusal(write(tmp_path, qemu_kdump(pages, info=False)))
    assert "cannot be told" in text


def test_kdump_by_qemu_that_is_cut(tmp_path: Path) -> None:
    whole = qemu_kdump(PAGES)
    for data in (whole[:-500], flattened(whole)[:-900]):
        target = identify(write(tmp_path, data))
        check_kernel(target)
        assert target.truncated
        assert any("truncated" in text for text in target.warnings)


def test_qemu_elf_converted_by_makedumpfile(tmp_path: Path) -> None:
    notes = kernel_notes() + note(b"QEMU", 0, bytes(440))
    check_kernel(identify(write(tmp_path, Kdump(pages=PAGES, notes=notes).build())))


def test_kdump_without_utsname(tmp_path: Path) -> None:
    data = Kdump(pages=PAGES, uts=("", "", "", "", "")).build()
    assert "without the system's name" in refusal(write(tmp_path, data))


def test_kdump_without_vmcoreinfo(tmp_path: Path) -> None:
    data = Kdump(pages=PAGES, notes=prstatus()).build()
    assert "has no VMCOREINFO" in refusal(write(tmp_path, data))


def test_header_and_vmcoreinfo_disagree(tmp_path: Path) -> None:
    uts = ("Linux", "h", "5.4.0", "#1", "x86_64")
    target = identify(write(tmp_path, Kdump(pages=PAGES, uts=uts).build()))
    assert target.release == RELEASE
    assert "the kdump header says kernel 5.4.0" in target.warnings[0]
