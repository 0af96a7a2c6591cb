"""Functions that a title is not about: they report, they check, or they only did as told.

The names are those of the kernel; which of them to pass over is a convention, that of
syzkaller's titles, so that one fault gets one title everywhere.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from crashkit.oops.lazy import LazyPattern

_REPORTING = (  # print a report, enter an exception or end the kernel
    "panic", "report_bug", "fixup_bug", "print_report", "print_address_description",
    "print_usage_bug", "print_unlock", "imbalance_bug", "print_tainted", "^get_taint$",
    "show_stack", "dump_stack", "walk_stack", "dump_backtrace", "show_regs", "unwind_backtrace",
    "show_trace", "^die$", "^oops_", "^__die", "^bust_spinlocks", "^crash_kexec",
    "warn_slowpath", "__warn", "warn_alloc", "warn_bogus", "printk", "va_format", "print_hex_dump",
    "hex_dump_to_buffer", "stack_trace_(?:consume_entry|save)", "arch_stack_walk", "assertfail",
    "invalid_op", "do_error", "_trap$", "do_trap", "exc_invalid_op", "handle_bug", "^asm_exc_",
    "^exc_page_fault", "program_check_(?:exception|common)", "do_(?:kernel|translation)_fault",
    "do_mem_abort", "do_bad_area", "el1_abort", "el1h_64_sync", "__fortify_report", "__phys_addr",
    "^sched_show_task", "^arch_trigger", "^nmi_", "dev_(?:info|notice|warn|err|alert|crit|emerg)",
    "_indirect_thunk_", "(?:trace|lockdep)_(?:hard|soft)irq",
)  # fmt: skip
_CHECKING = (  # sanitizers, lockdep, debug options
    "__sanitizer", "__asan", "kasan", "hwasan", "__msan", "kmsan", "kcsan_setup_watchpoint",
    "check_memory_region", "check_heap_object", "check_object", "read_word_at_a_time",
    "(?:read|write)_once_.*nocheck", "debug_object", "timer_is_static_object",
    "work_is_static_object", "lockdep", "perf_trace", "lock_(?:acquire|release)", "lock_class",
    "mark_lock", "(?:reacquire|mark)_held_locks", "might_(?:fault|sleep|resched)",
    "seqprop_assert", "ref_tracker", "bh_(?:enable|disable)",
)  # fmt: skip
_LOCKS = (
    "spin_(?:lock|trylock|unlock)", "raw_spin_rq", "(?:read|write)_(?:lock|trylock|unlock)",
    "^down$", "down_(?:read|write|trylock)", "up_(?:read|write)", "^(?:__|rt_)?mutex_",
    "owner_on_cpu", "osq_(?:lock|unlock)", "^(?:un)?lock_page", "__wake_up", "finish_wait",
    "^complete$", "wait_for_completion",
)  # fmt: skip
_COUNTS = (
    "atomic(?:64)?_(?:dec|inc|read|set|or|xor|and|add|sub|fetch|xchg|cmpxchg|try)",
    "(?:set|clear|change|test)_bit", "^refcount_", "^kref_",
)  # fmt: skip
_COPIES = (
    "mem(?:cpy|cmp|set|chr|move|dup)", "str(?:n?cmp|[ln]?cpy|scpy|n?len|n?str|chr|n?dup)",
    "string", "pointer", "sc?nprintf", "k?v?asprintf", "copy_(?:to|from)_(?:user|iter)",
    "copy_page_(?:to|from)_iter", "copy_folio_to_iter", "^copy(?:in|out)$", "(?:put|get)_user",
    "extract_(?:user|iter)_to_sg", "^crc\\d+", "crc_itu_t", "(?:read|write)[bwlq]$",
    "logic_(?:in|out)",
)  # fmt: skip
_CONTAINERS = (
    "list_(?:add|del|replace|move|splice)", "^(?:__)?rb_", "^klist_", "xas_(?:start|load|find)",
    "rhashtable_lookup", "ida_free",
)  # fmt: skip
_MEMORY = (
    "alloc_page", "k?v?[mzc]alloc", "krealloc", "kmem_cache", "allocate_slab", "^kv?free$",
    "__alloc_frozen_pages", "slab_", "kfree_skb", "folio_(?:alloc|unlock)", "filemap_alloc_folio",
    "__filemap_get_folio", "find_or_create_page", "do_read_cache_folio", "read_cache_page",
    "pagecache_get_page", "grab_cache_page_write_begin", "find_lock_entries",
    "truncate_inode_pages_range", "mark_buffer_dirty",
)  # fmt: skip
_WORK = (
    "del_timer", "__timer_delete_sync", "sk_stop_timer_sync", "lock_timer_base", "__mod_timer",
    "flush_work", "__cancel_work_timer", "cancel_work_sync", "try_to_grab_pending", "insert_work",
    "(?:flush|drain|destroy)_workqueue", "queue_work", "__queue_delayed_work",
    "queue_delayed_work_on", "kthread_stop", "cleanup_srcu_struct",
)  # fmt: skip
_OBJECTS = (  # the driver core and the VFS, called to let go of an object
    "kobject_", "add_uevent_var", "get_device_parent", "device_(?:add|del|unregister|destroy)",
    "device_release", "^put_device$", "devres_release_all", "device_for_each_child",
    "device_remove_file", "tty_unregister_device", "hwrng_unregister", "i2c_del_adapter",
    "__unregister_client", "rollback_registered", "unregister_netdev", "sysfs_remove",
    "dummy_urb_enqueue", "usb_kill_(?:urb|anchored_urbs)", "usb_control_msg", "usb_hcd_submit_urb",
    "usb_submit_urb", "^iput(?:_final)?$", "^ihold$", "dput", "drop_nlink",
)  # fmt: skip
_DISPATCHING = (  # what enters the code that a CPU loops in
    "process_one_work", "do_(?:fast_)?syscall_", "sysenter_dispatch", "tracesys_phase2",
    "el0_svc_handler", "invoke_syscall", "ret_fast_syscall", "netif_receive_skb", "do_softirq",
    "handle_softirqs", "call_timer_fn", "_run_timers", "run_timer_softirq", "hrtimer_run",
    "run_ksoftirqd", "smpboot_thread_fn", "^kthread$", "start_secondary", "cpu_startup_entry",
    "ret_from_fork", "vfs_(?:iter_)?(?:read|write)", "do_iter_(?:read|write)",
    "call_(?:read|write)_iter", "new_sync_(?:read|write)", "vfs_ioctl", "^ioctl$", "compat_ioctl",
    "compat_sys_ioctl", "blkdev_(?:driver_)?ioctl", "^call_mmap", "mmap_region", "do_mmap",
    "do_dentry_open", "vfs_open", "^sock_(?:sendmsg|recvmsg|release|mmap|do_ioctl|ioctl)",
    "^__sock_release", "^setsockopt$", "kernel_(?:setsockopt|listen|accept)", "^listen$",
    "^accept$",
    "sock_common_setsockopt", "sk_common_release", "^compat_sock_ioctl", "^nfnetlink_rcv_msg",
    "^rtnetlink_rcv_msg", "^netlink_dump", "^(?:sys_)?(?:socketpair|connect|ioctl)", "__do_fault",
    "do_page_fault", "^page_fault$", "__fput", "task_work_run", "exit_to_usermode",
    "smp_call_function", "tasklet_(?:hi_)?action", "^system_call", "^entry_SYSCALL",
    "^start_kernel",
    "^do_one_initcall", "^ret_from_kernel_thread",
)  # fmt: skip
INTERRUPTS = LazyPattern(
    r"apic_timer_interrupt|el1h?_(?:64_)?irq$|^__irq_svc|^el1_irq|^timer_interrupt"
)
"""Functions below which stands what a timer interrupted."""


@cache
def _words() -> tuple[tuple[str, ...], re.Pattern[str]]:
    # Most names need no regular expression, and all of them together compile slowly.
    groups = (_REPORTING, _CHECKING, _LOCKS, _COUNTS, _COPIES, _CONTAINERS, _MEMORY, _WORK)
    names = [name for group in (*groups, _OBJECTS) for name in group]
    patterns = "|".join(name for name in names if re.escape(name) != name)
    return tuple(name for name in names if re.escape(name) == name), re.compile(patterns)


@lru_cache(maxsize=4096)
def is_passed_over(function: str) -> bool:
    """Tell whether no title is about this function."""
    words, patterns = _words()
    return any(word in function for word in words) or bool(patterns.search(function))


@cache
def dispatchers() -> re.Pattern[str]:
    """Match the functions that hand work to others."""
    return re.compile("|".join(_DISPATCHING))


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a table's regular expression at its first use."""
    return re.compile(pattern)
