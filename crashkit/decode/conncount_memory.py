"""Pages of a dump read once and kept: for walks over hundreds of thousands of small objects."""

from __future__ import annotations

import struct
from typing import Any

from drgn import Program

from crashkit.errors import Unavailable
from crashkit.memory import read_bytes

_SHIFT = 12
_SIZE = 1 << _SHIFT


class Pages:
    """A dump's memory by pages; a page is asked of the program once."""

    def __init__(self, prog: Program) -> None:
        self._prog = prog
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int, what: str) -> bytes:
        """Read bytes of kernel virtual memory.

        :raises Unavailable: a page is not in the dump
        """
        offset = address & (_SIZE - 1)
        if offset + size <= _SIZE:
            return self._page(address, what)[offset : offset + size]
        return read_bytes(self._prog, address, size, what)

    def unpack(self, layout: struct.Struct, address: int, what: str) -> tuple[Any, ...]:
        """Unpack the object at ``address``.

        :raises Unavailable: a page is not in the dump
        """
        offset = address & (_SIZE - 1)
        page = self._pages.get(address >> _SHIFT)
        if page is not None and offset + layout.size <= _SIZE:
            return layout.unpack_from(page, offset)
        return layout.unpack(self.read(address, layout.size, what))

    def _page(self, address: int, what: str) -> bytes:
        number = address >> _SHIFT
        page = self._pages.get(number)
        if page is None:
            try:
                page = read_bytes(self._prog, number << _SHIFT, _SIZE, what)
            except Unavailable as missing:
                detail = f"{address:#x}: {missing.detail}"
                raise Unavailable(what, missing.reason, detail) from missing
            self._pages[number] = page
        return page
