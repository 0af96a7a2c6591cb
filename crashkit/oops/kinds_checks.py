"""Reports of the kernel's own checks, after which it goes on: lockdep, WARN(), debug options."""

from __future__ import annotations

from dataclasses import dataclass

from crashkit.oops import layers
from crashkit.oops.kind import IN, Blame, Weight
from crashkit.oops.kind import make_kind as _kind
from crashkit.oops.skips import Family

_HEAD = r"(?:WARNING|INFO): (?:\w{1,12} )?"
_ACQUIRE = r"is trying to (?:acquire|take)"

LOCKING = (  # kernel/locking/lockdep.c
    _kind("warning", "possible circular locking dependency", "possible deadlock" + IN,
          Blame.LOCK, Weight.NOTICE, skip=layers.WORK_QUEUES, after=_ACQUIRE),
    _kind("warning", "possible recursive locking", "possible deadlock" + IN, Blame.LOCK,
          Weight.NOTICE, skip=layers.NOBODY, after=_ACQUIRE),
    _kind("warning", "possible irq lock inversion", "possible deadlock" + IN, Blame.LOCK,
          Weight.NOTICE, skip=layers.NOBODY, after=r"just changed the state of lock"),
    _kind("warning", "-unsafe lock order", "possible deadlock" + IN, Blame.ORIGIN, Weight.NOTICE,
          pattern=r"\w-(?:READ-)?safe -> \w{1,20}(?:-READ)?-unsafe lock order",
          after=r"which became .{1,60} at:"),
    _kind("warning", "INFO: inconsistent lock state", "inconsistent lock state" + IN,
          Blame.LOCK, Weight.NOTICE, skip=layers.NOBODY, after=r"takes:"),
    _kind("warning", "inconsistent lock state", "inconsistent lock state" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"^(?:\W|WARNING: )*inconsistent lock state",
          skip=layers.LOCK_STATE),
    _kind("warning", "bad unlock balance", "{level}: bad unlock balance" + IN, Blame.LOCK,
          Weight.NOTICE, pattern=r"(?P<level>BUG|WARNING): bad unlock balance detected",
          after=r"is trying to release lock"),
    _kind("warning", "bad contention detected", "{level}: bad contention" + IN, Blame.LOCK,
          Weight.NOTICE, pattern=r"(?P<level>BUG|WARNING): bad contention detected",
          after=r"is trying to contend lock"),
    _kind("warning", "suspicious RCU usage", "{level}: suspicious RCU usage" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"(?P<level>WARNING|INFO): suspicious RCU usage",
          skip=layers.READERS),
    _kind("warning", "suspicious rcu_dereference_check", "INFO: suspicious RCU usage" + IN,
          Blame.CALLER, Weight.NOTICE, pattern=r"suspicious rcu_dereference_check\(\) usage",
          skip=layers.READERS),
    _kind("warning", "trying to register non-static key",
          "INFO: trying to register non-static key" + IN, Blame.CALLER, Weight.NOTICE,
          skip=layers.LOCK_KEYS),
    _kind("warning", "held lock freed", "{level}: held lock freed" + IN, Blame.LOCK,
          Weight.NOTICE, pattern=r"(?P<level>BUG|WARNING): held lock freed",
          after=r"is freeing memory", skip=layers.NOBODY),
    _kind("warning", "still has locks held", "{level}: still has locks held" + IN,
          Blame.LOCK, Weight.NOTICE, pattern=r"(?P<level>BUG|WARNING): .{0,80}still has locks held",
          after=r"locks? held by", skip=layers.NOBODY),
    _kind("warning", "lock held when returning to user space",
          "{level}: lock held when returning to user space" + IN, Blame.LOCK, Weight.NOTICE,
          pattern=r"(?P<level>BUG|WARNING): lock held when returning to user",
          after=r"leaving the kernel with locks still held", skip=layers.NOBODY),
    _kind("warning", "ested lock was not taken", "WARNING: nested lock was not taken" + IN,
          Blame.INNERMOST, Weight.NOTICE, pattern=r"WARNING: [Nn]ested lock was not taken"),
    _kind("warning", "nvalid wait context", "WARNING: locking bug" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"BUG: Invalid wait context", skip=layers.SOCKET_LOCK),
    _kind("warning", "MAX_", "BUG: {what} too low!", Blame.NONE, Weight.NOTICE,
          pattern=r"BUG: (?P<what>MAX_[A-Z_]{1,40}) too low"),
)  # fmt: skip

