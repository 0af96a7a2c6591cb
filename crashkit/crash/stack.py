"""One task's stack: frames from where it stopped outward, and the faulting one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from drgn import FaultError, Object, Program, sizeof

from crashkit.crash.parts import Thread
from crashkit.crash.printed_fault import printed_fault
from crashkit.crash.segments import Stacks, stacks_of
from crashkit.crash.tasks import is_running, noted_registers, sleeping_registers, thread_of
from crashkit.crash.thread import Crashed, saved_registers
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address, read_u64
from crashkit.oops import Oops
from crashkit.unwind import Context, Frame, Recover, RegisterValue, Segment, Walk, walk
from crashkit.unwind.frame_pointers import EXCEPTIONS
from crashkit.unwind.nmi_path import walk_from_nmi
from crashkit.unwind.panic_path import find_exception_frame, walk_from_kexec
from crashkit.unwind.sources import with_sources
from crashkit.value import Certainty, facts

# Functions in which a panic waits or boots the next kernel; a dump's registers inside
# them belong to the panic, not to a fault.
_PANIC_FUNCTIONS = frozenset(
    {"panic", "vpanic", "__crash_kexec", "machine_kexec", "crash_kexec", "nmi_panic"}
)

_SOFTIRQ = frozenset({"__do_softirq", "handle_softirqs"})
_IRQ_ENTRIES = ("asm_sysvec_", "asm_common_interrupt")

# Entry functions of exceptions that a kernel instruction raises by itself
# (arch/x86/include/asm/idtentry.h).
_FAULTS = frozenset(
    {
        "asm_exc_page_fault", "asm_exc_general_protection", "asm_exc_invalid_op",
        "asm_exc_divide_error", "asm_exc_double_fault", "asm_exc_stack_segment",
        "asm_exc_segment_not_present", "asm_exc_invalid_tss", "asm_exc_overflow",
        "asm_exc_bounds", "asm_exc_alignment_check", "asm_exc_int3", "asm_exc_debug",
        "asm_exc_control_protection", "asm_exc_simd_coprocessor_error",
        "asm_exc_virtualization_exception", "asm_exc_coprocessor_error",
        "asm_exc_device_not_available",
    }
) | EXCEPTIONS  # fmt: skip


@facts
class Stack:
    """A walked stack."""

    thread: Thread
    """Whose it is."""
    running: bool
    """Whether the task was on its CPU."""
    frames: tuple[Frame, ...]
    """Innermost first."""
    fault: Frame | None = None
    """The frame of the faulting instruction; None when no instruction faulted."""
    end: str
    """Where or why the walk ended."""
    reason: Reason | None = None
    """Why it is not complete; None when it reached user space or the stack's own end."""
    damage: str | None = None
    """What shows that the stack is corrupt; nothing on it is then proved."""
    ranges: tuple[tuple[int, int, Segment], ...] = ()
    """The stacks it may lie on: [low, high) and what runs there."""

    @property
    def complete(self) -> bool:
        """Whether the walk reached user space or the stack's own end."""
        return self.reason is None

    def starts_another(self, position: int) -> bool:
        """Whether a frame lies on another stack than the frame inside it."""
        here = self.frames[position]
        return position > 0 and changes_stack(self.frames[position - 1], here, self.ranges)


_END_MAGIC = 0x57AC6E9D  # STACK_END_MAGIC, include/uapi/linux/magic.h
_DAMAGE = (Reason.CORRUPTED, Reason.BUDGET)


def crashed_stack(
    prog: Program,
    crashed: Crashed,
    recover: Recover | None,
    *,
    sources: bool = False,
    oops: Callable[[], Oops | None] = lambda: None,
) -> Stack:
    """Walk the crashed thread's stack.

    :param sources: there may be debug information with source lines and inlined functions
    :param oops: what the log reports, asked where no note has the thread's registers
    :raises Unavailable: the dump has neither registers for it nor unwind tables
    """
    start = _start(prog, crashed, oops)
    walked = walk(prog, start, recover=recover)
    stacks = stacks_of(prog, crashed.task, crashed.facts.cpu)
    frames = _drop_panic_loop(walked.frames)
    fault = _faulting(frames)
    first = frames[0] if frames else None
    if first is not None and fault is None and not _in_panic(frames):
        # A kdump of an oops: the notes hold the registers of the fault.
        fault = first
        outer = _from_kexec(prog, start, stacks, recover)
        if outer is not None:
            walked, frames = outer, outer.frames
            fault = _faulting(frames)
    elif first is not None and first.function == "__crash_kexec":
        frames = _with_machine_kexec(prog, frames, stacks)
    at = None if fault is None else (fault.pc, fault.sp)
    damage = _damage(prog, crashed.task, walked.end, walked.reason)
    named = _weakened(_placed(prog, frames, stacks, sources), damage, but=at)
    return Stack(
        thread=crashed.facts,
        running=True,
        frames=named,
        fault=_same(named, at),
        end=walked.end,
        reason=walked.reason,
        damage=damage,
        ranges=stacks.ranges,
    )


