"""What the kernel prints when it dies, hangs or warns: one row for each kind of report.

The titles follow syzkaller's grammar, so that a search for one finds the reports of
others. ``{function}`` is the function the report is about; where none can be named the
title ends before " in".
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Blame(enum.Enum):
    """How the function in a title is chosen."""

    NONE = "none"
    """The title names no function."""
    INNERMOST = "innermost"
    """The interrupted function, else the first of the trace; library helpers skipped."""
    CALLER = "caller"
    """The first function of the trace that is no part of the check that reported."""
    ENTRY = "entry"
    """Where a generic dispatcher entered the code that does not end (stalls)."""
    LINE = "line"
    """Named in the opening line itself, else as ``CALLER``."""


class Weight(enum.IntEnum):
    """How a report of this kind stands to the end of the kernel."""

    NOTICE = 0
    """The kernel goes on: warnings, lock checks, leaks."""
    HANG = 1
    """Something does not move; fatal only where the system was told to panic."""
    FATAL = 2
    """The task or the kernel ends here."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way the kernel opens a report."""

    kind: str
    """``panic.kind`` of the report document."""
    trigger: str
    """Text that every match contains; found before the pattern is tried."""
    pattern: str
    """Regular expression searched in the opening line, prefix stripped. Text, and compiled
    at its first use: of the many rows a log needs few."""
    title: str
    blame: Blame
    weight: Weight
    skip: str | None = None
    """Regular expression: functions, besides the usual ones, that the title is not about."""


def _kind(
    kind: str,
    trigger: str,
    title: str,
    blame: Blame = Blame.INNERMOST,
    weight: Weight = Weight.FATAL,
    *,
    pattern: str | None = None,
    skip: str | None = None,
) -> Kind:
    searched = re.escape(trigger) if pattern is None else pattern
    return Kind(kind, trigger, searched, title, blame, weight, skip)


_IN = " in {function}"

_FAULTS = (  # arch/x86/mm/fault.c, arch/x86/kernel/traps.c, arch/x86/kernel/dumpstack.c
    _kind("null-pointer-dereference", "kernel NULL pointer dereference",
          "BUG: unable to handle kernel NULL pointer dereference" + _IN,
          pattern=r"(?:BUG: |Unable to handle )(?:unable to handle )?kernel NULL pointer"),
    _kind("exec-fault", "kernel tried to execute NX-protected page",
          "BUG: unable to handle kernel paging request" + _IN),
    _kind("exec-fault", "unable to execute userspace code (SMEP?)",
          "BUG: unable to handle kernel paging request" + _IN),
    _kind("page-fault", "unable to handle kernel access to user memory",
          "BUG: unable to handle kernel access to user memory" + _IN),
    _kind("page-fault", "paging request", "BUG: unable to handle kernel paging request" + _IN,
          pattern=r"(?i:unable to handle (?:kernel )?paging request)"),
    _kind("page-fault", "unable to handle page fault for address",
          "BUG: unable to handle kernel paging request" + _IN),
    _kind("page-fault", "BUG: unable to handle kernel", "BUG: unable to handle kernel",
          pattern=r"^BUG: unable to handle kernel\s*$", blame=Blame.NONE),
    _kind("general-protection", "general protection fault",
          "general protection fault" + _IN,
          pattern=r"general protection fault[,:].{0,160}\[#|general protection fault: \d{4}"),
    _kind("general-protection", "stack segment: ", "stack segment fault" + _IN,
          pattern=r"stack segment: \d{4}"),
    _kind("divide-error", "divide error: ", "divide error" + _IN,
          pattern=r"divide error: \d{4}"),
    _kind("invalid-opcode-bug", "kernel BUG at ", "kernel BUG" + _IN,
          pattern=r"kernel BUG at (?P<where>\S{1,200})"),
    _kind("invalid-opcode-bug", "invalid opcode: ", "invalid opcode" + _IN,
          pattern=r"invalid opcode: \d{4}"),
    _kind("double-fault", "PANIC: double fault", "PANIC: double fault" + _IN),
    _kind("double-fault", "double fault: ", "PANIC: double fault" + _IN,
          pattern=r"double fault: \d{4}"),
    _kind("stack-overflow", "stack guard page was hit", "BUG: stack guard page was hit" + _IN),
    _kind("stack-overflow", "kernel stack overflow", "kernel stack overflow" + _IN,
          pattern=r"kernel stack overflow \("),
    _kind("general-protection", "traps: PANIC: ", "{trap}" + _IN,
          pattern=r"traps: (?P<trap>PANIC: [\w ]{1,40})"),
    _kind("write-protect", "kernel tried to write to a read-only",
          "BUG: unable to handle kernel paging request" + _IN),
    _kind("page-fault", "Oops: ", "Oops" + _IN, pattern=r"Oops: [0-9a-f]{4} \[#\d{1,4}\]"),
    _kind("page-fault", "Internal error: ", "Internal error" + _IN,
          pattern=r"Internal error: .{0,120}\[#"),
    _kind("page-fault", "Unhandled fault: ", "Unhandled fault" + _IN),
    _kind("page-fault", "Alignment trap: ", "Alignment trap" + _IN),
)  # fmt: skip

