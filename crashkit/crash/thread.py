"""The crashed thread: which task, on which CPU, with which registers."""

from __future__ import annotations

from dataclasses import replace

from drgn import FaultError, Object, Program
from drgn import Thread as DrgnThread

from crashkit.crash.parts import Thread
from crashkit.crash.tasks import context_of, context_of_note, thread_of
from crashkit.errors import Reason, Unavailable
from crashkit.target import NotedRegisters
from crashkit.unwind import Context
from crashkit.value import facts


@facts
class Crashed:
    """drgn's thread with the facts read from its task."""

    thread: DrgnThread | None
    """None where the types do not lead to it: the dump's notes then tell."""
    task: Object
    """``struct task_struct *``."""
    facts: Thread
    noted: NotedRegisters | None = None
    """The note that the task was found by."""


def find_crashed(prog: Program, notes: tuple[NotedRegisters, ...]) -> Crashed:
    """Find the thread that panicked: as drgn does, or by the only registers there are.

    :raises Unavailable: the dump or the types do not tell
    """
    try:
        return _crashed_of_kernel(prog)
    except Unavailable:
        if len(notes) != 1:
            raise
        return _crashed_of_note(prog, notes[0])


def _crashed_of_kernel(prog: Program) -> Crashed:
    what = "the crashed thread"
    try:
        thread = prog.crashed_thread()
        task = thread.object
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, ValueError) as error:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
    return Crashed(thread=thread, task=task, facts=thread_of(task))


def _crashed_of_note(prog: Program, note: NotedRegisters) -> Crashed:
    # Up to 4.8 struct thread_info lies at the low end of the stack and points at the task
    # (c65eacbe290b, "sched/core: Allow putting thread_info into task_struct").
    what = "the crashed thread"
    try:
        size = int(prog["THREAD_SIZE"])
        base = note.registers["rsp"] & -size
        task = Object(prog, "struct thread_info *", base).task.read_()
        facts = thread_of(task)
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, AttributeError) as error:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
    if facts.pid is not None and facts.pid != note.pid:
        detail = f"the note is of PID {note.pid}, the stack is that of PID {facts.pid}"
        raise Unavailable(what, Reason.AMBIGUOUS, detail)
    return Crashed(thread=None, task=task, facts=facts, noted=note)


def with_context(facts: Thread, context: str | None) -> Thread:
    """Add the context once the stack is known."""
    return replace(facts, context=context)


def saved_registers(crashed: Crashed) -> Context:
    """Return the registers the dump's notes hold for the crashed thread.

    :raises Unavailable: the dump has no registers for it
    """
    what = "registers of the crashed thread"
    if crashed.thread is None:
        noted = crashed.noted.registers if crashed.noted else {}
        return context_of(noted, what)
    return context_of_note(crashed.thread.stack_trace, what)
