"""Reads that say why they fail, and walks that end."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import TypeVar

from drgn import FaultError, OutOfBoundsError, Program

from crashkit.errors import Reason, Unavailable

T = TypeVar("T")

IMPOSSIBLE = (OverflowError, OutOfBoundsError, ZeroDivisionError, MemoryError)
"""What a helper of drgn's raises over numbers that no undamaged kernel has: sizes of 0 or beyond
reason, indexes past their array."""
BROKEN_WALK = (FaultError, LookupError, ValueError, *IMPOSSIBLE)
"""What a helper of drgn's raises where damaged memory leads it astray: an unmapped pointer, a
missing type or name, a number that cannot be."""

U64_MAX = (1 << 64) - 1
KERNEL_START = 0xFFFF_8000_0000_0000
"""Lowest canonical kernel address (Documentation/arch/x86/x86_64/mm.rst, 4-level; the
5-level half starts lower, at 0xff00_0000_0000_0000)."""
KERNEL_START_5LEVEL = 0xFF00_0000_0000_0000


def is_kernel_address(address: int) -> bool:
    """Whether ``address`` (unsigned 64 bit) lies in the kernel half of either paging mode."""
    return KERNEL_START_5LEVEL <= address <= U64_MAX


def read_bytes(prog: Program, address: int, size: int, what: str = "") -> bytes:
    """Read ``size`` bytes of kernel virtual memory.

    :raises Unavailable: the page is not in the dump, or the address is not mapped
    """
    if not 0 <= address <= U64_MAX:
        name = what or f"{size} bytes at {address:#x}"
        raise Unavailable(name, Reason.CORRUPTED, f"{address:#x} is no 64-bit address")
    try:
        return bytes(prog.read(address, size))
    except FaultError as fault:
        name = what or f"{size} bytes at {address:#x}"
        raise Unavailable(name, Reason.NOT_IN_DUMP, f"{address:#x}: {fault}") from fault


_PAGE = 4096


def read_pieces(prog: Program, address: int, size: int) -> list[tuple[int, bytes]]:
    """Read what is there of ``size`` bytes of kernel virtual memory: (address, bytes), in order.

    A dump can lack pages, and an ELF dump can end a segment at any byte.

    :returns: nothing where nothing is there
    """
    pieces: list[tuple[int, bytes]] = []
    end = address + size
    while address < end:
        piece = _read_up_to(prog, address, end)
        if piece:
            pieces.append((address, piece))
        address = _next_readable(prog, address + len(piece), end)
    return pieces


def _read_up_to(prog: Program, address: int, end: int) -> bytes:
    # The longest readable beginning; what a fault names may be a physical address.
    found = b""
    step = end - address
    while step:
        at = address + len(found)
        try:
            found += bytes(prog.read(at, min(step, end - at)))
        except FaultError:
            step //= 2
        else:
            if at + step >= end:
                break
    return found


def _next_readable(prog: Program, address: int, end: int) -> int:
    # Byte by byte up to the end of the page, then the next page's first byte.
    while address < end:
        page_end = min((address | (_PAGE - 1)) + 1, end)
        for at in range(address, page_end):
            try:
                prog.read(at, 1)
            except FaultError:
                continue
            return at
        address = page_end
    return end


def read_u64(prog: Program, address: int, what: str = "") -> int:
    """Read an unsigned 64-bit little-endian number.

    :raises Unavailable: the page is not in the dump
    """
    return int.from_bytes(read_bytes(prog, address, 8, what), "little")


def words_between(prog: Program, low: int, high: int) -> Iterator[tuple[int, int]]:
    """Yield the aligned 64-bit numbers that the dump has of [low, high): address, number."""
    for start, data in read_pieces(prog, low, high - low):
        first = -start % 8
        count = max(0, len(data) - first) // 8
        addresses = range(start + first, start + first + 8 * count, 8)
        yield from zip(addresses, struct.unpack_from(f"<{count}Q", data, first), strict=True)


def bounded(items: Iterable[T], limit: int, what: str) -> Iterator[T]:
    """Yield at most ``limit`` items of a walk over hostile memory.

    :raises Unavailable: reason ``budget`` when there is one item more than ``limit``
    """
    for number, item in enumerate(items):
        if number >= limit:
            raise Unavailable(what, Reason.BUDGET, f"more than {limit} entries")
        yield item