_MEMORY = (  # mm/, lib/list_debug.c, lib/refcount.c, mm/kasan/report.c
    _kind("list-corruption", "list_add ", "BUG: corrupted list" + _IN, Blame.CALLER,
          pattern=r"list_add (?:corruption|double add)", skip=r"__list_(?:add|del)|list_"),
    _kind("list-corruption", "list_del corruption", "BUG: corrupted list" + _IN, Blame.CALLER,
          skip=r"__list_(?:add|del)|list_"),
    _kind("refcount", "refcount_t: ", "WARNING: refcount bug" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"refcount"),
    _kind("usercopy", "usercopy: Kernel memory ", "BUG: bad usercopy" + _IN, Blame.CALLER,
          pattern=r"usercopy: Kernel memory (?:exposure|overwrite) attempt",
          skip=r"usercopy|check_object|copy_(?:to|from)|_copy_"),
    _kind("bad-page", "BUG: Bad page state", "BUG: Bad page state" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"^bad_page|free_(?:pcp|pages|unref|page)|get_page_from|prep_new"),
    _kind("bad-page", "BUG: Bad page map", "BUG: Bad page map" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"^print_bad_pte"),
    _kind("bad-page", "BUG: Bad rss-counter state", "BUG: Bad rss-counter state", Blame.NONE,
          Weight.NOTICE),
    _kind("slab-corruption", "BUG: KASAN: ", "KASAN: {what}{access}" + _IN, Blame.LINE,
          pattern=r"BUG: KASAN: (?P<what>[\w -]{1,40}?) in (?:\[?<?)(?P<function>[\w.]{1,128})"),
    _kind("slab-corruption", "BUG: KASAN: ", "KASAN: {what}{access}" + _IN, Blame.CALLER,
          pattern=r"BUG: KASAN: (?P<what>[\w -]{1,40}?) (?:on|in) ", skip=r"kasan"),
    _kind("slab-corruption", "BUG: KFENCE: ", "KFENCE: {what}" + _IN, Blame.LINE,
          pattern=r"BUG: KFENCE: (?P<what>[\w -]{1,40}?) in (?P<function>[\w.]{1,128})"),
    _kind("warning", "BUG: KMSAN: ", "KMSAN: {what}" + _IN, Blame.LINE, Weight.NOTICE,
          pattern=r"BUG: KMSAN: (?P<what>[\w -]{1,40}?) in (?P<function>[\w.]{1,128})"),
    _kind("warning", "BUG: KCSAN: ", "KCSAN: {what}", Blame.NONE, Weight.NOTICE,
          pattern=r"BUG: KCSAN: (?P<what>[\w -]{1,40} in .{1,160})"),
    _kind("slab-corruption", "BUG ", "BUG: {what}", Blame.NONE, Weight.NOTICE,
          pattern=r"^BUG [\w:.-]{1,64} \((?:Not tainted|Tainted.{0,40})\): "
                  r"(?P<what>(?!kasan).{1,60})"),
    _kind("warning", "memory leak", "memory leak" + _IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"^BUG: memory leak", skip=r"alloc|kmemleak|kmemdup|kstrdup"),
    _kind("warning", "UBSAN: ", "UBSAN: {what}" + _IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"UBSAN: (?P<what>[\w -]{1,60}?) in ", skip=r"ubsan"),
    _kind("stack-corruption", "corrupted stack end detected",
          "kernel panic: corrupted stack end" + _IN, Blame.CALLER,
          pattern=r"panic - not syncing: corrupted stack end", skip=r"schedule|^panic"),
    _kind("stack-corruption", "stack is corrupted in",
          "kernel panic: stack is corrupted" + _IN, Blame.LINE,
          pattern=r"[Ss]tack is corrupted in:? ?(?:\[<\w+>\] ?)?"
                  r"(?P<function>[A-Za-z_][\w.]{0,127}(?=\+0x))?"),
    _kind("oom", "invoked oom-killer", "INFO: out of memory" + _IN, Blame.NONE, Weight.NOTICE),
)  # fmt: skip

