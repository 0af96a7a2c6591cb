"""Every stack of a dump, as ``Crash`` walks it: the crashed thread's, then each other task's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.stack import Stack
from crashkit.symbols.lookup import SymbolAt, find_symbol
from crashkit.unwind import Frame


@dataclass(frozen=True, kw_only=True)
class TaskStack:
    """The physical frames of one task, innermost first."""

    task: Object | None
    """``struct task_struct *``"""
    comm: str
    running: bool
    """The task was on a CPU, so its stack is a snapshot of any instant."""
    frames: tuple[Frame, ...]
    crashed: bool = False
    """It is the stack that the kernel crashed on."""


def for_each_stack(crash: Crash) -> Iterator[TaskStack]:
    """Yield the crashed thread's stack, then those of all other tasks that can be walked."""
    tasks = {int(task): task for task in crash.tasks()}
    first = crash.crashed_stack
    crashed = first.thread.task or 0
    yield replace(_task_stack(tasks.get(crashed), first), crashed=True)
    for address, task in tasks.items():
        if address == crashed:
            continue
        stack = _task_stack(task, crash.stack_of(task))
        if stack.frames:
            yield stack


def function_of(crash: Crash, frame: Frame) -> SymbolAt | None:
    """Find the function whose entry made the frame: a ``.cold`` part belongs to its parent."""
    if frame.function is None or frame.offset is None or frame.size is None:
        return None
    if ".cold" in frame.function:
        return find_symbol(crash.prog, frame.function.partition(".cold")[0])
    return SymbolAt(frame.function, frame.pc - frame.offset, frame.size, frame.module)


def _task_stack(task: Object | None, stack: Stack) -> TaskStack:
    return TaskStack(
        task=task,
        comm=stack.thread.comm or "",
        running=stack.running,
        frames=tuple(frame for frame in stack.frames if not frame.inlined),
    )
