"""Where a stack was before the panic, an NMI or a detector of hangs got hold of it."""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.crash.stack import Stack
from crashkit.oops import plain_name
from crashkit.unwind import Frame, Segment
from crashkit.value import facts

# How a panic goes on, and how it stops the other CPUs: kernel/panic.c, kernel/crash_core.c,
# arch/x86/kernel/{crash,machine_kexec_64,smp,nmi,dumpstack,process}.c.
_PANIC = frozenset(
    {
        "panic", "vpanic", "nmi_panic", "__crash_kexec", "crash_kexec", "machine_kexec",
        "panic_smp_self_stop", "nmi_panic_self_stop", "oops_end", "die", "__die", "die_addr",
        "stop_this_cpu", "__sysvec_reboot", "sysvec_reboot", "asm_sysvec_reboot",
        "reboot_interrupt", "smp_reboot_interrupt", "crash_nmi_callback", "nmi_handle",
        "default_do_nmi", "exc_nmi", "do_nmi", "end_repeat_nmi", "asm_exc_nmi", "first_nmi",
        "native_machine_crash_shutdown", "crash_setup_regs", "check_panic_on_warn", "__warn",
        "crash_save_cpu", "native_halt", "emergency_restart", "__const_udelay", "delay_tsc",
    }
)  # fmt: skip

# Code that finds a hang while it interrupts it: kernel/watchdog*.c, kernel/rcu/tree_stall.h.
_DETECTORS = frozenset(
    {
        "watchdog_timer_fn", "watchdog_overflow_callback", "watchdog_hardlockup_check",
        "watchdog_check_hardlockup_hpet", "rcu_sched_clock_irq", "rcu_pending",
        "check_cpu_stall", "print_cpu_stall", "print_other_cpu_stall", "panic_on_rcu_stall",
        "rcu_check_callbacks", "unknown_nmi_error", "io_check_error", "pci_serr_error",
        "io_check_nmi", "mce_panic",
    }
)  # fmt: skip


@facts
class Place:
    """One frame, as a person names it."""

    function: str | None
    offset: int | None
    module: str | None
    pc: int


def place_of(frame: Frame) -> Place:
    """Name a frame."""
    return Place(function=frame.function, offset=frame.offset, module=frame.module, pc=frame.pc)


def physical(stack: Stack) -> tuple[Frame, ...]:
    """The frames of a stack that are not inlined."""
    return tuple(frame for frame in stack.frames if not frame.inlined)


def before_the_panic(frames: Sequence[Frame], fault: Frame | None = None) -> int | None:
    """Find the frame a CPU was in before the panic got hold of it.

    That is the faulting one; else what an NMI or a detector of hangs interrupted; else the
    caller of panic().

    :param frames: innermost first, none inlined
    :returns: its index; None where all of them are the panic's
    """
    # Where the rest of the stack is not in the dump, panic()'s own loop is all there is.
    if fault is not None and fault in frames and not _is_panic(fault):
        return frames.index(fault)
    first = next((n for n, frame in enumerate(frames) if not _is_panic(frame)), None)
    if first is None:
        return None
    inside = range(first, len(frames))
    at = next((n for n in inside if frames[n].interrupted), None)
    if at is not None and any(_name(frames[n]) in _DETECTORS for n in range(first, at)):
        return at
    return first


def _is_panic(frame: Frame) -> bool:
    return _name(frame) in _PANIC or (frame.segment is Segment.NMI and not frame.interrupted)


def _name(frame: Frame) -> str:
    return plain_name(frame.function or "")


_STOPPED = frozenset({"crash_nmi_callback", "stop_this_cpu", "panic_smp_self_stop"})


def stopped_by_panic(frames: Sequence[Frame]) -> bool:
    """Whether a panic on another CPU stopped this one, by an NMI or an interrupt."""
    return any(_name(frame) in _STOPPED for frame in frames)
