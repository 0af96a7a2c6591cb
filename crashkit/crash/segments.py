"""Which stack an address lies on: the task's, a CPU's interrupt or exception stacks."""

from __future__ import annotations

from collections.abc import Callable

from drgn import FaultError, Object, ObjectNotFoundError, Program, sizeof
from drgn.helpers.linux.percpu import per_cpu

from crashkit.unwind import Segment
from crashkit.value import facts


@facts
class Stacks:
    """The stacks that a crashed thread can have run on."""

    ranges: tuple[tuple[int, int, Segment], ...]
    """[low, high) and what runs there."""

    def bounds(self, address: int) -> tuple[int, int] | None:
        """Find the stack that holds ``address``."""
        for low, high, _segment in self.ranges:
            if low <= address < high:
                return low, high
        return None

    def segment(self, address: int) -> Segment:
        """Say what runs on the stack that holds ``address``."""
        for low, high, segment in self.ranges:
            if low <= address <= high:
                return segment
        return Segment.UNKNOWN


def stacks_of(prog: Program, task: Object, cpu: int | None) -> Stacks:
    """List the stacks of a task and of the CPU it ran on; what cannot be read is left out.

    :param task: ``struct task_struct *``
    """
    ranges: list[tuple[int, int, Segment]] = []
    for read in (_task_stack, _irq_stack, _exception_stacks):
        try:
            ranges += read(prog, task, cpu)
        except (FaultError, ObjectNotFoundError, LookupError, AttributeError):
            continue  # a stack nobody describes: its frames are of segment unknown
    return Stacks(ranges=tuple(ranges))


_Ranges = list[tuple[int, int, Segment]]
_Reader = Callable[[Program, Object, int | None], _Ranges]


def _task_stack(prog: Program, task: Object, _cpu: int | None) -> _Ranges:
    low = int(task.stack)
    return [(low, low + int(prog["THREAD_SIZE"]), Segment.TASK)]


def _irq_stack(prog: Program, _task: Object, cpu: int | None) -> _Ranges:
    if cpu is None:
        return []
    # Since Linux kernel commit d7b6d709a76a ("x86/percpu: Move irq_stack variables next
    # to current_task") (in v6.2) the pointer is a member of pcpu_hot, and with 6.14 a
    # variable again.
    try:
        top = int(per_cpu(prog["hardirq_stack_ptr"], cpu))
    except ObjectNotFoundError:
        top = int(per_cpu(prog["pcpu_hot"], cpu).hardirq_stack_ptr)
    # The pointer is to the last word, 8 bytes below the end of the backing store.
    high = (top + 0xFFF) & ~0xFFF
    return [(high - sizeof(prog.type("struct irq_stack")), high, Segment.IRQ)]


def _exception_stacks(prog: Program, _task: Object, cpu: int | None) -> _Ranges:
    if cpu is None:
        return []
    stacks = per_cpu(prog["cea_exception_stacks"], cpu)
    found: _Ranges = []
    for member in stacks.type_.type.members or ():
        if member.name is None or not member.name.endswith("_stack"):
            continue
        low = int(stacks) + member.bit_offset // 8
        segment = Segment.NMI if member.name == "NMI_stack" else Segment.EXCEPTION
        found.append((low, low + sizeof(member.type), segment))
    return found