_HANGS = (  # kernel/watchdog*.c, kernel/hung_task.c, kernel/rcu/tree_stall.h
    _kind("soft-lockup", "soft lockup - CPU#", "BUG: soft lockup" + _IN, Blame.ENTRY,
          Weight.HANG),
    _kind("hard-lockup", "hard LOCKUP", "BUG: hard lockup" + _IN, Blame.ENTRY, Weight.FATAL,
          pattern=r"[Ww]atchdog.{0,40}hard LOCKUP|Watchdog detected hard LOCKUP"),
    _kind("rcu-stall", "INFO: rcu", "INFO: rcu detected stall" + _IN, Blame.ENTRY, Weight.HANG,
          pattern=r"INFO: rcu\w{0,20} (?:self-)?detected (?:expedited )?stall"),
    _kind("rcu-stall", "detected stall", "INFO: rcu detected stall" + _IN, Blame.ENTRY,
          Weight.HANG, pattern=r"INFO: .{1,20} (?:self-)?detected (?:expedited )?stalls? on"),
    _kind("hung-task", "blocked for more than", "INFO: task hung" + _IN, Blame.CALLER,
          Weight.HANG,
          pattern=r"INFO: task (?P<comm>.{1,64}):(?P<pid>\d{1,9}) blocked for more than"
                  r" (?P<seconds>\d{1,9}) seconds",
          skip=r"schedul|^wait_|_wait$|wait_(?:for|on)|^io_schedule|mutex_lock|rwsem|^down_|^__down"
               r"|^_?raw_|rwlock|percpu_down|^bit_wait|timeout|^context_switch|completion"
               r"|^cv_wait|^__wait|^do_wait|lock_page|folio_lock"),
    _kind("hung-task", "can't die for more than", "INFO: task can't die" + _IN, Blame.CALLER,
          Weight.HANG, pattern=r"INFO: task .{1,80} can't die", skip=r"schedul|^wait_|^__wait"),
    _kind("soft-lockup", "BUG: workqueue lockup", "BUG: workqueue lockup", Blame.NONE,
          Weight.HANG),
    _kind("spinlock-deadlock", "BUG: spinlock", "BUG: spinlock {what}" + _IN, Blame.CALLER,
          Weight.HANG, pattern=r"BUG: spinlock (?P<what>recursion|lockup suspected|bad magic|"
          r"already unlocked|wrong (?:owner|CPU))", skip=r"spin_?(?:un)?lock|spin_dump|spin_bug"),
    _kind("spinlock-deadlock", "BUG: rwlock", "BUG: rwlock {what}" + _IN, Blame.CALLER,
          Weight.HANG, pattern=r"BUG: rwlock (?P<what>[\w ]{1,30}?)(?: on|$)", skip=r"lock"),
    _kind("scheduling-while-atomic", "scheduling while atomic",
          "BUG: scheduling while atomic" + _IN, Blame.CALLER, Weight.NOTICE,
          skip=r"schedul|wait|mutex_|^down|timeout"),
    _kind("scheduling-while-atomic", "sleeping function called from invalid context",
          "BUG: sleeping function called from invalid context" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"might_|resched|^mutex_|^down|alloc_pages|slab|kmalloc|kmem_cache|"
          r"^lock_sock"),
)  # fmt: skip

