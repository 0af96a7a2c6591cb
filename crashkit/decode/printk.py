"""The kernel log out of memory: by VMCOREINFO alone, else by drgn where there are types.

VMCOREINFO carries the offsets of every form of the log buffer, so the log can be had
without types and, record by record, from a dump that lost part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from drgn import Object, Program

from crashkit.decode.printk_old import old_records, places_by_types
from crashkit.decode.printk_pages import LOG
from crashkit.decode.printk_ring import ring_records
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK
from crashkit.target import VmcoreInfo
from crashkit.value import facts

_MAX_TEXT = 1 << 27
"""Bytes, with time stamps: a log buffer of 64 MiB is rare."""
_MAX_BY_TYPES = 1 << 17
"""Records that drgn reads in seconds."""


@facts
class KernelLog:
    """The kernel log as it could be read."""

    text: str
    """Oldest line first, with the kernel's own time stamps."""
    lost: int = 0
    """Records that lie in pages the dump has not; of an old kernel's log, 1 where it breaks off."""


def read_log(prog: Program, known: VmcoreInfo) -> KernelLog:
    """Read the kernel log.

    :raises Unavailable: neither VMCOREINFO nor types lead to it
    """
    try:
        return read_log_without_types(prog, known)
    except Unavailable as missing:
        found = _by_types(prog)
        if found is None:
            raise missing
        return found


def read_log_without_types(prog: Program, known: VmcoreInfo) -> KernelLog:
    """As :func:`read_log`, with what VMCOREINFO says alone: the program needs no names.

    :raises Unavailable: VMCOREINFO does not lead to it
    """
    records = ring_records if "SYMBOL(prb)" in known else old_records
    return _read(records(prog, known))


def _read(records: Iterable[bytes | None]) -> KernelLog:
    lines: list[bytes] = []
    lost, room = 0, _MAX_TEXT
    for line in records:
        room -= len(line or b"")
        if line is None or room < 0:
            lost += 1
        else:
            lines.append(line)
        if room < 0:
            break  # damaged: many records that have one text
    if not lines:
        raise Unavailable(LOG, Reason.NOT_IN_DUMP, "no record of it can be read")
    return KernelLog(text=_decoded(b"".join(lines)), lost=lost)


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _by_types(prog: Program) -> KernelLog | None:
    # Of a kernel whose VMCOREINFO is garbled or says too little.
    from drgn.helpers.linux.printk import get_dmesg

    with suppress(*BROKEN_WALK, AttributeError, Unavailable):
        # Not by drgn, whose walk of the buffers before 5.10 has no bound.
        return _read(old_records(prog, places_by_types(prog)))
    with suppress(*BROKEN_WALK, AttributeError):
        if _is_short(prog["prb"].desc_ring):
            return KernelLog(text=_decoded(get_dmesg(prog)))
    return None


def _is_short(ring: Object) -> bool:
    # drgn's walk runs from tail to head, however far apart damage put them.
    length = int(ring.head_id.counter) - int(ring.tail_id.counter)
    return 0 <= length < min(1 << min(int(ring.count_bits), 32), _MAX_BY_TYPES)
