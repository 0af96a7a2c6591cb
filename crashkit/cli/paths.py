"""Files and directories that a person named: what can be said of them before they are used."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from crashkit.errors import UsageError

_ELF = b"\x7fELF"
_ET_CORE = 4  # elf.h
_DATA = 5  # e_ident[EI_DATA]: 1 is little-endian
_TYPE_OFFSET = 16  # e_type follows e_ident (ELF specification, figure 1-3)
_DUMPS = (b"KDUMP   ", b"DISKDUMP", b"makedumpfile")
_BOOT_IMAGE = (0x202, b"HdrS")  # Documentation/arch/x86/boot.rst


def is_symbol_file(path: Path) -> bool:
    """Whether a file is ELF and no core dump: a vmlinux, a module or a debug file."""
    head = _head(path)
    return _is_elf(head) and not _is_core(head)


def is_there(path: Path) -> bool:
    """Whether something of that name can be seen; False below a closed directory."""
    return _mode(path) != 0


def is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file that is there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_symbol_files(files: Iterable[Path]) -> None:
    """Refuse what cannot be a vmlinux or a module, whatever the dump is of.

    :raises UsageError: says what it is instead
    """
    for file in files:
        if not stat.S_ISREG(_mode(file)):
            raise UsageError(f"{file} is not a file{_closed(file)}; name the vmlinux with -s")
        if not os.access(file, os.R_OK):
            raise UsageError(f"{file} cannot be read by this user; run as root or ask its owner")
        head = _head(file)
        if _is_core(head) or head.startswith(_DUMPS):
            raise UsageError(f"-s {file} is a dump; name it as VMCORE, and the vmlinux with -s")
        offset, magic = _BOOT_IMAGE
        if head[offset : offset + len(magic)] == magic:
            raise UsageError(
                f"-s {file} is the image that boots, which has no symbols; name the vmlinux of "
                "the kernel's debug package"
            )
        if not _is_elf(head):
            raise UsageError(
                f"-s {file} is no ELF file, so no vmlinux or module; name one, unpacked"
            )


def check_directories(option: str, directories: Iterable[Path]) -> None:
    """Refuse what is no directory, or one that cannot be listed.

    :raises UsageError: names the option and the directory
    """
    for directory in directories:
        if not stat.S_ISDIR(_mode(directory)):
            raise UsageError(f"{option} {directory} is not a directory{_closed(directory)}")
        if not os.access(directory, os.R_OK | os.X_OK):
            raise UsageError(
                f"{option} {directory} cannot be read by this user; run as root or ask its owner"
            )


def _head(path: Path) -> bytes:
    # Of a regular file only: opening a pipe would wait for its writer.
    if not stat.S_ISREG(_mode(path)):
        return b""
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError:
        return b""  # opening it as a dump gives the sentence that says why


def _is_elf(head: bytes) -> bool:
    return len(head) >= _TYPE_OFFSET + 2 and head.startswith(_ELF)


def _is_core(head: bytes) -> bool:
    if not _is_elf(head):
        return False
    kind = head[_TYPE_OFFSET : _TYPE_OFFSET + 2]
    return int.from_bytes(kind, "little" if head[_DATA] == 1 else "big") == _ET_CORE


def _mode(path: Path) -> int:
    # Path.is_file raises where a directory above is closed.
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _closed(path: Path) -> str:
    try:
        path.stat()
    except PermissionError:
        return " this user can see: a directory above it is closed"
    except OSError:
        return ""
    return ""
