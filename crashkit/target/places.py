"""From the path a person gave to one open dump file; never the live kernel."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from crashkit.errors import TargetError, UsageError
from crashkit.target import elf, flattened, kdump
from crashkit.target.source import FileSource

_LIVE_NAMES = frozenset({"/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/crash"})
_LIVE_DEVICES = frozenset({(1, 1), (1, 2)})  # mem, kmem: Documentation/admin-guide/devices.txt
# /proc/kcore claims the whole address space and occupies nothing, whatever it is called.
_KCORE_SIZE = 1 << 46

_MAX_ENTRIES = 10_000
_DUMP_MAGICS = (*kdump.SIGNATURES, flattened.SIGNATURE)
_DUMP_NAMES = ("vmcore", "dump.")  # kdump-utils, kdump-tools
_LOG_NAMES = ("vmcore-dmesg", "dmesg", "backtrace", "console")  # the better ones first
_KDUMP_LOGS = ("vmcore-dmesg", "dmesg.")
_NOT_DUMPS = ("vmcore-dmesg", "vmcore.sha", "vmcore.md5", "vmcore_info")
PSTORE_RECORD = re.compile(
    r"dmesg-(?P<backend>[A-Za-z]\w{0,31})(?:_\w{1,16})?-(?P<number>\d{1,24})"
    r"(?P<packed>\.enc\.z)?(?:\.txt)?$"
)
"""Names of records in /sys/fs/pstore, whichever backend keeps them (fs/pstore/inode.c)."""


def refuse_live(path: str | Path) -> None:
    """Refuse the running kernel's memory, also behind symlinks.

    :raises UsageError: it is /proc/kcore, /dev/mem, /dev/crash or the like
    """
    real = os.path.realpath(path)
    live = real in _LIVE_NAMES
    try:
        status = Path(real).stat()
    except OSError:
        status = None
    if status is not None:
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        live |= stat.S_ISCHR(status.st_mode) and device in _LIVE_DEVICES
        live |= status.st_size >= _KCORE_SIZE and status.st_blocks == 0
    if live:
        raise UsageError(
            f"{path} is the memory of the running kernel; crashkit reads dumps only: "
            "use drgn or crash for a live system"
        )


def open_dump(path: str | Path) -> FileSource:
    """Open the dump at ``path``, or the only dump in the directory ``path``.

    :raises UsageError: it is the running kernel
    :raises TargetError: missing, unreadable, not a file, or a directory without one dump
    """
    refuse_live(path)
    found = Path(path)
    if stat.S_ISDIR(_mode(found)):
        found = find_in_directory(found)
        refuse_live(found)
    return open_file(found)


def open_file(path: Path) -> FileSource:
    """Open one regular file for reading.

    :raises TargetError: missing, unreadable, or not a regular file
    """
    try:
        # A FIFO would block here until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError(_why_not_opened(path, error)) from error
    source = FileSource(descriptor, str(path))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TargetError(
            f"{path} is a device, pipe or socket, and a dump must be a file: copy it to a file "
            f"first (a flattened dump with `makedumpfile -R OUT < {path}`)"
        )
    return source


def _why_not_opened(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist; give the path of a vmcore, of its directory or of a log"
    if isinstance(error, PermissionError):
        return f"{path} cannot be read by this user{_owner(path)}"
    return f"{path} cannot be opened: {error.strerror or error}"


def _owner(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ": a directory above it is closed; run as root or ask its owner"
    return (
        f" (mode {stat.S_IMODE(status.st_mode):04o}, owner {_user(status.st_uid)}): run as root, "
        f"or let your group read it with `chgrp {_group(os.getgid())} {path}; chmod g+r {path}`"
    )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def find_in_directory(directory: Path) -> Path:
    """The only dump in a ``/var/crash/...`` directory; without one, its only log.

    :raises TargetError: none or several
    """
    files, folders = _entries(directory)
    for what, accept in _CHOICES:
        chosen = [file for file in files if accept(file)]
        if len(chosen) == 1:
            return chosen[0]
        if chosen and all(map(is_split_part, chosen)):
            return chosen[0]
        if accept is _is_named_like_log and (best := _best_log(chosen)) is not None:
            return best
        if chosen:
            names = ", ".join(file.name for file in chosen[:5])
            more = f" and {len(chosen) - 5} more" if len(chosen) > 5 else ""
            raise TargetError(
                f"{directory} holds {len(chosen)} {what} ({names}{more}): name one of them"
            )
    if folders:
        raise TargetError(
            f"{directory} holds no dump itself; it has {len(folders)} directories: "
            f"name one of them, such as {folders[-1]}"
        )
    raise TargetError(f"{directory} holds no dump and no log (looked at {len(files)} files)")


def _best_log(logs: Sequence[Path]) -> Path | None:
    # kdump's own before those of a collector; None where several are as good. Records of
    # pstore are of one log: whoever opens the first of them reads the others, too.
    for name in _LOG_NAMES:
        named = [log for log in logs if log.name.startswith(name)]
        whole = [log for log in named if log.name in (name, f"{name}.txt", f"{name}.log")]
        for some in (whole, [log for log in named if not PSTORE_RECORD.match(log.name)]):
            if len(some) == 1:
                return some[0]
        if named:
            return named[0] if all(PSTORE_RECORD.match(log.name) for log in named) else None
    return None


def is_split_part(path: Path) -> bool:
    """Whether a file is one part of a split dump."""
    try:
        with open_file(path) as source:
            if not source.read(0, 8).startswith(kdump.SIGNATURES):
                return False
            return kdump.read_header(source).split
    except TargetError:
        return False


def find_kdump_log(dump: Path) -> Path | None:
    """The log that kdump saved with a dump: of the names it gives; None without just one."""
    try:
        files, _ = _entries(dump.parent)
    except TargetError:
        return None
    logs = [file for file in files if file.name.startswith(_KDUMP_LOGS) and file != dump]
    return logs[0] if len(logs) == 1 else None


def find_log(dump: Path) -> Path | None:
    """The kernel log saved beside a dump (``vmcore-dmesg.txt``, ``dmesg.TIME``), if just one."""
    try:
        files, _ = _entries(dump.parent)
    except TargetError:
        return None
    logs = [file for file in files if _is_named_like_log(file) and file != dump]
    return logs[0] if len(logs) == 1 else None


MAX_TEXT = 256 << 20
"""Bytes of a log that are read, the last ones: a crash is at its end."""


def read_text(path: str | Path) -> str:
    """Read a kernel log, its end if it is too long.

    :raises TargetError: it cannot be opened
    """
    with open_file(Path(path)) as file:
        start = max(0, file.size - MAX_TEXT)
        data = file.read(start, file.size - start)
    return data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")


def _entries(directory: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(islice(directory.iterdir(), _MAX_ENTRIES))
    except OSError as error:
        raise TargetError(_why_not_opened(directory, error)) from error
    modes = [(entry, _mode(entry)) for entry in entries]
    return [e for e, m in modes if stat.S_ISREG(m)], [e for e, m in modes if stat.S_ISDIR(m)]


def _mode(path: Path) -> int:
    # 0 for what cannot be looked at; Path.is_dir raises where a directory above is closed.
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _has_dump_magic(path: Path) -> bool:
    try:
        with open_file(path) as source:
            head = source.read(0, 64)
    except TargetError:
        return False
    if head.startswith(elf.MAGIC):
        return elf.elf_type(head) == elf.ET_CORE
    return head.startswith(_DUMP_MAGICS)


def _is_named_like_dump(path: Path) -> bool:
    return path.name.startswith(_DUMP_NAMES) and not path.name.startswith(_NOT_DUMPS)


def _is_named_like_log(path: Path) -> bool:
    return path.name.startswith(_LOG_NAMES)


# A file that is only named like a dump is unreadable, empty or compressed: opening it says so.
_CHOICES: tuple[tuple[str, Callable[[Path], bool]], ...] = (
    ("dumps", _has_dump_magic),
    ("files named like dumps", _is_named_like_dump),
    ("logs and no dump", _is_named_like_log),
)