def _start(prog: Program, crashed: Crashed, oops: Callable[[], Oops | None]) -> Context:
    try:
        return saved_registers(crashed)
    except Unavailable:
        found = printed_fault(prog, crashed, oops(), _FAULTS)
        if found is None:
            raise
        return found


def task_stack(
    prog: Program, task: Object, recover: Recover | None, *, sources: bool = False
) -> Stack:
    """Walk any task's stack; what stands in the way is its ``end`` and ``reason``.

    :param task: ``struct task_struct *``
    :param sources: there may be debug information with source lines and inlined functions
    """
    thread = thread_of(task)
    running = False
    stacks = Stacks(ranges=())
    try:
        running = is_running(prog, task)
        stacks = stacks_of(prog, task, thread.cpu if running else None)
        read = _running_walk if running else _sleeping_walk
        walked = read(prog, task, stacks, recover)
    except Unavailable as missing:
        walked = Walk(frames=(), end=str(missing), complete=False, reason=missing.reason)
    damage = _damage(prog, task, walked.end, walked.reason)
    return Stack(
        thread=thread,
        running=running,
        frames=_weakened(_placed(prog, walked.frames, stacks, sources), damage),
        end=walked.end,
        reason=walked.reason,
        damage=damage,
        ranges=stacks.ranges,
    )


def _sleeping_walk(prog: Program, task: Object, stacks: Stacks, recover: Recover | None) -> Walk:
    own = next((r for r in stacks.ranges if r[2] is Segment.TASK), None)
    if own is None:
        raise Unavailable("the task's stack", Reason.NOT_IN_DUMP, "where it lies is not known")
    start = sleeping_registers(prog, task, own[:2])
    return walk(prog, start, recover=recover)


def _running_walk(prog: Program, task: Object, stacks: Stacks, recover: Recover | None) -> Walk:
    start = noted_registers(prog, task)
    nmi = next((r for r in stacks.ranges if r[2] is Segment.NMI), None)
    user = _in_user_space(start)
    if nmi is not None:
        stopped = walk_from_nmi(prog, nmi[:2], start, user=user, recover=recover)
        if stopped is not None:
            return stopped
    if not user:
        return walk(prog, start, recover=recover)
    frame = Frame(
        index=0, pc=start.pc, sp=start.sp, slot=None, cfa=None, function=None, offset=None,
        size=None, module=None, segment=Segment.USER, interrupted=True, how="registers",
        registers=start.registers,
    )  # fmt: skip
    return Walk(frames=(frame,), end="user space", complete=True)


def _in_user_space(start: Context) -> bool:
    cs = start.register("cs")
    return bool(cs & 3) if cs is not None else start.pc > 0 and not is_kernel_address(start.pc)


def _damage(prog: Program, task: Object, end: str, reason: Reason | None) -> str | None:
    if reason in _DAMAGE:
        return end
    try:
        low = int(task.stack) + _below_the_end(prog)
        found = read_u64(prog, low)
    except (FaultError, Unavailable):
        return None  # a page that is missing says nothing about the others
    if found == _END_MAGIC:
        return None
    return f"the stack's end at {low:016x} holds {found:#x}, not STACK_END_MAGIC"


def _below_the_end(prog: Program) -> int:
    # Up to 4.8 struct thread_info lies below the stack's end (c65eacbe290b).
    try:
        info = prog.type("struct thread_info")
    except LookupError:
        return 0
    return sizeof(info) if info.has_member("task") else 0


def _weakened(
    frames: tuple[Frame, ...], damage: str | None, *, but: tuple[int, int] | None = None
) -> tuple[Frame, ...]:
    # What a corrupt stack holds may have been overwritten since, exception frames, too; but
    # not that of the fault itself, at (pc, sp): the CPU wrote it last.
    if damage is None:
        return frames
    return tuple(
        frame
        if frame.interrupted and (frame.pc, frame.sp) == but
        else replace(frame, registers={n: _doubted(r) for n, r in frame.registers.items()})
        for frame in frames
    )


def _doubted(held: RegisterValue) -> RegisterValue:
    return held if held.slot is None else replace(held, certainty=Certainty.INFERRED)


