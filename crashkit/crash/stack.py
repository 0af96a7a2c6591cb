"""The crashed stack: frames from machine_kexec or panic outward, and the faulting one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from drgn import Program

from crashkit.crash.segments import Stacks, stacks_of
from crashkit.crash.thread import Crashed, saved_registers
from crashkit.unwind import Context, Frame, Recover, Segment, Walk, walk
from crashkit.unwind.panic_path import find_exception_frame, walk_from_kexec
from crashkit.unwind.sources import with_sources

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
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A walked stack."""

    frames: tuple[Frame, ...]
    fault: Frame | None
    """The frame of the faulting instruction; None when no instruction faulted."""
    end: str
    complete: bool


def crashed_stack(
    prog: Program, crashed: Crashed, recover: Recover | None, *, sources: bool = False
) -> Stack:
    """Walk the crashed thread's stack.

    :param sources: there may be debug information with source lines and inlined functions
    :raises Unavailable: the dump has neither registers for it nor unwind tables
    """
    start = saved_registers(crashed)
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
    placed = _softirqs(tuple(replace(f, segment=stacks.segment(f.sp)) for f in frames))
    position = next((n for n, f in enumerate(frames) if f is fault), None)
    named = with_sources(prog, placed) if sources else placed
    if position is not None:
        fault = next(
            f
            for f in named
            if not f.inlined
            and f.pt_regs == placed[position].pt_regs
            and f.pc == placed[position].pc
            and f.interrupted
        )
    return Stack(frames=named, fault=fault, end=walked.end, complete=walked.complete)


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
