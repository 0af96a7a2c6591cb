"""A processor to compare with: unicorn with code, data and a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import unicorn
from unicorn import x86_const as x86

from tests.soundness.encoding import GENERAL

_UNICORN: Any = unicorn  # it has no types

CODE, CODE_SIZE = 0x4000_0000, 0x10_0000
DATA, DATA_SIZE = 0x5000_0000, 0x4000
STACK, STACK_SIZE = 0x6000_0000, 0x4000
_IDS = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in GENERAL]


class Machine:
    """x86-64 in user mode; memory written back to what it was by :meth:`reset`."""

    def __init__(self) -> None:
        self.engine: Any = _UNICORN.Uc(_UNICORN.UC_ARCH_X86, _UNICORN.UC_MODE_64)
        self.engine.mem_map(CODE, CODE_SIZE)
        self.engine.mem_map(DATA, DATA_SIZE)
        self.engine.mem_map(STACK, STACK_SIZE)
        self.next_code = CODE

    def place(self, code: bytes) -> int:
        """Put code where none was translated before; returns its address."""
        if self.next_code + len(code) + 16 > CODE + CODE_SIZE:
            self.next_code = CODE
            self.engine.ctl_flush_tb()
        address = self.next_code
        self.next_code += len(code) + 16
        self.engine.mem_write(address, code)
        return address

    def set(self, registers: Mapping[str, int], flags: int = 2) -> None:
        """Write the general registers and the flags."""
        self.engine.reg_write_batch(
            [(number, registers[name]) for number, name in zip(_IDS, GENERAL, strict=True)]
        )
        self.engine.reg_write(x86.UC_X86_REG_EFLAGS, flags)

    def registers(self) -> dict[str, int]:
        """Read the general registers."""
        return dict(zip(GENERAL, self.engine.reg_read_batch(_IDS), strict=True))

    def jump(self, address: int) -> None:
        """Go on at another address; for a hook."""
        self.engine.reg_write(x86.UC_X86_REG_RIP, address)

    def read(self, address: int, size: int) -> bytes:
        """Read memory."""
        return bytes(self.engine.mem_read(address, size))

    def write(self, address: int, data: bytes) -> None:
        """Write memory."""
        self.engine.mem_write(address, data)

    def run(self, start: int, end: int, count: int) -> bool:
        """Run from ``start`` until ``end`` or ``count`` instructions; False on a fault."""
        try:
            self.engine.emu_start(start, end, count=count)
        except _UNICORN.UcError:
            return False
        return True

    def on(self, kind: int, callback: Callable[..., object]) -> None:
        """Add a hook of unicorn's."""
        self.engine.hook_add(kind, callback)
