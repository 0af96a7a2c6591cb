"""``init``: why the first process ended: its exit code or signal, and what it ran."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

from crashkit.crash.panics.printed import find_printed
from crashkit.crash.panics.process import Process, read_process
from crashkit.crash.tasks import task_of_pid
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash


@facts
class InitEnded:
    """The first process ended. A None field has its reason in ``absent``."""

    exit_code: int | None
    """As the kernel has it: a signal in the low 7 bits, else the exit status times 256."""
    origin: str | None
    """``task``, ``log`` or ``task and log``."""
    status: int | None
    """What it gave to exit(); None: a signal ended it."""
    signal: str | None
    """The signal that ended it, e.g. ``SIGSEGV``; None: it exited by itself."""
    core_dumped: bool | None
    conflict: str | None
    process: Process | None
    absent: Mapping[str, Reason]


def read(crash: Crash) -> InitEnded | None:
    """Read how the first process ended; None where the panic is about something else."""
    text = find_printed(crash, r"Attempted to kill init! exitcode=0x(?P<code>[0-9a-f]{8})")
    if text is None and find_printed(crash, r"Attempted to kill init!") is None:
        return None
    absent: dict[str, Reason] = {}
    printed = int(text["code"], 16) if text else None
    process = held = None
    try:
        task = task_of_pid(crash.prog, 1)
        process = read_process(task)
        with naming("exit code of the first process"):
            # The group's where another thread than the last one ended it
            # (kernel/exit.c: do_exit()).
            group = int(task.signal.group_exit_code.value_())
            held = group or int(task.exit_code.value_())
    except Unavailable as missing:
        absent["process"] = missing.reason
    code = held or printed
    same = held == printed
    if code is None:
        absent |= dict.fromkeys(("exit_code", "origin", "status", "signal"), Reason.NOT_IN_DUMP)
    return InitEnded(
        exit_code=code,
        origin=None if code is None else _origin(held, printed),
        status=None if code is None or code & 0x7F else code >> 8 & 0xFF,
        signal=None if code is None or not code & 0x7F else signal_name(code & 0x7F),
        core_dumped=None if code is None else bool(code & 0x80),
        conflict=(
            None
            if same or not held or printed is None
            else f"the log says {printed:#x}, the task {held:#x}"
        ),
        process=process,
        absent=absent,
    )


def _origin(held: int | None, printed: int | None) -> str:
    if held and held == printed:
        return "task and log"
    return "task" if held else "log"


def signal_name(number: int) -> str:
    """Name a signal as x86-64 Linux numbers it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
