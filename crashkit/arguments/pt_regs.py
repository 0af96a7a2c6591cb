"""Registers a system call's caller passed: the one piece of memory that stays as it was.

The entry code stores them at the end of the task's stack, and the system call's function
takes its arguments from there. Only ax and orig_ax change in an ordinary call.
"""

from __future__ import annotations

from collections.abc import Sequence

from drgn import Program, offsetof

from crashkit.unwind import Frame
from crashkit.value import facts

# arch/x86/entry: entry_64.S, entry_64_compat.S
_ENTRIES = ("entry_SYSCALL_64", "entry_SYSCALL_compat", "entry_SYSENTER_compat", "entry_INT80")
# These give the task other registers (ELF_PLAT_INIT(), start_thread(), restore_sigcontext()).
_CHANGES = ("execve", "sigreturn", "exec_binprm", "load_elf", "ptrace", "seccomp")
_ARGUMENTS = ("di", "si", "dx", "r10", "r8", "r9")


@facts
class UserRegisters:
    """Where the argument registers of the system call under way lie."""

    members: dict[int, str]
    """Address to the member of ``struct pt_regs``; empty when no system call is known."""

    def stable(self, address: int, size: int) -> str | None:
        """Name the register at ``address`` that nothing has changed; None for any other."""
        return self.members.get(address) if size <= 8 else None


def user_registers(prog: Program, frames: Sequence[Frame]) -> UserRegisters:
    """Find the system call's registers from the frames of its stack, innermost first."""
    nothing = UserRegisters(members={})
    if not frames:
        return nothing
    last = frames[-1]
    if not (last.function or "").startswith(_ENTRIES) or last.interrupted:
        return nothing
    if any(word in (frame.function or "") for frame in frames for word in _CHANGES):
        return nothing
    try:
        type_ = prog.type("struct pt_regs")
        # The entry code calls with the structure on top of its stack.
        return UserRegisters(
            members={last.sp + int(offsetof(type_, name)): name for name in _ARGUMENTS}
        )
    except LookupError:
        return nothing
