"""The tasks of a dump: which there are, which run, and the registers each stopped with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drgn import BadDataError, FaultError, Object, Program, StackTrace
from drgn.helpers.common.format import escape_ascii_string
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.pid import find_task, for_each_task
from drgn.helpers.linux.sched import cpu_curr, idle_task, task_cpu

from crashkit.crash.parts import Thread
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.memory import IMPOSSIBLE, read_u64
from crashkit.registers import GENERAL
from crashkit.unwind import Context, RegisterValue
from crashkit.value import Certainty, Origin

MAX_TASKS = 100_000
MAX_CPUS = 8192

# struct inactive_task_frame (arch/x86/include/asm/switch_to.h): member to register.
_SAVED = {"r15": "r15", "r14": "r14", "r13": "r13", "r12": "r12", "bx": "rbx", "bp": "rbp"}
_INACTIVE = "struct inactive_task_frame"
_SWITCH = "__switch_to_asm"


def thread_of(task: Object) -> Thread:
    """Read a task's facts; what cannot be read has its reason in ``absent``.

    :param task: ``struct task_struct *``
    """
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
    return Thread(cpu=cpu, pid=pid, comm=comm, task=int(task), context=None, absent=absent)


@dataclass(kw_only=True)
class Tasks:
    """The tasks found, and why there may be more."""

    found: dict[int, Object] = field(default_factory=dict)
    """``struct task_struct *`` by address: idle tasks, then by PID."""
    problem: Unavailable | None = None


def list_tasks(prog: Program) -> Tasks:
    """List every task: the idle ones by CPU, those with a PID, and what runs."""
    tasks = Tasks()
    sources = (_idle(prog), for_each_task(prog), (task for _cpu, task in running_tasks(prog)))
    for source in sources:
        try:
            for task in source:
                if len(tasks.found) >= MAX_TASKS:
                    detail = f"more than {MAX_TASKS}"
                    tasks.problem = Unavailable("further tasks", Reason.BUDGET, detail)
                    return tasks
                tasks.found.setdefault(int(task), task)
        except FaultError as fault:
            tasks.problem = Unavailable("further tasks", Reason.NOT_IN_DUMP, str(fault))
        except (LookupError, AttributeError, ValueError) as missing:
            tasks.problem = Unavailable("further tasks", Reason.NO_DEBUGINFO, str(missing))
        except Unavailable as missing:
            tasks.problem = tasks.problem or missing
    return tasks


def _idle(prog: Program) -> Iterator[Object]:
    for cpu in present_cpus(prog):
        yield idle_task(prog, cpu)


def present_cpus(prog: Program) -> list[int]:
    """List the CPUs that are there; drgn's errors pass.

    :raises Unavailable: the number of CPUs is impossible: the mask's walk would go on in
        whatever follows it
    """
    try:
        count = int(prog["nr_cpu_ids"])
    except LookupError:
        count = 1  # a kernel for one CPU
    if not 0 < count <= MAX_CPUS:
        raise Unavailable("the CPUs", Reason.CORRUPTED, f"nr_cpu_ids is {count}")
    return list(for_each_present_cpu(prog))


def running_tasks(prog: Program) -> Iterator[tuple[int, Object]]:
    """Yield each present CPU and the task that runs on it; an unreadable one is left out.

    :raises Unavailable: nothing says which CPUs there are
    """
    try:
        present = present_cpus(prog)
    except FaultError as fault:
        raise Unavailable("the CPUs", Reason.NOT_IN_DUMP, str(fault)) from fault
    except LookupError as missing:
        raise Unavailable("the CPUs", Reason.NO_DEBUGINFO, str(missing)) from missing
    for cpu in present:
        try:
            task = cpu_curr(prog, cpu).read_()
        except FaultError:
            continue  # whoever asks for this CPU is told by task_on_cpu
        yield cpu, task


def task_on_cpu(prog: Program, cpu: int) -> Object:
    """Return the task that runs on a CPU.

    :raises Unavailable: there is no such CPU, or its run queue is not in the dump
    """
    what = f"CPU {cpu}"
    try:
        if cpu not in present_cpus(prog):
            raise Unavailable(what, Reason.NOT_APPLICABLE, "there is no such CPU")
        return cpu_curr(prog, cpu).read_()
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except LookupError as missing:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(missing)) from missing


def task_of_pid(prog: Program, pid: int) -> Object:
    """Find a task by its PID.

    :raises Unavailable: there is none, or the PID table is not in the dump
    """
    what = f"PID {pid}"
    try:
        task = find_task(prog, pid)
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except LookupError as missing:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(missing)) from missing
    if not task:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "there is no such task")
    return task


def is_running(prog: Program, task: Object) -> bool:
    """Whether a task was on its CPU when the dump was made.

    :raises Unavailable: that cannot be told
    """
    try:
        return bool(cpu_curr(prog, task_cpu(task)).read_().value_() == task.value_())
    except FaultError as fault:
        raise Unavailable("whether it runs", Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, AttributeError, ValueError) as missing:
        raise Unavailable("whether it runs", Reason.NO_DEBUGINFO, str(missing)) from missing


def noted_registers(prog: Program, task: Object) -> Context:
    """Return the registers that the dump's notes hold for a running task.

    :raises Unavailable: no note has them
    """
    return context_of_note(lambda: prog.stack_trace(task), "registers of a running task")


def context_of_note(walk: Callable[[], StackTrace], what: str) -> Context:
    """Return the registers that drgn starts a walk from: those of a note.

    :raises Unavailable: no note has them, or drgn cannot walk at all, as over a damaged ORC
    """
    try:
        trace = walk()
    except (FaultError, ValueError, LookupError) as error:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(error)) from error
    except (BadDataError, *IMPOSSIBLE) as error:
        raise Unavailable(what, Reason.CORRUPTED, str(error)) from error
    if not len(trace):
        raise Unavailable(what, Reason.NOT_IN_DUMP, "no note holds them")
    return context_of(trace[0].registers(), what)


def context_of(values: dict[str, int], what: str) -> Context:
    """Make a starting point of the registers of a note.

    :raises Unavailable: rip or rsp is not among them
    """
    if "rip" not in values or "rsp" not in values:
        raise Unavailable(what, Reason.NOT_IN_DUMP, "the note has no rip or rsp")
    registers = {
        name: RegisterValue(value=value, origin=Origin.REGISTER, certainty=Certainty.PROVED)
        for name, value in values.items()
        if name in {*GENERAL, "rip", "rflags", "cs", "ss", "orig_rax"}
    }
    return Context(pc=values["rip"], sp=values["rsp"], registers=registers)


def sleeping_registers(prog: Program, task: Object, stack: tuple[int, int]) -> Context:
    """Return what ``__switch_to_asm`` left on the stack of a task that does not run.

    :param stack: [low, high) of the task's stack
    :raises Unavailable: its stack pointer is not on its stack, or the words are not there
    """
    what = "registers of a sleeping task"
    try:
        saved = prog.type(_INACTIVE)
        sp = int(task.thread.sp)
    except FaultError as fault:
        raise Unavailable(what, Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, AttributeError) as missing:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(missing)) from missing
    size = saved.size or 0
    low, high = stack
    if sp % 8 or not low <= sp <= high - size:
        raise Unavailable(what, Reason.CORRUPTED, f"thread.sp {sp:#x} is not on the task's stack")
    registers = {}
    for member, name in _SAVED.items():
        slot = sp + offset_of(saved, member)
        registers[name] = RegisterValue(
            value=read_u64(prog, slot, what),
            origin=Origin.SAVED_REGISTER,
            certainty=Certainty.PROVED,
            slot=slot,
            saved_by=_SWITCH,
        )
    slot = sp + offset_of(saved, "ret_addr")
    return Context(
        pc=read_u64(prog, slot, what),
        sp=sp + size,
        registers=registers,
        interrupted=False,
        slot=slot,
    )
