"""Where the crashed task ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.task_setting import TaskSetting, decode_task_setting
from crashkit.errors import Unavailable

if TYPE_CHECKING:
    from crashkit.crash.core import Crash


def read(crash: Crash) -> TaskSetting | None:
    """Read the crashed task's setting; None where no task is known, or it is an idle one.

    :raises Unavailable: its memory is not in the dump
    """
    thread = crash.thread
    if thread.task is None or thread.pid == 0:
        return None
    try:
        task = Object(crash.prog, "struct task_struct *", thread.task)
    except LookupError:
        return None  # types are missing, which the report says already
    setting = decode_task_setting(task)
    if setting.pid is None:
        raise Unavailable("the crashed task's setting", setting.absent["pid"])
    return setting
