"""The kernel log out of memory: by VMCOREINFO alone, else by drgn where there are types.

VMCOREINFO carries the offsets of every form of the log buffer, so the log can be had
without types and, record by record, from a dump that lost part of it.
"""

from __future__ import annotations

from contextlib import suppress

from drgn import Program

from crashkit.decode.printk_old import old_records
from crashkit.decode.printk_pages import LOG, Pages
from crashkit.decode.printk_ring import find_ring, ring_records
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK
from crashkit.target import VmcoreInfo
from crashkit.value import facts


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
        raw = _by_types(prog, known)
        if not raw:
            raise missing
        return KernelLog(text=_decoded(raw))


def read_log_without_types(prog: Program, known: VmcoreInfo) -> KernelLog:
    """As :func:`read_log`, with what VMCOREINFO says alone: the program needs no names.

    :raises Unavailable: VMCOREINFO does not lead to it
    """
    records = ring_records if "SYMBOL(prb)" in known else old_records
    found = list(records(prog, known))
    lines = [line for line in found if line is not None]
    if not lines:
        raise Unavailable(LOG, Reason.NOT_IN_DUMP, "no record of it can be read")
    return KernelLog(text=_decoded(b"".join(lines)), lost=len(found) - len(lines))


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _by_types(prog: Program, known: VmcoreInfo) -> bytes:
    from drgn.helpers.linux.printk import get_dmesg

    if _is_plausible(prog, known):
        with suppress(*BROKEN_WALK, AttributeError):
            return get_dmesg(prog)
    return b""


def _is_plausible(prog: Program, known: VmcoreInfo) -> bool:
    # drgn's walk runs from tail to head, however far apart damage put them.
    try:
        ring = find_ring(Pages(prog), known)
    except Unavailable:
        return True  # no lockless ring buffer, or nothing to judge it by
    return ring.length < ring.count
