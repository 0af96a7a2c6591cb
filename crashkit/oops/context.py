"""In which context a report's code ran, as far as its call trace shows."""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.oops.fields import Body
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.trace import TraceEntry

_SOFT = LazyPattern(
    r"^(?:__do_softirq|handle_softirqs|do_softirq|net_rx_action|tasklet_(?:hi_)?action|"
    r"run_timer_softirq|__softirqentry|___do_softirq)"
)
_HARD = LazyPattern(
    r"^(?:(?:__)?handle_irq_event|(?:__)?do_IRQ|(?:__)?common_interrupt|generic_handle_(?:domain_)?irq|"
    r"handle_(?:edge|level|fasteoi|percpu)\w*irq|__handle_domain_irq|gic_handle_irq|handle_IRQ|"
    r"asm_do_IRQ|(?:__)?sysvec_|smp_apic_timer|(?:smp_)?apic_timer_interrupt|hrtimer_interrupt|"
    r"local_apic_timer|__irq_svc|el1h?_(?:64_)?irq|tick_sched_timer|xen_hvm_callback|"
    r"flush_smp_call_function|generic_smp_call|smp_call_function_single_interrupt)"
)
_NMI = LazyPattern(r"^(?:exc_nmi|asm_exc_nmi|do_nmi|default_do_nmi|nmi_handle|end_repeat_nmi|nmi$)")
_TASK = LazyPattern(
    r"^(?:entry_SYSCALL|entry_INT80|system_call|ret_from_|do_(?:fast_)?syscall_|start_kernel|kthread|entry_|do_int80|"
    r"start_secondary|secondary_startup|ret_fast_syscall|el0_|el0t_|sysenter|rest_init|"
    r"cpu_startup_entry|cpu_idle|kernel_thread|worker_thread|sys_|handle_sys|syscall_)"
)
_MARKING = ("x86_64",)
# Architectures that say in the trace where another stack begins.


def find_context(body: Body, trace: Sequence[TraceEntry]) -> str | None:
    """Tell ``process``, ``softirq``, ``hardirq`` or ``nmi``; None where nothing tells.

    Stacks without marks (i386, arm, arm64 before v5) show an interrupt only by the
    functions on them.
    """
    if not trace:
        return "hardirq" if body.who.in_interrupt else None
    marked = any(stack.marked and stack.entries is trace for stack in body.traces)
    segment = trace[0].segment
    if segment == "nmi":
        return "nmi"
    if segment == "irq":
        return _interrupt([entry for entry in trace if entry.segment == "irq"]) or "hardirq"
    if segment == "task" and (marked or body.arch in _MARKING):
        return "process"
    return _from_functions(body, trace)


def _from_functions(body: Body, trace: Sequence[TraceEntry]) -> str | None:
    certain = [entry for entry in trace if entry.reliable]
    if found := _interrupt(certain):
        return found
    if body.who.in_interrupt:
        return "softirq" if any(_SOFT.match(entry.function) for entry in trace) else "hardirq"
    if any(_TASK.match(entry.function) for entry in certain):
        return "process"
    return None


def _interrupt(trace: Sequence[TraceEntry]) -> str | None:
    # Innermost first: the first of these functions says what the code above it was.
    for entry in trace:
        if _SOFT.match(entry.function):
            return "softirq"
        if _HARD.match(entry.function):
            return "hardirq"
        if _NMI.match(entry.function):
            return "nmi"
    return None
