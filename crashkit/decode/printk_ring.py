"""The lockless ring buffer of Linux 5.10 and later, by the offsets of VMCOREINFO alone.

Source: kernel/printk/printk.c (log_buf_vmcoreinfo_setup()) and
kernel/printk/printk_ringbuffer.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Program

from crashkit.decode.printk_pages import LOG, WORD, Pages, stamped
from crashkit.errors import Reason, Unavailable
from crashkit.target import VmcoreInfo

_MAX_RECORDS = 1 << 20
_MAX_TEXT = 1 << 16
_MAX_FRUITLESS = 8192  # a ring whose records are gone, not one with a gap
_STATE_SHIFT = 62  # DESC_SV_BITS - 2
_READABLE = (1, 2)  # desc_committed, desc_finalized
_ID_MASK = (1 << _STATE_SHIFT) - 1
_FAILED = 1  # FAILED_LPOS: the record's text could not be stored


@dataclass(frozen=True)
class Ring:
    """Where the ring buffer's parts are."""

    descriptors: int
    infos: int
    count: int
    head: int
    tail: int
    data: int
    data_size: int

    @property
    def length(self) -> int:
        """Records from the oldest to the newest, by the two ids; damage makes it huge."""
        return (self.head - self.tail) & _ID_MASK


@dataclass(frozen=True)
class _Layout:
    # Offsets within one descriptor and one printk_info, in bytes.
    descriptor: int
    state: int
    begin: int
    end: int
    info: int
    time: int
    length: int


def find_ring(pages: Pages, known: VmcoreInfo) -> Ring:
    """Find the ring buffer.

    :raises Unavailable: VMCOREINFO does not lead to it, or its sizes are impossible
    """
    buffer = pages.number(known.symbol("prb"))
    ring = buffer + known.offset("printk_ringbuffer.desc_ring")
    text = buffer + known.offset("printk_ringbuffer.text_data_ring")
    counter = known.offset("atomic_long_t.counter")
    count_bits = pages.number(ring + known.offset("prb_desc_ring.count_bits"), 4)
    size_bits = pages.number(text + known.offset("prb_data_ring.size_bits"), 4)
    if not 0 < count_bits <= 24 or not 0 < size_bits <= 30:
        raise Unavailable(LOG, Reason.CORRUPTED, "its ring sizes are impossible")
    return Ring(
        descriptors=pages.number(ring + known.offset("prb_desc_ring.descs")),
        infos=pages.number(ring + known.offset("prb_desc_ring.infos")),
        count=1 << count_bits,
        head=pages.number(ring + known.offset("prb_desc_ring.head_id") + counter) & _ID_MASK,
        tail=pages.number(ring + known.offset("prb_desc_ring.tail_id") + counter) & _ID_MASK,
        data=pages.number(text + known.offset("prb_data_ring.data")),
        data_size=1 << size_bits,
    )


def ring_records(prog: Program, known: VmcoreInfo) -> Iterator[bytes | None]:
    """Yield the records, oldest first, each with its time stamp; None for one in a lost page.

    :raises Unavailable: VMCOREINFO does not lead to the ring buffer
    """
    pages = Pages(prog)
    ring = find_ring(pages, known)
    layout = _layout(known)
    fruitless = 0
    for step in range(min(ring.length, ring.count - 1, _MAX_RECORDS) + 1):
        try:
            line: bytes | None = _record(pages, layout, ring, (ring.tail + step) & _ID_MASK)
        except Unavailable:  # the others are still the log
            line = None
        fruitless = 0 if line else fruitless + 1
        if fruitless > _MAX_FRUITLESS:
            return
        if line != b"":
            yield line


def _layout(known: VmcoreInfo) -> _Layout:
    block = known.offset("prb_desc.text_blk_lpos")
    counter = known.offset("atomic_long_t.counter")
    return _Layout(
        descriptor=known.size("prb_desc"),
        state=known.offset("prb_desc.state_var") + counter,
        begin=block + known.offset("prb_data_blk_lpos.begin"),
        end=block + known.offset("prb_data_blk_lpos.next"),
        info=known.size("printk_info"),
        time=known.offset("printk_info.ts_nsec"),
        length=known.offset("printk_info.text_len"),
    )


def _record(pages: Pages, layout: _Layout, ring: Ring, number: int) -> bytes:
    # Nothing for one that the kernel had not finished, or whose text it could not store.
    index = number % ring.count
    descriptor = ring.descriptors + index * layout.descriptor
    state = pages.number(descriptor + layout.state)
    if state >> _STATE_SHIFT not in _READABLE or state & _ID_MASK != number:
        return b""
    begin = pages.number(descriptor + layout.begin)
    if begin == _FAILED:
        return b""
    info = ring.infos + index * layout.info
    nanoseconds = pages.number(info + layout.time)
    length = pages.number(info + layout.length, 2)
    # An odd position stands for a record without text (NO_LPOS).
    end = pages.number(descriptor + layout.end)
    return stamped(nanoseconds, b"" if begin & 1 else _text(pages, ring, begin, end, length))


def _text(pages: Pages, ring: Ring, begin: int, end: int, length: int) -> bytes:
    # A block starts with its descriptor's id; one that would wrap lies at the start.
    start = begin % ring.data_size
    if begin // ring.data_size != (end - 1) // ring.data_size:
        start = 0
    room = ring.data_size - start - WORD
    return pages.read(ring.data + start + WORD, min(length, room, _MAX_TEXT))
