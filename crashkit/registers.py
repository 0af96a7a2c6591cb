"""x86-64 register names and what the System V ABI says of them."""

from __future__ import annotations

ARGUMENT_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""Integer and pointer arguments in order (psABI 3.2.3)."""

CALLEE_SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15")
"""Registers a callee must restore (psABI 3.2.1), without rsp."""

CALLER_SAVED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
"""Registers that a call may change."""

GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
"""The sixteen general-purpose registers."""

PT_REGS_MEMBERS = {
    "r15": "r15", "r14": "r14", "r13": "r13", "r12": "r12", "rbp": "bp", "rbx": "bx",
    "r11": "r11", "r10": "r10", "r9": "r9", "r8": "r8", "rax": "ax", "rcx": "cx",
    "rdx": "dx", "rsi": "si", "rdi": "di", "orig_rax": "orig_ax", "rip": "ip",
    "cs": "cs", "rflags": "flags", "rsp": "sp", "ss": "ss",
}  # fmt: skip
"""Register name to the member of ``struct pt_regs`` (arch/x86/include/asm/ptrace.h)."""

DWARF_NUMBERS = {
    0: "rax", 1: "rdx", 2: "rcx", 3: "rbx", 4: "rsi", 5: "rdi", 6: "rbp", 7: "rsp",
    8: "r8", 9: "r9", 10: "r10", 11: "r11", 12: "r12", 13: "r13", 14: "r14", 15: "r15",
    16: "rip",
}  # fmt: skip
"""DWARF register number to name (psABI figure 3.36)."""

_LEGACY = {
    "rax": ("eax", "ax", "al", "ah"), "rbx": ("ebx", "bx", "bl", "bh"),
    "rcx": ("ecx", "cx", "cl", "ch"), "rdx": ("edx", "dx", "dl", "dh"),
    "rsi": ("esi", "si", "sil"), "rdi": ("edi", "di", "dil"),
    "rbp": ("ebp", "bp", "bpl"), "rsp": ("esp", "sp", "spl"),
}  # fmt: skip

FULL_REGISTER: dict[str, str] = {
    **{name: name for name in GENERAL},
    **{part: full for full, parts in _LEGACY.items() for part in parts},
    **{f"r{n}{suffix}": f"r{n}" for n in range(8, 16) for suffix in "dwb"},
}
"""Any general-purpose register name to the 64-bit register it is part of."""