CHECKS = (  # lib/smp_processor_id.c, lib/debugobjects.c, kernel/workqueue.c
    _kind("warning", "preemptible", "BUG: using {what}() in preemptible code" + IN, Blame.CALLER,
          Weight.NOTICE, pattern=r"using (?P<what>[\w]{1,40})\(\) in preemptible",
          skip=layers.PER_CPU),
    _kind("warning", "workqueue leaked lock or atomic",
          "BUG: workqueue leaked lock or atomic" + IN, Blame.WORK, Weight.NOTICE),
    _kind("warning", "ODEBUG: ", "WARNING: ODEBUG bug" + IN, Blame.CALLER, Weight.NOTICE,
          pattern=r"^ODEBUG: (?:free|assert|activate|init|deactivate|destroy)",
          skip=layers.TRACKED),
    _kind("warning", "kernel stack regs at ", "WARNING: kernel stack regs has bad {what} value",
          Blame.NONE, Weight.NOTICE,
          pattern=r"WARNING: kernel stack regs at \S{1,20} in .{1,40} has bad (?P<what>'\w{1,8}')"),
    _kind("warning", "kernel stack frame pointer at ",
          "WARNING: kernel stack frame pointer has bad value", Blame.NONE, Weight.NOTICE),
)  # fmt: skip

_PLACE = r"(?P<where>[^\s:\[\]]{1,200}:\d{1,6})"
_FUNCTION = r"\.?(?P<function>[A-Za-z_][\w.]{0,127})"

WARNINGS = (  # kernel/panic.c: __warn(); the form "FILE:LINE at FUNCTION" is that of v6.19
    _kind("warning", "WARNING: CPU: ", "WARNING" + IN, Blame.LINE, Weight.NOTICE,
          pattern=rf"WARNING: CPU: \d{{1,5}} PID: \d{{1,9}} at {_PLACE} {_FUNCTION}"),
    _kind("warning", "WARNING: ", "WARNING" + IN, Blame.LINE, Weight.NOTICE,
          pattern=rf"WARNING: (?:\[.{{1,300}}\] )?{_PLACE} at "
                  rf"(?:{_FUNCTION}\+0x|0x[0-9a-f]+, CPU#)"),
    _kind("warning", "WARNING: at", "WARNING" + IN, Blame.LINE, Weight.NOTICE,
          pattern=rf"WARNING: at ?{_PLACE}(?: {_FUNCTION})?"),
    _kind("warning", "Badness in ", "WARNING" + IN, Blame.LINE, Weight.NOTICE,
          pattern=rf"^Badness in {_FUNCTION} at {_PLACE}"),
    _kind("warning", "Badness at ", "WARNING" + IN, Blame.INNERMOST, Weight.NOTICE,
          pattern=rf"^Badness at {_PLACE}"),
    _kind("warning", "BUG: warning at ", "WARNING" + IN, Blame.LINE, Weight.NOTICE,
          pattern=r"BUG: warning at (?P<where>[^\s:]{1,200}:\d{1,6})/(?P<function>[\w.]{1,128})"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LibraryCheck:
    """A WARN() in a library: the title names the check and the caller that failed it."""

    where: str
    """Regular expression searched in the file and line of the WARN()."""
    function: str
    """Regular expression searched in the function it stands in, where one is printed."""
    title: str
    skip: Family | None
    """Functions of that library."""
    kind: str = "warning"


LIBRARY_CHECKS = (
    LibraryCheck(r"lib/refcount\.c", "", "WARNING: refcount bug" + IN, layers.COUNTED, "refcount"),
    LibraryCheck(r"lib/rcuref\.c", "", "WARNING" + IN, layers.COUNTED, "refcount"),
    LibraryCheck(r"lib/list_debug\.c", "", "WARNING" + IN, None, "list-corruption"),
    LibraryCheck(r"lib/debugobjects\.c", "", "WARNING: ODEBUG bug" + IN, layers.TRACKED),
    LibraryCheck(r"lib/kobject\.c", "", "WARNING: kobject bug" + IN, layers.KOBJECTS),
    LibraryCheck(r"kernel/locking/lockdep\.c", r"lock_", "WARNING: locking bug" + IN,
                 layers.SOCKET_LOCK),
    LibraryCheck(r"fs/proc/generic\.c", r"^proc_register|^$", "WARNING: proc registration bug" + IN,
                 layers.PROC_ENTRIES),
    LibraryCheck(r"mm/usercopy\.c", "", "WARNING: bad usercopy" + IN, layers.COPIED, "usercopy"),
    LibraryCheck(r"mm/vmalloc\.c", r"__vmalloc_node", "WARNING: zero-size vmalloc" + IN, None),
    LibraryCheck(r"mm/\w{1,30}\.c", r"k.?malloc", "WARNING: kmalloc bug" + IN, layers.ALLOCATORS),
    LibraryCheck(r"", r"^usb_submit_urb$", "WARNING{slash_function}/usb_submit_urb", layers.URBS),
)  # fmt: skip
"""Files whose WARN() is about the caller; the first that fits."""