_LOCKING = (  # kernel/locking/lockdep.c, lib/smp_processor_id.c
    _kind("warning", "possible circular locking dependency", "possible deadlock" + _IN,
          Blame.CALLER, Weight.NOTICE, skip=r"lock|mutex|^down|lockdep|check_"),
    _kind("warning", "possible recursive locking", "possible deadlock" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"lock|mutex|^down|lockdep|check_"),
    _kind("warning", "possible irq lock inversion", "possible deadlock" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"lock|mutex|^down|lockdep|check_"),
    _kind("warning", "-safe -> ", "possible deadlock" + _IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"\w-safe -> \w{1,20}-unsafe lock order", skip=r"lock|mutex|^down|check_"),
    _kind("warning", "inconsistent lock state", "inconsistent lock state" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"lock|mutex|^down|mark_|print_|valid_state"),
    _kind("warning", "bad unlock balance", "BUG: bad unlock balance" + _IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"bad unlock balance detected", skip=r"lock|^up_|mutex|unlock"),
    _kind("warning", "suspicious RCU usage", "WARNING: suspicious RCU usage" + _IN,
          Blame.CALLER, Weight.NOTICE, pattern=r"WARNING: suspicious RCU usage",
          skip=r"lockdep|kmem_cache|kmalloc|slab|vmalloc|^_copy_"),
    _kind("warning", "suspicious RCU usage", "INFO: suspicious RCU usage" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"lockdep|kmem_cache|kmalloc|slab|vmalloc|^_copy_"),
    _kind("warning", "trying to register non-static key",
          "INFO: trying to register non-static key" + _IN, Blame.CALLER, Weight.NOTICE,
          skip=r"lock|register_|mutex|^down|flush_work|del_timer|assign_"),
    _kind("warning", "held lock freed", "BUG: held lock freed" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"lock|free"),
    _kind("warning", "still has locks held", "WARNING: still has locks held" + _IN,
          Blame.CALLER, Weight.NOTICE, skip=r"lock"),
    _kind("warning", "using smp_processor_id() in preemptible",
          "BUG: using smp_processor_id() in preemptible code" + _IN, Blame.CALLER,
          Weight.NOTICE, skip=r"smp_processor_id|check_preempt"),
    _kind("warning", "using __this_cpu_", "BUG: using {what}() in preemptible code" + _IN,
          Blame.CALLER, Weight.NOTICE, pattern=r"using (?P<what>__this_cpu_\w{1,20})\(\) in pree",
          skip=r"this_cpu|check_preempt"),
    _kind("warning", "workqueue leaked lock or atomic",
          "BUG: workqueue leaked lock or atomic" + _IN, Blame.CALLER, Weight.NOTICE,
          skip=r"process_one_work|dump_stack"),
    _kind("warning", "MAX_", "BUG: {what} too low!", Blame.NONE, Weight.NOTICE,
          pattern=r"BUG: (?P<what>MAX_[A-Z_]{1,40}) too low"),
    _kind("warning", "ODEBUG: ", "WARNING: ODEBUG bug" + _IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"ODEBUG: (?:free|assert|activate|init|deactivate|destroy)",
          skip=r"debug_|slab_free|^k?v?free|free_hook|kmem_cache_free|destroy_timer|del_timer"),
    _kind("warning", "BUG: Dentry ", "BUG: Dentry still in use" + _IN, Blame.NONE,
          Weight.NOTICE, pattern=r"BUG: Dentry .{1,200} still in use"),
)  # fmt: skip

