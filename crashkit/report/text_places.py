"""Tasks and places in code as the blocks about hangs write them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crashkit.report.columns import bare
from crashkit.report.parts import Json

_TREE = re.compile(
    r"/(?:\S*/)?(?=(?:arch|block|certs|crypto|drivers|fs|include|init|io_uring|ipc|kernel|lib|mm"
    r"|net|rust|samples|security|sound|tools|usr|virt)/)"
)
"""Where a kernel was built: the path before the directories of its tree."""


def source_line(text: str) -> str:
    """Write a source line as the kernel's tree names it: ``arch/x86/entry/entry_64.S:121``."""
    return _TREE.sub("", text, count=1) if text.startswith("/") else text


def task_name(task: Json) -> str:
    """Write a task: ``kworker/0:1 (12)``; its address where nothing else is known."""
    if task.get("comm") is None and task.get("pid") is None:
        return f"task {number(task.get('task'))}"
    return f"{task['comm'] or '?'} ({'?' if task['pid'] is None else task['pid']})"


def number(value: str | int | None) -> str:
    """Write an address of a section: those outside the kernel's half come as numbers."""
    return f"{value:#x}" if isinstance(value, int) else bare(value)


def place(where: Json | None) -> str:
    """Write a place: ``function+0x2d [module]``."""
    if where is None:
        return "?"
    if where["function"] is None:
        return number(where["pc"])
    offset = where["offset"]
    plus = "" if offset is None else f"+{offset:#x}"
    return f"{where['function']}{plus}" + (f" [{where['module']}]" if where["module"] else "")


def callers(names: Sequence[str]) -> str:
    """Write the callers of a place, nearest first: `` < caller < its caller``."""
    return "".join(f" < {name}" for name in names)


def seconds(value: float | None) -> str:
    """Write a time in seconds: ``10.3 s``."""
    return "? s" if value is None else f"{value:.1f} s"
