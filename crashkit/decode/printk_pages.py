"""Numbers out of memory for the readers of the kernel log: each page is read once."""

from __future__ import annotations

from drgn import Program

from crashkit.errors import Unavailable
from crashkit.memory import read_bytes

LOG = "the kernel log"
WORD = 8
_PAGE = 4096


class Pages:
    """Kernel memory, a page at a time."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes.

        :raises Unavailable: one of them is not in the dump
        """
        first = address & -_PAGE
        try:
            pages = b"".join(map(self._page, range(first, address + size, _PAGE)))
        except Unavailable:  # a cut dump can end within a page
            return read_bytes(self._prog, address, size, LOG)
        return pages[address - first : address - first + size]

    def number(self, address: int, size: int = WORD) -> int:
        """Read an unsigned little-endian number. :raises Unavailable: as :meth:`read`."""
        return int.from_bytes(self.read(address, size), "little")

    def _page(self, address: int) -> bytes:
        if address not in self._pages:
            self._pages[address] = read_bytes(self._prog, address, _PAGE, LOG)
        return self._pages[address]


def stamped(nanoseconds: int, text: bytes) -> bytes:
    """Put dmesg's time stamp before every line of a record."""
    stamp = b"[%5d.%06d] " % (nanoseconds // 10**9, nanoseconds % 10**9 // 1000)
    return b"".join(stamp + line + b"\n" for line in text.split(b"\n"))
