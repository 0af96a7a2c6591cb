"""Every stack of a dump: the crashed thread's, as ``Crash`` walks it, and each other task's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from drgn import FaultError, Thread
from drgn.helpers.common.format import escape_ascii_string

from crashkit.arguments import recover_entry_registers
from crashkit.crash import Crash
from crashkit.errors import Unavailable
from crashkit.registers import GENERAL
from crashkit.symbols.lookup import SymbolAt, find_symbol
from crashkit.unwind import Context, Frame, RegisterValue, walk
from crashkit.value import Certainty, Origin

KEPT = {*GENERAL, "rip", "rflags", "cs", "ss", "orig_rax"}


@dataclass(frozen=True, kw_only=True)
class TaskStack:
    """The physical frames of one task, innermost first."""

    pid: int
    comm: str
    crashed: bool
    running: bool
    """The task was on a CPU, so its stack is a snapshot of any instant."""
    frames: tuple[Frame, ...]


def for_each_stack(crash: Crash) -> Iterator[TaskStack]:
    """Yield the crashed thread's stack, then those of all other tasks that can be walked."""
    first = TaskStack(
        pid=crash.thread.pid or 0,
        comm=crash.thread.comm or "",
        crashed=True,
        running=True,
        frames=_physical(crash.frames),
    )
    yield first
    for thread in crash.prog.threads():
        task = thread.object
        if int(task) == crash.thread.task:
            continue
        frames = _frames_of(crash, thread)
        if frames:
            yield TaskStack(
                pid=int(task.pid),
                comm=escape_ascii_string(task.comm.string_()),
                crashed=False,
                running=bool(task.on_cpu),
                frames=frames,
            )


def function_of(crash: Crash, frame: Frame) -> SymbolAt | None:
    """Find the function whose entry made the frame: a ``.cold`` part belongs to its parent."""
    if frame.function is None or frame.offset is None or frame.size is None:
        return None
    if ".cold" in frame.function:
        return find_symbol(crash.prog, frame.function.partition(".cold")[0])
    return SymbolAt(frame.function, frame.pc - frame.offset, frame.size, frame.module)


def _physical(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(frame for frame in frames if not frame.inlined)


def _frames_of(crash: Crash, thread: Thread) -> tuple[Frame, ...]:
    try:
        innermost = thread.stack_trace()[0]
    except (FaultError, ValueError, LookupError, IndexError):
        return ()
    values = innermost.registers()
    if "rip" not in values or "rsp" not in values:
        return ()
    start = Context(
        pc=values["rip"],
        sp=values["rsp"],
        registers={
            name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
            for name, value in values.items()
            if name in KEPT
        },
        interrupted=innermost.interrupted,
    )
    recover = partial(recover_entry_registers, crash.prog)
    try:
        return _physical(walk(crash.prog, start, recover=recover).frames)
    except Unavailable:
        return ()
