"""The title of a report: its kind, and the function it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from crashkit.oops.fields import Body
from crashkit.oops.kinds import Blame, Kind
from crashkit.oops.lines import LogLine
from crashkit.oops.trace import TraceEntry, printed

_REPORTERS = re.compile(
    # Functions that print a report, enter an exception or end the kernel.
    r"^(?:_{0,4}(?:dump_stack|show_(?:stack|regs|trace)|print_|report_|warn(?:_|$)|fixup_bug|"
    r"might_(?:sleep|fault|resched)|should_fail|fail_dump|kasan|asan|msan|kmsan|hwasan|tsan|kcsan|"
    r"ubsan|kfence|check_memory_region|sanitizer|lockdep|lock_(?:acquire|release)|"
    r"do_(?:error_trap|invalid_op|trap|page_fault|kern_addr_fault|user_addr_fault)|handle_bug|"
    r"(?:asm_)?(?:exc|sysvec|common_interrupt)|invalid_op|error_entry|(?:async_)?page_fault|"
    r"general_protection|vmalloc_fault|bad_area|no_context|spurious|nmi_|panic|vpanic|die|oops_|"
    r"crash_|machine_kexec|bust_spinlocks|apic_timer|smp_apic|ret_from_intr|retint|trace_hardirqs|"
    r"x86_indirect_thunk|check_panic_on_warn|end_report|arch_trigger|trigger_|rcu_(?:dump|check|"
    r"sched_clock|pending|preempt_ctxt)|check_(?:hung|cpu_stall|preempt)|dump_|sched_show|bug_|BUG|"
    r"backtrace|unwind_backtrace|walk_stackframe|handle_exception|context_switch|schedule(?:_|$)|"
    r"list_(?:add|del)_|kthread$|restore_all|irq_work|add_taint|watchdog))|_?printk$|^slowpath_warn"
)
_HELPERS = re.compile(
    # Library code that only did what it was told; the caller is what went wrong.
    r"^_{0,4}(?:mem(?:cpy|set|move|cmp|chr|scan|dup)|str[a-z]{1,8}$|copy_(?:to|from|user)|get_user|"
    r"put_user|csum_|raw_|spin_|read_lock|write_lock|queued_|native_queued|do_raw_|pv_queued|"
    r"mutex_|rwsem_|down_|up_|atomic|arch_atomic|refcount_|kref_|list_|hlist_|rb_|radix_tree_|"
    r"xas_|xa_|find_(?:first|next)|bitmap_|test_bit|set_bit|clear_bit|kfree$|kmem_cache_|"
    r"kmalloc|kv?free|kvmalloc|slab_|slub_|krealloc|vmalloc|crc|lock_sock|rcu_read|percpu_|"
    r"this_cpu_|preempt_|read_(?:word|pnet|once)|rep_|clear_user|vsnprintf|snprintf|sprintf|"
    r"number$|(?:hex_)?string(?:_nocheck)?$|fortify|iov_iter_|kobject_|hash_|refill_|"
    r"register_lock_class|kfree_skb|skb_(?:put|push|pull|panic|over_panic|under_panic)|"
    r"timer_is_static|work_is_static|debug_|flush_work|queue_work|del_timer|mod_timer|"
    r"device_(?:add|del)$|sysfs_remove|copy_page|rht_|rhashtable_|ref_tracker|consume_skb|"
    r"perf_trace_lock|local_bh_enable|might_alloc|get_page_from|alloc_pages|new_slab)"
)
_DISPATCHERS = re.compile(
    # Entry points of the kernel: what they call is what does not end.
    r"^(?:do_syscall_|do_fast_syscall|do_int80|entry_SYSCALL|system_call|invoke_syscall|el0_svc|"
    r"__(?:se|x64|ia32|arm64|do)_sys_|ret_from_|process_one_work|call_timer_fn|expire_timers|"
    r"__run_timers|run_timer|__hrtimer_run|hrtimer_run|hrtimer_interrupt|__?do_softirq|"
    r"handle_softirqs|run_ksoftirqd|tasklet_action|smpboot_thread|kthread$|worker_thread|"
    r"__netif_receive_skb|netif_receive_skb|process_backlog|net_rx_action|napi_|"
    r"vfs_ioctl|do_vfs_ioctl|ksys_ioctl|vfs_(?:read|write)|new_sync_|do_iter_|call_write_iter|"
    r"call_read_iter|rcu_do_batch|rcu_core|handle_irq|generic_handle_irq|__handle_irq|"
    r"start_secondary|rest_init|start_kernel|cpu_startup|do_one_initcall|do_idle|"
    r"secondary_startup|tracesys|sysenter|sys_ioctl|__vfs_|___sys_|__sys_(?:send|recv)msg|"
    r"sock_sendmsg|sock_recvmsg|netlink_rcv_skb|exit_to_usermode|syscall_return|handle_mm_fault)"
)
_INTERRUPTS = re.compile(r"^(?:asm_)?(?:sysvec_)?apic_timer_interrupt|^asm_|^ret_from_intr")
_CLONE = re.compile(r"\.(?:constprop|isra|part|cold|llvm|lto_priv|unlikely)\b.*$")
_SYSCALL = re.compile(r"^(?:__(?:se|x64|ia32|arm64|do)_(?:compat_)?sys_|(?:compat_)?SyS_|C_SYSC_)")
_WORDS = (  # the same thing in the words of other kernel versions
    ("double-free or invalid-free", "invalid-free"),
    ("Undefined behaviour", "undefined-behaviour"),
    ("panic_on_warn set ...", "panic_on_warn set"),
)
_WARN_HELPERS = (
    (re.compile(r"lib/refcount\.c"), "WARNING: refcount bug", re.compile(r"refcount|kref")),
    (re.compile(r"lib/debugobjects\.c"), "WARNING: ODEBUG bug", re.compile(r"debug_|free|_timer")),
    (re.compile(r"lib/kobject\.c"), "WARNING: kobject bug", re.compile(r"kobject|kset|device_")),
    (re.compile(r"kernel/locking/"), "WARNING: locking bug", re.compile(r"lock|hlock|mutex|^down")),
    (re.compile(r"fs/proc/generic\.c"), "WARNING: proc registration bug",
     re.compile(r"proc_(?:create|register|mkdir)|^proc_")),
    (re.compile(r"mm/(?:slab_common|slub|page_alloc)\.c"), "WARNING: kmalloc bug",
     re.compile(r"alloc|memdup|kmemdup|kv?malloc|kcalloc|kzalloc")),
)  # fmt: skip
# Checks in a library: the title names the check and the caller that failed it.


def plain_name(function: str) -> str:
    """Strip what the compiler appended to a name, and the wrapper prefixes of a system call.

    ``foo.constprop.0`` is ``foo``; ``__x64_sys_read`` and ``SyS_read`` are ``sys_read``.
    """
    return _SYSCALL.sub("sys_", _CLONE.sub("", function))


def make_title(
    kind: Kind, found: re.Match[str], body: Body, lines: Sequence[LogLine]
) -> tuple[str, str | None]:
    """Make the title of a report and name the function it is about.

    :returns: title and function; function None where none can be named
    """
    words = {key: value for key, value in found.groupdict().items() if value is not None}
    words["access"] = _sanitizer_access(lines)
    template, function = kind.title, _blamed(kind, words.get("function"), body)
    for where, other, skip in _WARN_HELPERS:
        if kind.kind == "warning" and where.search(words.get("where", "")):
            template = other + " in {function}"
            function = _first(_candidates(body, with_ip=False), skip) or function
            break
    words["function"] = plain_name(function) if function else ""
    if not function:
        template = template.removesuffix(" in {function}")
    title = template.format_map(words)
    for printed_, usual in _WORDS:
        title = title.replace(printed_, usual)
    return title, words["function"] or None


def _sanitizer_access(lines: Sequence[LogLine]) -> str:
    for line in lines[:4]:
        for word in ("Read", "Write"):
            if line.text.startswith(f"{word} of size"):
                return f" {word}"
    return ""


def _blamed(kind: Kind, named: str | None, body: Body) -> str | None:
    if kind.blame is Blame.NONE:
        return None
    if kind.blame is Blame.ENTRY:
        return _entered(body)
    skip = re.compile(kind.skip) if kind.skip else _HELPERS
    if kind.blame is Blame.LINE and named and not _is_helper(kind, named):
        return named
    inner = kind.blame is Blame.INNERMOST
    chosen = _first(_candidates(body, with_ip=inner), skip)
    if chosen is None:
        chosen = body.ip.function if inner and body.ip else named
    return chosen


def _is_helper(kind: Kind, function: str) -> bool:
    # A WARN() names the function it stands in, library or not: that is its title.
    return kind.kind != "warning" and bool(_HELPERS.search(function))


def _candidates(body: Body, *, with_ip: bool) -> Iterator[str]:
    if with_ip and body.ip is not None and body.ip.function:
        yield body.ip.function
    for entry in _certain(body.trace):
        yield entry.function


def _certain(trace: Sequence[TraceEntry]) -> list[TraceEntry]:
    return printed(trace) or list(trace)


def _first(functions: Iterator[str], skip: re.Pattern[str]) -> str | None:
    for function in map(plain_name, functions):
        if not _REPORTERS.search(function) and not skip.search(function):
            return function
    return None


def _entered(body: Body) -> str | None:
    # What a stalled CPU ran lies below the interrupt that noticed.
    trace = _certain(body.trace)
    for number, entry in enumerate(trace):
        if _INTERRUPTS.search(entry.function):
            trace = trace[number + 1 :]
            break
    functions = [entry.function for entry in trace]
    if body.ip is not None and body.ip.function:
        functions.insert(0, body.ip.function)
    inner: str | None = None
    for function in functions:
        if _DISPATCHERS.search(function) and inner is not None:
            return inner
        if not _REPORTERS.search(function):
            inner = function
    return inner
