"""``no_root_fs``: the root file system that could not be mounted, and what there was instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.printed import printed_lines
from crashkit.decode.fields import naming, printable
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_BEFORE = 60
_LONGEST = 4096
# init/do_mounts.c
_ERROR = re.compile(
    r'VFS: Cannot open root device "(?P<name>.{0,128}?)" or \S{1,64}: error (?P<error>-?\d{1,4})'
)
_PARTITION = re.compile(r"^ {0,3}[0-9a-f]{4,8} +\d{1,12} \S")
_LIST = "available partitions:"
_END = re.compile(r"List of all (?:part|bdev)|No filesystem could mount|Kernel panic")
_ERRORS = {
    -2: "no such file", -5: "I/O error", -6: "no such device", -19: "no such device",
    -22: "not valid", -30: "read-only",
}  # fmt: skip
_WORDS = ("root", "rootfstype", "rootflags", "rootwait", "init", "rdinit", "ro", "rw")


@facts
class RootFs:
    """No root file system, or no first program. A None field has its reason in ``absent``."""

    parameters: Mapping[str, str]
    """Words of the kernel's command line that decide: ``root``, ``rootfstype``, ``init``, …"""
    origin: str | None
    """Where the command line comes from."""
    error: str | None
    """What the kernel printed of the device."""
    error_words: str | None
    partitions: tuple[str, ...]
    """The block devices it found, as printed; empty: it found none."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> RootFs | None:
    """Read what root file system was asked for and what there was."""
    lines = printed_lines(crash, before=_BEFORE, after=2)
    absent: dict[str, Reason] = {}
    parameters: dict[str, str] = {}
    origin = None
    try:
        with naming("the kernel's command line"):
            place = int(crash.prog["saved_command_line"].value_())
            line = printable(crash.prog.read_c_string(place, max_size=_LONGEST))
        origin = "saved_command_line"
        parameters = _parameters(line)
    except Unavailable as missing:
        absent["parameters"] = missing.reason
    found = next(filter(None, map(_ERROR.search, lines)), None)
    code = None if found is None else int(found["error"])
    return RootFs(
        parameters=parameters,
        origin=origin,
        error=None if found is None else found[0],
        error_words=None if code is None else _ERRORS.get(code),
        partitions=_partitions(lines),
        absent=absent,
    )


def _parameters(line: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in line.split():
        name, _equals, value = word.partition("=")
        if name in _WORDS:
            found[name] = value
    return found


def _partitions(lines: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    listing = False
    for line in lines:
        if _LIST in line:
            listing = True
        elif listing and _END.search(line):
            break
        elif listing and _PARTITION.search(line):
            found.append(line.strip()[:100])
    return tuple(found)
