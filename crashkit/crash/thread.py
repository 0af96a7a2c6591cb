"""The crashed thread: which task, on which CPU, with which registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from drgn import FaultError, Object, Program
from drgn import Thread as DrgnThread

from crashkit.crash.parts import Thread
from crashkit.crash.tasks import context_of, thread_of
from crashkit.errors import Reason, Unavailable
from crashkit.unwind import Context


@dataclass(frozen=True, kw_only=True)
class Crashed:
    """drgn's thread with the facts read from its task."""

    thread: DrgnThread
    task: Object
    """``struct task_struct *``."""
    facts: Thread


def find_crashed(prog: Program) -> Crashed:
    """Find the thread that panicked.

    :raises Unavailable: the dump or the types do not tell
    """
    what = "the crashed thread"
    try:
        thread = prog.crashed_thread()
        task = thread.object
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, ValueError) as error:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(error)) from error
    return Crashed(thread=thread, task=task, facts=thread_of(task))


def with_context(facts: Thread, context: str | None) -> Thread:
    """Add the context once the stack is known."""
    return replace(facts, context=context)


def saved_registers(crashed: Crashed) -> Context:
    """Return the registers the dump's notes hold for the crashed thread.

    :raises Unavailable: the dump has no registers for it
    """
    what = "registers of the crashed thread"
    try:
        trace = crashed.thread.stack_trace()
    except (FaultError, ValueError, LookupError) as error:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(error)) from error
    if not len(trace):
        raise Unavailable(what, Reason.NOT_IN_DUMP, "no note holds them")
    return context_of(trace[0].registers(), what)
