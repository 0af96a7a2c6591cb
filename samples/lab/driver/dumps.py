"""The ways to bring out a dump, and the tools that rewrite one."""

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

from driver.errors import LabError, run
from driver.makedumpfile import fetch_makedumpfile
from driver.qemu_elf import reorder
from driver.recompress import recompress_snappy

# struct makedumpfile_header and makedumpfile_data_header in makedumpfile's makedumpfile.h.
FLAT_HEADER_SIZE = 4096
FLAT_RECORD = struct.Struct(">qq")
FLAT_END = -1
DISK_SIZE = 1 << 30
#: In place of makedumpfile's options: the capture kernel's program that copies all memory.
COPY = "cat"
# Elf64_Ehdr and Elf64_Phdr, as elf(5) gives them: where the program headers are, and the segments.
ELF_HEADER = struct.Struct("<32xQ14xHH")
ELF_SEGMENT = struct.Struct("<8xQ16xQ")


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to bring out a dump."""

    #: Name on the command line.
    name: str
    #: How the dump comes about, in one line.
    summary: str
    #: Options of makedumpfile in the capture kernel, or COPY; None for QEMU's own dump.
    options: str | None = None
    #: Whether the file stays in the flattened form in which the capture kernel writes it.
    flat: bool = False
    #: Whether QEMU's dump is compressed on the host; every page stays.
    compressed: bool = False
    #: Whether the pages are recompressed with snappy, which no Debian makedumpfile can do.
    snappy: bool = False

    @property
    def is_kexec(self) -> bool:
        """Whether the crashed guest's capture kernel writes the dump."""
        return self.options is not None


METHODS = (
    Method(name="qemu-elf", summary="QEMU writes all memory as an ELF core"),
    Method(
        name="qemu-zlib",
        summary="QEMU's dump, compressed by makedumpfile -c -d 0: all memory",
        compressed=True,
    ),
    Method(name="kdump-zlib", summary="kexec, makedumpfile -c -d 31", options="-c -d 31"),
    Method(name="kdump-zstd", summary="kexec, makedumpfile -z -d 31", options="-z -d 31"),
    Method(name="kdump-lzo", summary="kexec, makedumpfile -l -d 31", options="-l -d 31"),
    Method(
        name="kdump-flat",
        summary="kexec, makedumpfile -F -c -d 31, left flattened",
        options="-c -d 31",
        flat=True,
    ),
    Method(name="kdump-elf", summary="kexec, makedumpfile -E -d 31", options="-E -d 31"),
    Method(name="kdump-copy", summary="kexec, /proc/vmcore as it is, all memory", options=COPY),
    Method(
        name="kdump-snappy",
        summary="kdump-zlib, its pages recompressed on the host",
        options="-c -d 31",
        snappy=True,
    ),
)


def new_disk(path: Path) -> Path:
    """Make an empty disk for the capture kernel to write one dump to."""
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
    return path


def save(method: Method, raw: Path, path: Path) -> None:
    """Bring what the guest left in *raw* into the form of *method*, as *path*.

    :param raw: QEMU's dump, or a disk that starts with a flattened dump
    :raises LabError: the flattened dump has no end
    """
    path.unlink(missing_ok=True)
    if method.compressed:
        _compress(raw, path)
        return
    if not method.is_kexec:
        shutil.move(raw, path)
        path.chmod(0o644)
        run(["fallocate", "--dig-holes", path])
        return
    if method.options == COPY:
        _copy_start(raw, path, elf_end(raw))
        return
    end = flat_end(raw)
    if method.flat:
        _copy_start(raw, path, end)
        return
    with raw.open("rb") as disk:
        fetch_makedumpfile().run("-R", path, stdin=disk)
    path.chmod(0o644)
    if method.snappy:
        recompress_snappy(path)


def _compress(raw: Path, path: Path) -> None:
    ordered = raw.with_name("ordered")
    reorder(raw, ordered)
    fetch_makedumpfile().run("--message-level", "6", "-c", "-d", "0", ordered, path)
    ordered.unlink()
    path.chmod(0o644)


def flat_end(disk: Path) -> int:
    """Return the size in bytes of the flattened dump at the start of *disk*.

    :raises LabError: it has no end record
    """
    position = FLAT_HEADER_SIZE
    with disk.open("rb") as file:
        while True:
            file.seek(position)
            offset, size = FLAT_RECORD.unpack(file.read(FLAT_RECORD.size))
            position += FLAT_RECORD.size
            if offset == size == FLAT_END:
                return position
            if size <= 0 or position + size > DISK_SIZE:
                raise LabError(f"the flattened dump is cut off after {position} bytes")
            position += size


def elf_end(disk: Path) -> int:
    """Return the size in bytes of the ELF core at the start of *disk*.

    :raises LabError: there is none
    """
    with disk.open("rb") as file:
        header = file.read(64)
        if not header.startswith(b"\x7fELF"):
            raise LabError("the capture kernel copied nothing")
        position, size, count = ELF_HEADER.unpack_from(header)
        file.seek(position)
        headers = file.read(size * count)
    segments = (ELF_SEGMENT.unpack_from(headers, size * n) for n in range(count))
    return max(offset + in_file for offset, in_file in segments)


def _copy_start(source: Path, target: Path, size: int) -> None:
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.truncate(size)
