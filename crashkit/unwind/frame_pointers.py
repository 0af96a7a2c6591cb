"""Unwind rules of a kernel with frame pointers, for kernels that have no ORC.

ORC came with Linux 4.14 (ee9f8fce9964, "x86/unwind: Add the ORC unwinder"). Before it,
and with CONFIG_FRAME_POINTER, every C function pushes rbp and makes it point there; entry
code saves a ``struct pt_regs`` instead (arch/x86/kernel/entry_64.S).
"""

from __future__ import annotations

from dataclasses import dataclass

from drgn import Program

from crashkit.errors import Unavailable
from crashkit.memory import read_bytes
from crashkit.symbols.lookup import SymbolAt, in_kernel_text, symbol_at
from crashkit.symbols.orc import Base, Kind, Rule

# Entry code of exceptions and system calls under its names up to 5.7 (idtentry and zeroentry
# of entry_64.S); a call from it has a whole pt_regs above the return address.
EXCEPTIONS = frozenset(
    {
        "page_fault", "async_page_fault", "general_protection", "invalid_op", "divide_error",
        "double_fault", "stack_segment", "segment_not_present", "invalid_TSS", "overflow",
        "bounds", "alignment_check", "int3", "debug", "simd_coprocessor_error",
        "coprocessor_error", "coprocessor_segment_overrun", "device_not_available", "nmi",
        "machine_check", "spurious_interrupt_bug",
    }
)  # fmt: skip
_SYSTEM_CALLS = frozenset(
    {
        "system_call_fastpath", "system_call", "tracesys", "entry_SYSCALL_64_fastpath",
        "entry_SYSCALL_64_after_hwframe", "entry_SYSCALL_64_after_swapgs", "ret_from_fork",
    }
)  # fmt: skip

_PROLOGUE = b"\x55\x48\x89\xe5"  # push %rbp; mov %rsp,%rbp
_LONGEST_PROLOGUE = 64


@dataclass(frozen=True)
class FramePointerRules:
    """A rule for any pc of a program that keeps frame pointers."""

    prog: Program

    def find(self, pc: int) -> Rule | None:
        """Find how to leave the frame of the instruction at ``pc``; None: nobody knows."""
        symbol = symbol_at(self.prog, pc)
        if symbol is None or not in_kernel_text(self.prog, pc):
            return None
        if symbol.name in EXCEPTIONS or symbol.name in _SYSTEM_CALLS:
            return _rule(Kind.REGS, Base.SP, 0, None)
        done = self._prologue(symbol, pc)
        if done == 0:
            return _rule(Kind.CALL, Base.SP, 8, None)
        if done == 1:
            return _rule(Kind.CALL, Base.SP, 16, -16)
        return _rule(Kind.CALL, Base.BP, 16, -16)

    def _prologue(self, symbol: SymbolAt, pc: int) -> int:
        # How many of the prologue's two instructions have run before pc: 0, 1 or 2. Bytes
        # that are not in the dump are taken for a function past its prologue, as all are
        # that called another one.
        length = min(pc - symbol.address, _LONGEST_PROLOGUE)
        try:
            code = read_bytes(self.prog, symbol.address, length + 4)
        except Unavailable:
            return 2
        start = code.find(_PROLOGUE)
        if start < 0 or length >= start + len(_PROLOGUE):
            return 2
        return 0 if length <= start else 1


def _rule(kind: Kind, base: Base, offset: int, saved: int | None) -> Rule:
    return Rule(
        kind=kind,
        sp_base=base,
        sp_offset=offset,
        bp_base=Base.UNDEFINED if saved is None else Base.PREV_SP,
        bp_offset=saved or 0,
        signal=kind is Kind.REGS,
    )
