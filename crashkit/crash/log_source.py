"""The kernel log: from the dump, else from what kdump saved beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from drgn import Program

from crashkit.crash.parts import Limit
from crashkit.decode.printk import KernelLog, read_log, read_log_without_types
from crashkit.errors import Reason, TargetError, Unavailable
from crashkit.target import Target, VmcoreInfo, find_kdump_log, open_program, read_text

_VERSION = re.compile(r"Linux version (\S{1,128}) ")


def log_of(prog: Program, target: Target) -> tuple[str, tuple[Limit, ...]]:
    """Read the kernel log.

    A ``vmcore-dmesg.txt`` or ``dmesg.TIME`` beside the dump is read where the dump has no
    log: kdump writes it first, and what then went wrong left a dump that is incomplete. One
    that names another kernel is not this crash's.

    :returns: the log, and what is to be said of where it was read
    :raises Unavailable: neither has it
    """
    return _log_of(prog, target, read_log)


def log_without_types(target: Target) -> tuple[str, tuple[Limit, ...]]:
    """As :func:`log_of`, fast: of a dump that need not be opened with its names and types.

    :raises TargetError: it cannot be opened
    :raises Unavailable: what the dump says of itself does not lead to the log
    """
    if target.format == "text":
        return read_text(target.readable), ()
    return _log_of(open_program(target), target, read_log_without_types)


def _log_of(
    prog: Program, target: Target, read: Callable[[Program, VmcoreInfo], KernelLog]
) -> tuple[str, tuple[Limit, ...]]:
    try:
        found = read(prog, target.vmcoreinfo)
        return found.text, _lost(found.lost)
    except Unavailable as missing:
        beside = find_kdump_log(Path(target.path))
        text = _read(beside, target.release) if beside is not None else None
        if beside is None or text is None:
            raise missing from None
        what = f"the log in the dump; it was read from {beside.name} beside it"
        return text, (Limit(what=what, reason=missing.reason, remedy=""),)


def _lost(records: int) -> tuple[Limit, ...]:
    if not records:
        return ()
    what = f"{records} records of the kernel log: their pages are not in the dump"
    return (Limit(what=what, reason=Reason.NOT_IN_DUMP, remedy="a dump that is whole"),)


def _read(path: Path, release: str | None) -> str | None:
    try:
        text = read_text(path)
    except TargetError:
        return None
    named = _VERSION.search(text)
    if named is not None and release is not None and named[1] != release:
        return None
    return text
