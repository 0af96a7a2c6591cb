"""Reports of what does not move: lockups, stalls, hung tasks, sleeping where one must not."""

from __future__ import annotations

from crashkit.oops import layers
from crashkit.oops.kind import IN, Blame, Weight
from crashkit.oops.kind import make_kind as _kind

HANGS = (  # kernel/watchdog*.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, kernel/workqueue.c
    _kind("soft-lockup", "soft lockup", "BUG: soft lockup" + IN, Blame.ENTRY, Weight.HANG,
          pattern=r"BUG: soft lockup(?: -|$| detected)"),
    _kind("hard-lockup", "hard LOCKUP", "BUG: hard lockup" + IN, Blame.ENTRY, Weight.FATAL,
          pattern=r"[Ww]atchdog.{0,40}hard LOCKUP"),
    _kind("hard-lockup", "NMI Watchdog detected LOCKUP", "BUG: hard lockup" + IN, Blame.ENTRY),
    _kind("rcu-stall", "stall", "INFO: rcu detected stall" + IN, Blame.ENTRY, Weight.HANG,
          pattern=r"INFO: (?!.{0,60}did not).{1,24} (?:self-)?detected (?:expedited )?stalls?\b",
          skip=layers.RCU),
    _kind("hung-task", "blocked for more than", "INFO: task hung" + IN, Blame.WAITER,
          Weight.HANG,
          pattern=r"(?:^(?:INFO: )?task )?(?P<comm>.{1,64}):(?P<pid>\d{1,9}) blocked for more than"
                  r" (?P<seconds>\d{1,9}) seconds", skip=layers.SLEEPING),
    _kind("hung-task", "blocked in I/O wait for more", "INFO: task hung" + IN, Blame.WAITER,
          Weight.HANG,
          pattern=r"INFO: task (?P<comm>.{1,64}):(?P<pid>\d{1,9}) blocked in I/O wait for more "
                  r"than (?P<seconds>\d{1,9}) seconds", skip=layers.SLEEPING),
    _kind("hung-task", "can't die for more than", "INFO: task can't die" + IN, Blame.CALLER,
          Weight.HANG, pattern=r"INFO: task .{1,80} can't die", skip=layers.SCHEDULER),
    _kind("soft-lockup", "BUG: workqueue lockup", "BUG: workqueue lockup", Blame.NONE,
          Weight.HANG),
    _kind("warning", "unregister_netdevice: waiting for",
          "unregister_netdevice: waiting for DEV to become free", Blame.NONE, Weight.HANG,
          pattern=r"unregister_netdevice: waiting for .{1,40} to become free", single=True),
    _kind("spinlock-deadlock", "BUG: spinlock", "BUG: spinlock {what}" + IN, Blame.CALLER,
          Weight.HANG, pattern=r"BUG: spinlock (?P<what>(?:cpu )?recursion|lockup(?: suspected)?|"
          r"bad magic|already unlocked|wrong (?:owner|CPU)|trylock failure on UP)",
          skip=layers.SPINNING),
    _kind("spinlock-deadlock", "BUG: rwlock", "BUG: rwlock {what}" + IN, Blame.CALLER,
          Weight.HANG, pattern=r"BUG: rwlock(?P<what> [\w ]{1,30}?|-lockup)(?: on|$)",
          skip=layers.SPINNING),
    _kind("scheduling-while-atomic", "scheduling while atomic",
          "BUG: scheduling while atomic" + IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"(?:BUG: |bad: )scheduling while atomic",
          skip=layers.SCHEDULER),
    _kind("scheduling-while-atomic", "sleeping function called from invalid context",
          "BUG: sleeping function called from invalid context" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"(?:BUG|Debug): sleeping function called from invalid context"),
)  # fmt: skip
"""Rows, the more particular before the more general of one line."""