def _placed(
    prog: Program, frames: tuple[Frame, ...], stacks: Stacks, sources: bool
) -> tuple[Frame, ...]:
    segmented = tuple(
        frame if frame.segment is Segment.USER else replace(frame, segment=stacks.segment(frame.sp))
        for frame in frames
    )
    numbered = _softirqs(_numbered(segmented, stacks))
    return with_sources(prog, numbered) if sources else numbered


def _numbered(frames: tuple[Frame, ...], stacks: Stacks) -> tuple[Frame, ...]:
    # crash gives no number to an interrupted function, printed as [exception RIP], unless
    # it lies on another stack: there it begins anew with the function itself.
    found: list[Frame] = []
    index = 0
    for position, frame in enumerate(frames):
        before = frames[position - 1] if position else None
        if before is not None:
            index += not frame.interrupted or changes_stack(before, frame, stacks.ranges)
        found.append(replace(frame, index=index))
    return tuple(found)


def changes_stack(inner: Frame, outer: Frame, ranges: tuple[tuple[int, int, Segment], ...]) -> bool:
    """Whether two neighbouring frames lie on different stacks."""

    def at(frame: Frame) -> int | None:
        return next((low for low, high, _s in ranges if low <= frame.sp < high), None)

    return None not in (at(inner), at(outer)) and at(inner) != at(outer)


def _same(frames: tuple[Frame, ...], at: tuple[int, int] | None) -> Frame | None:
    for frame in frames:
        if frame.interrupted and not frame.inlined and (frame.pc, frame.sp) == at:
            return frame
    return None


def _softirqs(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    # Softirqs run on the interrupt stack too; what they call, up to an interrupt, is theirs.
    found: list[Frame] = []
    for frame in frames:
        found.append(frame)
        if frame.function not in _SOFTIRQ:
            continue
        for position in range(len(found) - 1, -1, -1):
            if found[position].segment is not Segment.IRQ or _is_irq_entry(found[position]):
                break
            found[position] = replace(found[position], segment=Segment.SOFTIRQ)
    return tuple(found)


def _is_irq_entry(frame: Frame) -> bool:
    return (frame.function or "").startswith(_IRQ_ENTRIES)


def _faulting(frames: tuple[Frame, ...]) -> Frame | None:
    return next((f for f in frames if f.interrupted and f.exception in _FAULTS), None)


def _in_panic(frames: tuple[Frame, ...]) -> bool:
    return any(f.function in _PANIC_FUNCTIONS for f in frames)


def _drop_panic_loop(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    # A hypervisor's dump finds panic() waiting in a delay loop; crash starts at panic too.
    for position, frame in enumerate(frames):
        if frame.function in ("panic", "vpanic") and not frame.inlined:
            inner = frames[position].index
            return tuple(replace(f, index=f.index - inner) for f in frames[position:])
        if frame.function in _PANIC_FUNCTIONS:
            break
    return frames


def _from_kexec(
    prog: Program, start: Context, stacks: Stacks, recover: Recover | None
) -> Walk | None:
    # The walk from machine_kexec that arrives at the fault the notes describe.
    bounds = stacks.bounds(start.sp)
    if bounds is None:
        return None
    low, _high = bounds
    regs = find_exception_frame(prog, start.pc, start.sp, low)
    if regs is None:
        return None
    for found in walk_from_kexec(prog, low, regs, recover=recover):
        if any(f.pt_regs == regs for f in found.frames):
            return found
    return None


def _with_machine_kexec(
    prog: Program, frames: tuple[Frame, ...], stacks: Stacks
) -> tuple[Frame, ...]:
    # crash shows machine_kexec as #0 above the __crash_kexec that saved the registers.
    bounds = stacks.bounds(frames[0].sp)
    if bounds is None or len(frames) < 2:
        return frames
    low, _high = bounds
    for found in walk_from_kexec(prog, low, frames[1].slot or frames[0].sp, recover=None):
        joint = next((f for f in found.frames if f.slot == frames[1].slot), None)
        if joint is not None and joint.pc == frames[1].pc:
            inner = found.frames[: found.frames.index(joint)]
            shift = joint.index - frames[1].index
            return inner + tuple(replace(f, index=f.index + shift) for f in frames[1:])
    return frames


def exception_context(frames: tuple[Frame, ...], fault: Frame | None) -> str | None:
    """Say in which context the crash happened, from the frames around it.

    :returns: ``process``, ``softirq``, ``hardirq``, ``nmi``; None without frames
    """
    if not frames:
        return None
    start = frames.index(fault) if fault is not None else 0
    for frame in frames[start:]:
        entry = frame.exception or ""
        if entry.startswith("asm_exc_nmi") or frame.function == "asm_exc_nmi":
            return "nmi"
        if frame.function in _SOFTIRQ:
            return "softirq"
        if entry.startswith(_IRQ_ENTRIES):
            return "hardirq"
    return "process"
