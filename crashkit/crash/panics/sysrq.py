"""``sysrq``: who asked for the crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.process import Process, read_process
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

# drivers/tty/sysrq.c: by what the key came, the outermost function that tells first.
_WAYS = (
    ("write_sysrq_trigger", "/proc/sysrq-trigger"),
    ("sysrq_filter", "keyboard"),
    ("sysrq_handle_keypress", "keyboard"),
    ("uart_handle_sysrq_char", "serial line"),
    ("uart_unlock_and_check_sysrq", "serial line"),
    ("hvc_poll", "hypervisor console"),
    ("xenbus_thread", "Xen toolstack"),
    ("sysrq_handler", "Xen toolstack"),
)


@facts
class SysRq:
    """A crash that was asked for. A None field has its reason in ``absent``."""

    way: str | None
    """``/proc/sysrq-trigger``, ``keyboard``, ``serial line``, …"""
    by: Process | None
    """The process that wrote; for a key the one that was interrupted says nothing."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> SysRq | None:
    """Say by what way the crash was asked for and by whom; None where nobody asked for it."""
    if crash.oops is not None and not crash.oops.intentional:
        return None
    if crash.oops is None and not crash.has_frame("sysrq_handle_crash"):
        return None
    names = {frame.function for frame in crash.frames}
    way = next((words for function, words in _WAYS if function in names), None)
    absent: dict[str, Reason] = {} if way else {"way": Reason.NOT_SAVED}
    by = None
    if crash.thread.task is not None and way in (None, "/proc/sysrq-trigger"):
        try:
            by = read_process(Object(crash.prog, "struct task_struct *", crash.thread.task))
        except Unavailable as missing:
            absent["by"] = missing.reason
    return SysRq(way=way, by=by, absent=absent)
