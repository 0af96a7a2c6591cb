"""Reports of exceptions: what the CPU refused to do, by architecture."""

from __future__ import annotations

from crashkit.oops import layers
from crashkit.oops.kind import IN, Blame, Weight
from crashkit.oops.kind import make_kind as _kind

_PAGING = "BUG: unable to handle kernel paging request" + IN
_NULL = "BUG: unable to handle kernel NULL pointer dereference" + IN
_BODY = r"Internal error|Oops|Call [Tt]race|[Bb]acktrace:|\bpc ?[:(]|PC is at|Registers?:"
# arch/arm prints "Unhandled fault" and "Alignment trap" for programs, too: nothing of a
# kernel's registers or stack follows then.

_PAGE_FAULTS = (  # arch/*/mm/fault.c
    _kind("null-pointer-dereference", "NULL pointer dereference", _NULL,
          pattern=r"(?:BUG: |[Uu]nable to handle )(?:unable to handle )?[Kk]ernel NULL pointer"),
    _kind("null-pointer-dereference", "ernel NULL pointer", _NULL,
          pattern=r"BUG: [Kk]ernel NULL pointer"),
    _kind("exec-fault", "kernel tried to execute NX-protected page", _PAGING),
    _kind("exec-fault", "unable to execute userspace code (SMEP?)", _PAGING),
    _kind("exec-fault", "ernel tried to exec", _PAGING,
          pattern=r"[Kk]ernel tried to exec(?:ute)? (?:exec-protected|user) page"),
    _kind("page-fault", "access to user memory",
          "BUG: unable to handle kernel access to user memory" + IN,
          pattern=r"nable to handle kernel access to user memory"),
    _kind("page-fault", "paging request", _PAGING,
          pattern=r"(?i:unable to handle (?:kernel )?paging request)"),
    _kind("page-fault", "unable to handle page fault for address", _PAGING),
    _kind("page-fault", "Unable to handle kernel data access", _PAGING),
    _kind("exec-fault", "Unable to handle kernel instruction fetch", _PAGING),
    _kind("page-fault", "Unable to handle kernel pointer dereference", _PAGING),
    _kind("page-fault", "Unable to handle unknown paging fault", _PAGING),
    _kind("page-fault", "BUG: unable to handle kernel", "BUG: unable to handle kernel",
          pattern=r"^BUG: unable to handle kernel\b", blame=Blame.NONE),
    _kind("write-protect", "kernel tried to write to a read-only", _PAGING),
    _kind("page-fault", "Unhandled fault: ", "Unhandled fault" + IN, needs=_BODY),
    _kind("page-fault", "Alignment trap: ", "Alignment trap" + IN, needs=_BODY),
)  # fmt: skip