_WARNINGS = (  # kernel/panic.c: __warn(); the second form is that of v6.18 and later
    _kind("warning", "WARNING: CPU: ", "WARNING" + _IN, Blame.LINE, Weight.NOTICE,
          pattern=r"WARNING: CPU: \d{1,5} PID: \d{1,9} at (?P<where>\S{1,200}) "
                  r"(?P<function>[\w.]{1,128})"),
    _kind("warning", "WARNING: ", "WARNING" + _IN, Blame.LINE, Weight.NOTICE,
          pattern=r"WARNING: (?P<where>[\w./-]{1,200}:\d{1,6}) at "
                  r"(?P<function>[\w.]{1,128})\+0x"),
    _kind("warning", "WARNING: at ", "WARNING" + _IN, Blame.LINE, Weight.NOTICE,
          pattern=r"WARNING: at (?P<where>\S{1,200}) (?P<function>[\w.]{1,128})"),
)  # fmt: skip

_PANICS = (  # callers of panic(); the others get the title "kernel panic: <reason>"
    _kind("init-killed", "Attempted to kill init!", "kernel panic: Attempted to kill init!",
          Blame.NONE, pattern=r"panic - not syncing: Attempted to kill init!"),
    _kind("no-root-fs", "Unable to mount root fs",
          "kernel panic: VFS: Unable to mount root fs on unknown-block(NUM,NUM)", Blame.NONE,
          pattern=r"panic - not syncing: VFS: Unable to mount root fs"),
    _kind("no-root-fs", "No working init found", "kernel panic: No working init found.",
          Blame.NONE, pattern=r"panic - not syncing: No working init found"),
    _kind("oom", "Out of memory", "kernel panic: Out of memory", Blame.NONE,
          pattern=r"panic - not syncing: Out of memory"),
    _kind("oom", "System is deadlocked on memory",
          "kernel panic: System is deadlocked on memory", Blame.NONE),
    _kind("machine-check", "achine check", "kernel panic: {what}", Blame.NONE,
          pattern=r"panic - not syncing: (?P<what>(?:Fatal |fatal )?[Mm]achine check.{0,60})"),
    _kind("machine-check", "entered broadcast exception handler",
          "kernel panic: Timeout: Not all CPUs entered broadcast exception handler", Blame.NONE),
    _kind("nmi", "NMI", "kernel panic: {what}", Blame.NONE,
          pattern=r"panic - not syncing: (?P<what>NMI\b.{0,60})"),
    _kind("sysrq", "sysrq triggered crash", "kernel panic: sysrq triggered crash", Blame.NONE),
    _kind("hung-task", "hung_task: blocked tasks", "kernel panic: hung_task: blocked tasks",
          Blame.NONE),
    _kind("soft-lockup", "softlockup: hung tasks", "kernel panic: softlockup: hung tasks",
          Blame.NONE),
    _kind("hard-lockup", "Hard LOCKUP", "kernel panic: Hard LOCKUP", Blame.NONE,
          pattern=r"panic - not syncing: Hard LOCKUP"),
    _kind("rcu-stall", "RCU Stall", "kernel panic: RCU Stall", Blame.NONE),
    _kind("panic-other", "Kernel panic - not syncing", "kernel panic: {what}", Blame.NONE,
          pattern=r"Kernel panic - not syncing(?:: |\.\.\.|: ?$)(?P<what>.{0,80})"),
)  # fmt: skip

SYSRQ = _kind("sysrq", "rigger a crash", "kernel panic: sysrq triggered crash", Blame.NONE,
              pattern=r"(?i:^sysrq ?: trigger a crash)")  # fmt: skip
"""drivers/tty/sysrq.c: sysrq_handle_crash() and the line printed before it."""

KINDS: tuple[Kind, ...] = (
    SYSRQ,
    *_FAULTS,
    *_MEMORY,
    *_HANGS,
    *_LOCKING,
    *_WARNINGS,
    *_PANICS,
)
"""All rows, the more particular before the more general of one line."""

GENERIC_PANICS = re.compile(
    r"Fatal exception|panic_on_warn set|panic_on_oops|Fatal hardware error|Oops|"
    r"(?:softlockup|hung_task): |Hard LOCKUP|RCU Stall|Out of memory|deadlocked on memory|"
    r"Aiee, killing interrupt handler|Attempted to kill|kernel stack overflow|Machine halted|"
    r"sysrq triggered crash|stack guard page|BUG!$|KASAN|UBSAN"
)
"""Panic reasons that name no cause of their own where a report stands before them."""
