"""The log buffers before Linux 5.10, by VMCOREINFO alone.

From 3.5 on a buffer of records (``struct log``, ``struct printk_log`` since 3.11:
62e32ac3505a), before that a ring of characters (kernel/printk.c, log_buf_kexec_setup()).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from drgn import Program, offsetof, sizeof

from crashkit.decode.printk_pages import LOG, Pages, stamped
from crashkit.errors import Reason, Unavailable
from crashkit.target import VmcoreInfo

_MAX_BUFFER = 1 << 28
_MAX_RECORDS = 1 << 20
_STRUCTURES = ("printk_log", "log")
_LEVEL = re.compile(rb"^<\d{1,3}>", re.MULTILINE)


def old_records(prog: Program, known: VmcoreInfo) -> Iterator[bytes | None]:
    """Yield the log's lines, oldest first; None at a lost page, behind which nothing is found.

    :raises Unavailable: VMCOREINFO does not lead to the buffer
    """
    pages = Pages(prog)
    buffer = pages.number(known.symbol("log_buf"))
    size = pages.number(known.symbol("log_buf_len"), 4)
    if not 0 < size <= _MAX_BUFFER:
        raise Unavailable(LOG, Reason.CORRUPTED, f"a log buffer of {size} bytes")
    structure = next((s for s in _STRUCTURES if f"SIZE({s})" in known), None)
    if structure is None:
        yield _characters(pages, known, buffer, size)
    else:
        yield from _records(pages, known, structure, buffer, size)


def places_by_types(prog: Program) -> VmcoreInfo:
    """Say what VMCOREINFO would of a buffer of records, from symbols and types.

    :raises LookupError: the kernel has no such buffer, or no type or symbol says so
    """
    lines = {
        f"SYMBOL({name})": f"{prog.symbol(name).address:x}"
        for name in ("log_buf", "log_buf_len", "log_first_idx", "log_next_idx")
    }
    for structure in _STRUCTURES:
        try:
            type_ = prog.type(f"struct {structure}")
        except LookupError:
            continue
        lines[f"SIZE({structure})"] = str(sizeof(type_))
        for member in ("ts_nsec", "len", "text_len"):
            lines[f"OFFSET({structure}.{member})"] = str(offsetof(type_, member))
        return VmcoreInfo(lines)
    raise LookupError("no type of its records")


def _records(
    pages: Pages, known: VmcoreInfo, structure: str, buffer: int, size: int
) -> Iterator[bytes | None]:
    header = known.size(structure)
    time, total, text = (known.offset(f"{structure}.{m}") for m in ("ts_nsec", "len", "text_len"))
    at = pages.number(known.symbol("log_first_idx"), 4)
    end = pages.number(known.symbol("log_next_idx"), 4)
    wrapped = False
    for _ in range(_MAX_RECORDS):
        if at == end or not 0 <= at <= size - header:
            return
        record = buffer + at
        try:
            step = pages.number(record + total, 2)
            length = min(pages.number(record + text, 2), size - at - header)
            line = stamped(pages.number(record + time), pages.read(record + header, length))
        except Unavailable:
            yield None
            return
        if 0 < step < header:
            yield None  # no record: the one before it led nowhere
            return
        if step:
            yield line
            at += step
        elif wrapped:
            return
        else:  # the rest of the buffer is unused
            at, wrapped = 0, True


def _characters(pages: Pages, known: VmcoreInfo, buffer: int, size: int) -> bytes:
    # log_end counts every character ever written.
    end = pages.number(known.symbol("log_end"), 4)
    kept = min(pages.number(known.symbol("logged_chars"), 4), size)
    start = (end - kept) % size
    text = pages.read(buffer + start, min(kept, size - start))
    text += pages.read(buffer, kept - len(text))
    return _LEVEL.sub(b"", text)
