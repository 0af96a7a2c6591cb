"""Reports of callers of panic(); those without a row get the title "kernel panic: <reason>"."""

from __future__ import annotations

from crashkit.oops import layers
from crashkit.oops.kind import IN, Blame, Kind
from crashkit.oops.kind import make_kind as _kind

_NOT_SYNCING = r"[Kk]ernel panic ?(?:- not syncing|: not syncing|:|-) ?:? ?"

_PANIC = "ernel panic"


def _reason(kind: str, trigger: str, title: str, reason: str) -> Kind:
    # A row for a reason given to panic().
    return _kind(kind, trigger, title, Blame.NONE, pattern=_NOT_SYNCING + reason, hub=_PANIC)


SYSRQ = _kind("sysrq", "rigger a crash", "kernel panic: sysrq triggered crash", Blame.NONE,
              pattern=r"(?i:^sysrq ?: trigger a crash)")  # fmt: skip
"""drivers/tty/sysrq.c: sysrq_handle_crash() and the line printed before it."""

PANICS = (
    _reason("init-killed", "ttempted to kill init", "kernel panic: Attempted to kill init!",
            r"Attempted to kill init\b"),
    _reason("no-root-fs", "nable to mount root", "kernel panic: {what}",
            r"(?P<what>VFS: Unable to mount root.{0,60})"),
    _reason("no-root-fs", "No ", "kernel panic: {what}", r"(?P<what>No (?:working )?init found\.)"),
    _reason("no-root-fs", "equested init ", "kernel panic: {what}",
            r"(?P<what>Requested init .{1,60} failed)"),
    _reason("oom", "ut of memory", "kernel panic: {what}",
            r"(?P<what>[Oo]ut of memory[^(]{0,80})"),
    _kind("oom", "System is deadlocked on memory",
          "kernel panic: System is deadlocked on memory", Blame.NONE),
    _reason("machine-check", "achine check", "kernel panic: {what}",
            r"(?P<what>(?:[Ff]atal |[Uu]nrecoverable )?[Mm]achine check.{0,60})"),
    _reason("machine-check", "hardware error", "kernel panic: {what}",
            r"(?P<what>Fatal hardware error.{0,40})"),
    _kind("machine-check", "entered broadcast exception handler",
          "kernel panic: Timeout: Not all CPUs entered broadcast exception handler", Blame.NONE),
    _reason("hard-lockup", "Hard LOCKUP", "kernel panic: {what}", r"(?P<what>Hard LOCKUP)"),
    _reason("hard-lockup", "hard LOCKUP", "kernel panic: {what}",
            r"(?P<what>Watchdog detected hard LOCKUP)"),
    _reason("nmi", "NMI", "kernel panic: {what}", r"(?P<what>.{0,30}\bNMI\b.{0,60})"),
    _kind("sysrq", "sysrq triggered crash", "kernel panic: sysrq triggered crash", Blame.NONE),
    _kind("hung-task", "hung_task: blocked tasks", "kernel panic: hung_task: blocked tasks",
          Blame.NONE),
    _kind("soft-lockup", "softlockup: hung tasks", "kernel panic: softlockup: hung tasks",
          Blame.NONE),
    _kind("rcu-stall", "RCU Stall", "kernel panic: RCU Stall", Blame.NONE),
    _kind("scheduling-while-atomic", "panic - not syncing: scheduling while atomic",
          "kernel panic: scheduling while atomic" + IN, Blame.CALLER, skip=layers.SCHEDULER),
    _kind("invalid-opcode-bug", "panic - not syncing: BUG!", "kernel panic: BUG!", Blame.NONE),
    _reason("panic-other", "ernel panic", "kernel panic: {what}",
            r"(?:\.\.\. ?)?(?P<what>.{0,80})"),
    _kind("invalid-opcode-bug", "rust_kernel: panicked", "{next_line}" + IN, Blame.CALLER,
          pattern=r"rust_kernel: panicked at (?P<where>\S{1,200}):", skip=layers.RUST_PANIC),
)  # fmt: skip
"""Rows, the more particular before the more general."""

GENERIC_PANICS = (
    r"[Ff]atal exception|panic_on_\w{1,20} set|panic_on_oops|Fatal hardware error|Oops|"
    r"(?:softlockup|hung_task): |Hard LOCKUP|hard LOCKUP|RCU Stall|[Oo]ut of memory|"
    r"deadlocked on memory|Aiee, killing interrupt handler|Attempted to kill|In interrupt handler|"
    r"kernel stack overflow|Machine halted|sysrq triggered crash|stack guard page|BUG!$|KASAN|"
    r"UBSAN|KFENCE|KCSAN|KMSAN|panic_on_taint|warn_limit|oops_limit|kernel: .{1,40} limit|"
    r"scheduling while atomic|Unable to continue|"
    r"Unrecoverable|fatal trap|Fatal trap|[Mm]achine check|"
    r"NMI: Not continuing"
)
"""Panic reasons that name no cause of their own where a report stands before them."""