_TRAPS = (  # arch/x86/kernel/traps.c
    _kind("general-protection", "general protection fault", "general protection fault" + IN,
          pattern=r"general protection fault(?:[,:].{0,160}\[#|: [0-9a-f]{4}\b|"
                  r" for .{0,80}: [0-9a-f]{4}\b|, (?:probably|maybe) for )"),
    _kind("general-protection", "stack segment: ", "stack segment fault" + IN,
          pattern=r"stack segment: [0-9a-f]{4}\b"),
    _kind("divide-error", "divide error: ", "divide error" + IN, Blame.EXACT,
          pattern=r"divide error: [0-9a-f]{4}\b"),
    _kind("divide-error", "divide_error: ", "divide error" + IN, Blame.EXACT,
          pattern=r"divide_error: [0-9a-f]{4}\b"),
    _kind("usercopy", "kernel BUG at mm/usercopy.c", "BUG: bad usercopy" + IN, Blame.CALLER,
          pattern=r"kernel BUG at (?P<where>mm/usercopy\.c:\d+)", skip=layers.COPIED),
    _kind("list-corruption", "kernel BUG at lib/list_debug.c", "BUG: corrupted list" + IN,
          Blame.CALLER, pattern=r"kernel BUG at (?P<where>lib/list_debug\.c:\d+)"),
    _kind("invalid-opcode-bug", "ernel BUG at ", "kernel BUG" + IN,
          pattern=r"[Kk]ernel BUG at (?P<where>\S{1,200})", skip=layers.PACKET_BOUNDS),
    _kind("invalid-opcode-bug", "kernel BUG ", "kernel BUG" + IN,
          pattern=r"^kernel BUG (?:\[#\d|in )", skip=layers.PACKET_BOUNDS),
    _kind("invalid-opcode-bug", "invalid opcode: ", "invalid opcode" + IN, Blame.EXACT,
          pattern=r"invalid opcode: [0-9a-f]{4}\b"),
    _kind("invalid-opcode-bug", "int3: ", "int3" + IN, pattern=r"int3: [0-9a-f]{4}\b"),
    _kind("double-fault", "PANIC: double fault", "PANIC: double fault" + IN, Blame.EXACT),
    _kind("double-fault", "double fault: ", "PANIC: double fault" + IN, Blame.EXACT,
          pattern=r"double fault: (?:[0-9a-f]{4}\b|, gdt)"),
    _kind("stack-overflow", "stack guard page was hit", "BUG: stack guard page was hit" + IN,
          Blame.ENTRY),
    _kind("stack-overflow", "stack guard page: ", "BUG: stack guard page was hit" + IN,
          Blame.ENTRY, pattern=r"stack guard page: [0-9a-f]{4}\b"),
    _kind("stack-overflow", "ernel stack overflow", "kernel stack overflow" + IN, Blame.ENTRY,
          pattern=r"(?:^|not syncing: |BUG: )[Kk]ernel stack overflow", skip=layers.BAD_STACK),
    _kind("stack-overflow", "nsufficient stack space", "kernel stack overflow" + IN, Blame.ENTRY,
          pattern=r"^[Ii]nsufficient stack space to handle exception", skip=layers.BAD_STACK),
    _kind("general-protection", "traps: PANIC: ", "{trap}" + IN,
          pattern=r"traps: (?P<trap>PANIC: [\w ]{1,40})"),
    _kind("general-protection", "traps: Missing ENDBR", "kernel BUG" + IN, Blame.LINE,
          pattern=r"traps: Missing ENDBR: (?P<function>[\w.]{1,128})"),
    _kind("page-fault", "Internal error: ", "Internal error" + IN,
          pattern=r"Internal error: .{0,120}\[#|^Internal error: Oops"),
    _kind("invalid-opcode-bug", "ASSERTION FAILED", "kernel BUG" + IN,
          pattern=r"^ASSERTION FAILED", needs=r"kernel BUG|Oops|RIP: "),
    _kind("page-fault", "Oops", "Oops" + IN,
          pattern=r"^(?:\w[\w ,:.()-]{0,80}: )?Oops(?:: .{0,120}|)? ?\[#\d{1,4}\]|"
                  r"^(?:[\w: ]{0,40})?Oops: [0-9a-f]{4}\b"),
    _kind("page-fault", "Unable to handle kernel", _PAGING,
          pattern=r"^Unable to handle kernel (?!NULL)\S", needs=_BODY),
)  # fmt: skip

_OTHERS = (  # arch/powerpc/kernel/traps.c, arch/mips, drivers/acpi/apei
    _kind("page-fault", "Kernel access of bad area", "Oops" + IN,
          pattern=r"^(?:Oops: )?Kernel access of bad area"),
    _kind("machine-check", "Machine Check Exception", "kernel panic: Machine check", Blame.NONE,
          Weight.HANG, pattern=r"(?:\[Hardware Error\]|HARDWARE ERROR|^CPU).{0,60}Machine Check "
          r"Exception: {1,4}(?!0 )[0-9a-f]"),
    _kind("machine-check", "Hardware Error]: CPU ", "kernel panic: Machine check", Blame.NONE,
          Weight.HANG, pattern=r"\[Hardware Error\]: CPU \d{1,5}: Machine Check: "),
    _kind("nmi", "NMI received for unknown reason", "Uhhuh. NMI received for unknown reason",
          Blame.NONE, Weight.NOTICE, pattern=r"NMI received for unknown reason"),
    _kind("nmi", "NMI: IOCK error", "NMI: IOCK error", Blame.NONE, Weight.NOTICE),
)  # fmt: skip

FAULTS = (*_PAGE_FAULTS, *_TRAPS, *_OTHERS)
"""Rows, the more particular before the more general of one line."""
