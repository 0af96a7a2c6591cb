"""One decoded instruction: what it is, what it reads and writes, where it goes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, TypeAlias

AccessKind: TypeAlias = Literal["read", "write", "read-write", "address"]
"""What an instruction does to a memory operand; ``address``: it only computes it (lea, nop)."""

HIGH_BYTES = frozenset({"ah", "bh", "ch", "dh"})
"""Registers that name bits 8 to 15 of their full register."""


class Flow(enum.Enum):
    """Where execution goes after an instruction."""

    NEXT = "next"
    JUMP = "jump"
    BRANCH = "branch"
    CALL = "call"
    RETURN = "return"
    STOP = "stop"
    """It does not continue: ``ud2`` of a BUG, ``int3``, undecodable bytes."""


@dataclass(frozen=True, slots=True)
class RegisterOperand:
    """A register as written in the instruction."""

    name: str
    """``eax``, ``r8d``, ``xmm0``."""
    size: int
    """Bytes."""
    full: str | None
    """The 64-bit register it is part of; None for one that is not general-purpose."""

    @property
    def is_high_byte(self) -> bool:
        """Whether it is ah, bh, ch or dh."""
        return self.name in HIGH_BYTES


@dataclass(frozen=True, slots=True)
class ImmediateOperand:
    """A constant, sign-extended as the processor does."""

    value: int
    size: int
    """Bytes of the operation it takes part in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOperand:
    """``segment:displacement(base,index,scale)``."""

    base: str | None = None
    index: str | None = None
    scale: int = 1
    displacement: int = 0
    segment: str | None = None
    """``gs`` or ``fs`` where the instruction says so, else None."""
    size: int = 0
    """Bytes accessed, of one element for a string operation."""

    @property
    def registers(self) -> tuple[str, ...]:
        """Base and index, those that there are."""
        return tuple(name for name in (self.base, self.index) if name is not None)


Operand: TypeAlias = RegisterOperand | ImmediateOperand | MemoryOperand


@dataclass(frozen=True, slots=True)
class Access:
    """One access to memory, explicit or implied (the stack of a push)."""

    memory: MemoryOperand
    kind: AccessKind
    size: int
    """Bytes; of one element for a repeated string instruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One decoded instruction."""

    address: int
    size: int
    data: bytes
    operation: str
    """The bare name in the vendors' spelling whatever the syntax: ``movzx``, ``cmpxchg``."""
    arguments: tuple[Operand, ...]
    """Operands, destination first, whatever the syntax."""
    prefixes: tuple[str, ...]
    """``lock``, ``rep``, ``repe``, ``repne``, ``bnd``, ``notrack``."""
    flow: Flow
    target: int | None
    """Where a direct jump, branch or call goes."""
    via: str | None
    """Register that an indirect jump or call goes through, also by way of a thunk."""
    reads: frozenset[str]
    """General-purpose registers read, by full name, implied ones included."""
    writes: frozenset[str]
    """General-purpose registers written, wholly or in part, by full name."""
    accesses: tuple[Access, ...]
    """Memory accesses, the explicit operand first."""
    exact: bool
    """Effects come from this project's own table; otherwise they are an upper bound."""
    displacement_size: int = 0
    """Bytes of the encoded displacement."""
    printed: tuple[str, str] | None = None
    """Mnemonic and operands in a syntax other than AT&T."""

    @property
    def mnemonic(self) -> str:
        """As printed, with prefixes: ``movzbl``, ``lock cmpxchg``."""
        return self._split_text()[0]

    @property
    def operands(self) -> str:
        """As printed; may be empty."""
        return self._split_text()[1]

    def _split_text(self) -> tuple[str, str]:
        # Printed on demand: most instructions are only analysed.
        if self.printed is not None:
            return self.printed
        from crashkit.disasm.att import att_text

        return att_text(self)

    @property
    def text(self) -> str:
        """Mnemonic and operands as printed."""
        mnemonic, operands = self._split_text()
        return f"{mnemonic} {operands}" if operands else mnemonic

    @property
    def repeats(self) -> bool:
        """Whether a string operation repeats."""
        return any(prefix.startswith("rep") for prefix in self.prefixes)

    @property
    def end(self) -> int:
        """Address of the byte after it."""
        return self.address + self.size

    @property
    def memory(self) -> MemoryOperand | None:
        """The memory operand, else the implied access, else None."""
        return self.accesses[0].memory if self.accesses else None

    @property
    def access(self) -> AccessKind | None:
        """What is done to :attr:`memory`."""
        return self.accesses[0].kind if self.accesses else None

    @property
    def access_size(self) -> int:
        """Bytes of :attr:`memory` that are accessed; 0 without one."""
        return self.accesses[0].size if self.accesses else 0

    @property
    def writes_memory(self) -> bool:
        """Whether any access writes."""
        return any(access.kind in ("write", "read-write") for access in self.accesses)

    def absolute(self, memory: MemoryOperand) -> int | None:
        """Address of an operand that no register changes (absolute or relative to rip)."""
        if memory.index is not None:
            return None
        if memory.base == "rip":
            return (self.end + memory.displacement) & 0xFFFF_FFFF_FFFF_FFFF
        if memory.base is None:
            return memory.displacement & 0xFFFF_FFFF_FFFF_FFFF
        return None
