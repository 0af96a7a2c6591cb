"""The kernel log out of memory: by drgn where there are types, else by VMCOREINFO alone.

VMCOREINFO carries every offset of the lockless ring buffer (kernel/printk/printk.c,
log_buf_vmcoreinfo_setup(), since Linux 5.10), so the log can be had without types and,
record by record, from a dump that lost part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from drgn import Program
from drgn.helpers.linux.printk import get_dmesg

from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, read_bytes
from crashkit.target import Target
from crashkit.target.vmcoreinfo import VmcoreInfo

_MAX_RECORDS = 1 << 20
_MAX_TEXT = 1 << 16
_MAX_FRUITLESS = 8192  # a ring whose records are gone, not one with a gap
_STATE_SHIFT = 62  # DESC_SV_BITS - 2, kernel/printk/printk_ringbuffer.h
_READABLE = (1, 2)  # desc_committed, desc_finalized
_ID_MASK = (1 << _STATE_SHIFT) - 1
_WORD = 8


def read_log(prog: Program, target: Target) -> str:
    """Read the kernel log, oldest line first, with the kernel's own time stamps.

    :raises Unavailable: neither types nor VMCOREINFO lead to it
    """
    raw = b""
    if _is_plausible(prog, target.vmcoreinfo):
        with suppress(*BROKEN_WALK, AttributeError):
            raw = get_dmesg(prog)
    if not raw:
        raw = b"".join(_records(prog, target.vmcoreinfo))
    if not raw:
        raise Unavailable("the kernel log", Reason.NOT_IN_DUMP, "no record of it can be read")
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _Ring:
    # The ring buffer's addresses and sizes.
    descriptors: int
    infos: int
    count: int
    head: int
    tail: int
    data: int
    data_size: int


def _number(prog: Program, address: int, size: int = _WORD) -> int:
    return int.from_bytes(read_bytes(prog, address, size, "the kernel log"), "little")


def _ring(prog: Program, known: VmcoreInfo) -> _Ring:
    buffer = _number(prog, known.symbol("prb"))
    ring = buffer + known.offset("printk_ringbuffer.desc_ring")
    text = buffer + known.offset("printk_ringbuffer.text_data_ring")
    counter = known.offset("atomic_long_t.counter")
    count_bits = _number(prog, ring + known.offset("prb_desc_ring.count_bits"), 4)
    size_bits = _number(prog, text + known.offset("prb_data_ring.size_bits"), 4)
    if not 0 < count_bits <= 24 or not 0 < size_bits <= 30:
        raise Unavailable("the kernel log", Reason.CORRUPTED, "its ring sizes are impossible")
    return _Ring(
        descriptors=_number(prog, ring + known.offset("prb_desc_ring.descs")),
        infos=_number(prog, ring + known.offset("prb_desc_ring.infos")),
        count=1 << count_bits,
        head=_number(prog, ring + known.offset("prb_desc_ring.head_id") + counter) & _ID_MASK,
        tail=_number(prog, ring + known.offset("prb_desc_ring.tail_id") + counter) & _ID_MASK,
        data=_number(prog, text + known.offset("prb_data_ring.data")),
        data_size=1 << size_bits,
    )


def _is_plausible(prog: Program, known: VmcoreInfo) -> bool:
    # drgn's walk runs from tail to head, however far apart damage put them.
    try:
        ring = _ring(prog, known)
    except Unavailable:
        return True  # no lockless ring buffer, or nothing to judge it by
    return (ring.head - ring.tail) & _ID_MASK < ring.count


def _records(prog: Program, known: VmcoreInfo) -> Iterator[bytes]:
    ring = _ring(prog, known)
    length = min((ring.head - ring.tail) & _ID_MASK, ring.count - 1, _MAX_RECORDS)
    fruitless = 0
    for step in range(length + 1):
        line = None
        with suppress(Unavailable):  # a record in a lost page; the others are still the log
            line = _record(prog, known, ring, (ring.tail + step) & _ID_MASK)
        fruitless = 0 if line is not None else fruitless + 1
        if fruitless > _MAX_FRUITLESS:
            return
        if line is not None:
            yield line


def _record(prog: Program, known: VmcoreInfo, ring: _Ring, number: int) -> bytes | None:
    index = number % ring.count
    descriptor = ring.descriptors + index * known.size("prb_desc")
    counter = known.offset("atomic_long_t.counter")
    state = _number(prog, descriptor + known.offset("prb_desc.state_var") + counter)
    if state >> _STATE_SHIFT not in _READABLE or state & _ID_MASK != number:
        return None
    block = descriptor + known.offset("prb_desc.text_blk_lpos")
    begin = _number(prog, block + known.offset("prb_data_blk_lpos.begin"))
    end = _number(prog, block + known.offset("prb_data_blk_lpos.next"))
    info = ring.infos + index * known.size("printk_info")
    nanoseconds = _number(prog, info + known.offset("printk_info.ts_nsec"))
    length = _number(prog, info + known.offset("printk_info.text_len"), 2)
    text = b"" if begin & 1 else _text(prog, ring, begin, end, length)
    stamp = b"[%5d.%06d] " % (nanoseconds // 10**9, nanoseconds % 10**9 // 1000)
    return b"".join(stamp + line + b"\n" for line in text.split(b"\n"))


def _text(prog: Program, ring: _Ring, begin: int, end: int, length: int) -> bytes:
    # A block starts with its descriptor's id; one that would wrap lies at the start.
    start = begin % ring.data_size
    if begin // ring.data_size != (end - 1) // ring.data_size:
        start = 0
    room = ring.data_size - start - _WORD
    return read_bytes(prog, ring.data + start + _WORD, min(length, room, _MAX_TEXT))
