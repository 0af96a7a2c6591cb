"""The kernel log: from the dump, else from what kdump saved beside it."""

from __future__ import annotations

import re
from pathlib import Path

from drgn import Program

from crashkit.crash.parts import Limit
from crashkit.decode.printk import read_log
from crashkit.errors import TargetError, Unavailable
from crashkit.target import Target, find_kdump_log, read_text

_VERSION = re.compile(r"Linux version (\S{1,128}) ")


def log_of(prog: Program, target: Target) -> tuple[str, tuple[Limit, ...]]:
    """Read the kernel log.

    A ``vmcore-dmesg.txt`` or ``dmesg.TIME`` beside the dump is read where the dump has no
    log: kdump writes it first, and what then went wrong left a dump that is incomplete. One
    that names another kernel is not this crash's.

    :returns: the log, and what is to be said of where it was read
    :raises Unavailable: neither has it
    """
    try:
        return read_log(prog, target), ()
    except Unavailable as missing:
        beside = find_kdump_log(Path(target.path))
        text = _read(beside, target.release) if beside is not None else None
        if beside is None or text is None:
            raise missing from None
        what = f"the log in the dump; it was read from {beside.name} beside it"
        return text, (Limit(what=what, reason=missing.reason, remedy=""),)


def _read(path: Path, release: str | None) -> str | None:
    try:
        text = read_text(path)
    except TargetError:
        return None
    named = _VERSION.search(text)
    if named is not None and release is not None and named[1] != release:
        return None
    return text
