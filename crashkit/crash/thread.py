"""The crashed thread: which task, on which CPU, with which registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from drgn import FaultError, Object, Program
from drgn import Thread as DrgnThread
from drgn.helpers.common.format import escape_ascii_string
from drgn.helpers.linux.sched import task_cpu

from crashkit.crash.parts import Thread
from crashkit.errors import Reason, Unavailable
from crashkit.registers import GENERAL
from crashkit.unwind import Context, RegisterValue
from crashkit.value import Certainty, Origin


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
    absent: dict[str, Reason] = {}
    cpu = comm = pid = None
    try:
        comm = escape_ascii_string(task.comm.string_())
        pid = int(task.pid)
    except FaultError:
        absent |= {"comm": Reason.NOT_IN_DUMP, "pid": Reason.NOT_IN_DUMP}
    try:
        cpu = int(task_cpu(task))
    except (FaultError, LookupError, AttributeError):
        absent["cpu"] = Reason.NOT_IN_DUMP
    facts = Thread(cpu=cpu, pid=pid, comm=comm, task=int(task), context=None, absent=absent)
    return Crashed(thread=thread, task=task, facts=facts)


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
    values = trace[0].registers()
    if "rip" not in values or "rsp" not in values:
        raise Unavailable(what, Reason.NOT_IN_DUMP, "the note has no rip or rsp")
    registers = {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
        if name in {*GENERAL, "rip", "rflags", "cs", "ss", "orig_rax"}
    }
    return Context(pc=values["rip"], sp=values["rsp"], registers=registers)
