"""ELF notes of a dump: which CPUs, which VMCOREINFO, who made it.

Source: elf(5); include/uapi/linux/elf.h; QEMU's ELF and kdump files carry one
note named ``QEMU`` per CPU besides ``CORE``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from crashkit.target.vmcoreinfo import escape
from crashkit.value import facts

MAX_NOTES = 1 << 17
MAX_BYTES = 64 << 20
"""A PRSTATUS note takes 356 bytes: room for more CPUs than any machine has."""

NT_PRSTATUS = 1
NT_PRPSINFO = 3
NT_AUXV = 6
NT_FILE = 0x46494C45
_USER_NOTES = frozenset({NT_AUXV, NT_FILE})

# Offset and size of pr_fname in the 64-bit struct elf_prpsinfo (include/linux/elfcore.h).
_PR_FNAME = slice(40, 56)

_HEADER = struct.Struct("<III")

# struct elf_prstatus of x86-64 (include/linux/elfcore.h): pr_pid, and pr_reg, which has the
# order of struct user_regs_struct (arch/x86/include/asm/user_64.h).
_PR_PID = struct.Struct("<i")
_PR_PID_AT, _PR_REG_AT = 32, 112
_PR_REG = struct.Struct("<21Q")
_REGISTERS = (
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx",
    "rsi", "rdi", "orig_rax", "rip", "cs", "rflags", "rsp", "ss",
)  # fmt: skip
MAX_NOTED = 8192
"""More CPUs than x86-64 supports (NR_CPUS_RANGE_END)."""


@facts
class NotedRegisters:
    """What one NT_PRSTATUS note says of a CPU."""

    pid: int
    registers: dict[str, int]
    """By full name, as of the moment the CPU stopped."""


@facts
class Notes:
    """What a note segment holds."""

    cpus: int = 0
    """Number of NT_PRSTATUS notes."""
    registers: tuple[NotedRegisters, ...] = ()
    """What they say, in their order; those too short to hold registers left out."""
    vmcoreinfo: bytes | None = None
    """Contents of the VMCOREINFO note."""
    from_qemu: bool = False
    """A note of QEMU is there."""
    from_xen: bool = False
    """A note of Xen is there."""
    user_process: bool = False
    """NT_AUXV or NT_FILE: notes only a user-space core has."""
    command: str | None = None
    """Name of the program in NT_PRPSINFO, escaped."""


def for_each_note(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield (owner, type, contents); stops where a size does not fit."""
    place = 0
    for _ in range(MAX_NOTES):
        if place + _HEADER.size > len(data):
            return
        name_size, size, kind = _HEADER.unpack_from(data, place)
        name_at = place + _HEADER.size
        contents_at = name_at + _aligned(name_size)
        place = contents_at + _aligned(size)
        if contents_at + size > len(data):
            return
        yield (
            data[name_at : name_at + name_size].rstrip(b"\0"),
            kind,
            data[contents_at : contents_at + size],
        )


def read_notes(data: bytes) -> Notes:
    """Sum up a note segment (at most ``MAX_BYTES`` of it)."""
    cpus = 0
    registers: list[NotedRegisters] = []
    owners = set()
    vmcoreinfo = command = None
    user_process = False
    for owner, kind, contents in for_each_note(data[:MAX_BYTES]):
        owners.add(owner)
        if owner == b"VMCOREINFO":
            vmcoreinfo = contents
        elif owner == b"CORE" and kind == NT_PRSTATUS:
            cpus += 1
            if len(contents) >= _PR_REG_AT + _PR_REG.size and cpus <= MAX_NOTED:
                registers.append(_noted(contents))
        elif owner == b"CORE" and kind == NT_PRPSINFO:
            command = escape(contents[_PR_FNAME].split(b"\0", 1)[0]) or None
        elif owner == b"CORE" and kind in _USER_NOTES:
            user_process = True
    return Notes(
        cpus=cpus,
        registers=tuple(registers),
        vmcoreinfo=vmcoreinfo,
        from_qemu=b"QEMU" in owners,
        from_xen=b"Xen" in owners,
        user_process=user_process,
        command=command,
    )


def _noted(contents: bytes) -> NotedRegisters:
    values = _PR_REG.unpack_from(contents, _PR_REG_AT)
    (pid,) = _PR_PID.unpack_from(contents, _PR_PID_AT)
    return NotedRegisters(pid=pid, registers=dict(zip(_REGISTERS, values, strict=True)))


def _aligned(size: int) -> int:
    return (size + 3) & ~3
