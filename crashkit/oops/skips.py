"""Functions that a title is not about: they report, they check, or they only did as told.

Which of two callers a bug is in, no name tells; but the kernel's layers do. Code that
serves the whole kernel (an allocator, a lock, a list, memcpy()) trips over what its caller
handed it. Each family below is such a layer, named by where its source is, with what its
functions' names have in common. Names are compared without leading underscores and without
the prefixes ``arch_`` and ``raw_``, which only tell variants of a function apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

_VARIANTS = ("arch_", "raw_", "native_")


@dataclass(frozen=True, slots=True)
class Family:
    """Functions of one layer."""

    source: str
    """Where they are defined."""
    starts: tuple[str, ...] = ()
    """Beginnings of their names."""
    holds: tuple[str, ...] = ()
    """Parts of their names that no other layer uses."""
    exactly: frozenset[str] = frozenset()
    """Names too short to be told by a part."""
    ends: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    """Words of their names, between underscores."""


_SERVANTS = (
    Family(
        "kernel/panic.c, kernel/printk, lib/bug.c, lib/dump_stack.c, arch/*/kernel/dumpstack.c: "
        "they print the report",
        starts=("dump_stack", "dump_backtrace", "show_stack", "show_regs",
                "show_trace", "print_",
                "report_bug", "report_addr", "warn_", "oops_", "die_", "crash_kexec", "bust_",
                "unwind_backtrace", "walk_stack", "stack_walk", "stack_trace_", "sched_show_",
                "va_format",
                "hex_dump_", "imbalance_bug", "fixup_bug", "handle_bug", "add_taint", "nmi_",
                "trigger_"),
        holds=("printk", "panic"),  # also the panics of file systems
        exactly=frozenset({"die", "warn", "bug", "get_taint"}
                          | {f"dev_{level}" for level in ("emerg", "alert", "crit", "err", "warn",
                                                          "notice", "info")}),
        ends=("assertfail", "assfail"),
    ),
    Family(
        "arch/*/kernel/traps.c, arch/*/mm/fault.c, arch/*/entry: an exception was taken",
        starts=("exc_", "asm_exc_", "do_trap", "do_error_trap", "do_kernel_fault",
                "do_translation_fault", "do_mem_abort", "do_bad_area", "el1_", "el1h_",
                "invalid_op", "do_invalid_op", "program_check_", "phys_addr",
                "x86_indirect_thunk_"),
        ends=("_trap",),
    ),
    Family(
        "mm/kasan, mm/kmsan, mm/kfence, kernel/kcsan, lib/ubsan.c, lib/string_helpers.c: "
        "instrumentation",
        holds=("asan", "msan", "kcsan", "ubsan", "fortify", "sanitizer", "_once_nocheck",
               "once_word_nocheck"),
        starts=("check_memory_region", "read_word_at_a_time", "check_heap_object"),
    ),
    Family(
        "kernel/locking/lockdep.c, lib/debugobjects.c, lib/ref_tracker.c, kernel/trace: "
        "they watch what others do",
        starts=("mark_lock", "mark_held", "reacquire_held", "lock_acquire", "lock_release",
                "lock_is_held", "might_", "trace_hardirq", "trace_softirq",
                "perf_trace", "ref_tracker", "seqprop_", "debug_check", "timer_is_static",
                "work_is_static", "check_object"),
        holds=("lockdep", "lock_class", "debug_object"),
    ),
    Family(
        "kernel/locking, lib/*lock*.c, kernel/softirq.c: locks",
        starts=("spin_", "do_spin_", "queued_spin_", "queued_read_", "queued_write_", "read_lock",
                "read_trylock", "read_unlock", "write_lock", "write_trylock", "write_unlock",
                "mutex_", "rt_mutex_", "rwsem_", "down_", "up_", "osq_", "local_bh_", "owner_on_",
                "do_raw_"),
        exactly=frozenset({"down", "up"}),
        holds=("_bh_enable", "_bh_disable"),
        ends=("_read_lock", "_write_lock", "_spin_lock"),
    ),
    Family(
        "kernel/sched/wait.c, kernel/sched/completion.c: waking and waiting",
        starts=("wake_up_common", "wake_up_locked", "wake_up_sync", "finish_wait", "complete_",
                "wait_for_completion", "prepare_to_wait"),
        exactly=frozenset({"complete", "wake_up"}),
    ),
    Family(
        "include/linux/atomic, lib/refcount.c, include/asm-generic/bitops: counters and bits",
        starts=("atomic_", "atomic64_", "atomic_long_", "refcount_", "kref_", "rcuref_",
                "set_bit", "clear_bit", "change_bit", "test_bit", "test_and_"),
    ),
    Family(
        "lib/string.c, lib/vsprintf.c, lib/iov_iter.c, arch/*/lib, lib/crc*: copying, comparing",
        starts=("memcpy", "memset", "memmove", "memcmp", "memchr", "memdup", "strn", "strl",
                "strs", "strc", "strr", "strd", "copy_to_", "copy_from_", "copy_page_",
                "copy_folio_",
                "copyin", "copyout", "get_user", "put_user", "extract_iter_", "extract_user_",
                "crc", "string_"),
        holds=("printf", "copy_to_user", "copy_from_user"),
        exactly=frozenset({"string", "pointer"}),
        ends=("_string",),
    ),
    Family(
        "include/asm-generic/io.h, lib/logic_pio.c: device registers",
        starts=("logic_in", "logic_out"),
        exactly=frozenset(f"{verb}{size}" for verb in ("read", "write", "ioread", "iowrite")
                          for size in ("b", "w", "l", "q")),
    ),
    Family(
        "lib/list_debug.c, lib/rbtree.c, lib/xarray.c, lib/idr.c, lib/klist.c, lib/rhashtable.c: "
        "containers",
        starts=("list_add", "list_del", "list_move", "list_replace", "list_splice", "hlist_",
                "rb_", "klist_", "xas_", "xa_", "ida_", "idr_", "radix_tree_", "rhashtable_",
                "rht_"),
    ),
    Family(
        "mm/slab*, mm/page_alloc.c, mm/vmalloc.c, mm/util.c: allocation and release",
        starts=("kmalloc", "kzalloc", "kcalloc", "krealloc", "kvmalloc", "kvzalloc", "vmalloc",
                "vzalloc", "kmem_", "alloc_page", "alloc_frozen_", "folio_alloc", "get_free_page",
                "allocate_slab", "new_slab", "slab_", "do_kmalloc", "kfree_skb"),
        exactly=frozenset({"kfree", "kvfree"}),
        holds=("kmem_cache",),
    ),
    Family(
        "mm/filemap.c, mm/truncate.c, fs/buffer.c: the page cache, on a file system's behalf",
        starts=("filemap_alloc_", "filemap_get_", "find_or_create_page", "find_lock_",
                "pagecache_get_", "grab_cache_", "read_cache_page", "do_read_cache_",
                "truncate_inode_pages", "folio_lock", "folio_unlock", "lock_page",
                "unlock_page", "mark_buffer_dirty"),
    ),
    Family(
        "kernel/workqueue.c, kernel/time/timer.c, kernel/kthread.c, kernel/rcu/srcu*.c: they stop "
        "or start what a driver owns",
        starts=("timer_delete", "mod_timer", "lock_timer_base", "try_to_grab_pending",
                "sk_stop_timer", "queue_work", "queue_delayed_", "insert_work", "flush_work",
                "cancel_work", "cancel_delayed_work", "drain_workqueue", "destroy_workqueue",
                "kthread_stop", "cleanup_srcu_"),
        holds=("del_timer",),
    ),
    Family(
        "lib/kobject*.c, drivers/base, fs/sysfs, net/core/dev.c: the device model lets go of an "
        "object",
        holds=("sysfs_remove",),
        starts=("kobject_", "devres_", "device_add", "device_del", "device_release",
                "device_unregister", "device_destroy", "device_remove_", "device_for_each_",
                "get_device_parent", "add_uevent_", "unregister_netdev", "rollback_registered",
                "unregister_client"),
        exactly=frozenset({"put_device"}),
    ),
    Family(
        "drivers/usb/core/{urb,hcd,message}.c: a driver's request is handed on",
        starts=("usb_submit_", "usb_kill_", "usb_control_msg", "usb_hcd_"),
        ends=("_urb_enqueue",),
    ),
    Family(
        "fs/inode.c, fs/dcache.c: references of a file system's objects",
        starts=("iput", "drop_nlink"),
        holds=("dput",),
        exactly=frozenset({"ihold", "igrab"}),
    ),
)  # fmt: skip

_DISPATCHERS = (
    Family(
        "arch/*/entry: system calls",
        starts=("do_syscall_", "do_fast_syscall_", "sysenter", "tracesys", "system_call", "el0_",
                "invoke_syscall", "ret_fast_syscall", "entry_SYSCALL", "entry_INT80",
                "exit_to_user"),
    ),
    Family(
        "kernel/softirq.c, kernel/time, kernel/smp.c: interrupts' work",
        starts=("do_softirq", "handle_softirqs", "run_ksoftirqd", "tasklet_", "call_timer_fn",
                "run_timer", "hrtimer_run", "smp_call_function"),
    ),
    Family(
        "kernel/workqueue.c, kernel/kthread.c, kernel/smpboot.c, init/main.c: a thread's loop",
        starts=("process_one_work", "smpboot_thread_fn", "start_secondary", "cpu_startup_entry",
                "ret_from_", "start_kernel", "do_one_initcall"),
        exactly=frozenset({"kthread"}),
        holds=("task_work_run",),
    ),
    Family(
        "fs/read_write.c, fs/ioctl.c, fs/open.c, fs/file_table.c, block/ioctl.c: the VFS's "
        "operations",
        starts=("vfs_read", "vfs_write", "vfs_iter_", "vfs_ioctl", "vfs_open", "do_vfs_ioctl",
                "do_iter_", "call_read_iter", "call_write_iter", "new_sync_",
                "do_dentry_open", "compat_ioctl", "compat_sys_ioctl", "blkdev_ioctl",
                "blkdev_driver_ioctl", "sys_ioctl"),
        exactly=frozenset({"ioctl", "fput"}),
        ends=("_compat_ioctl",),
    ),
    Family(
        "fs/debugfs/file.c: a file's operations, passed on to whoever made it",
        starts=("full_proxy_",),
    ),
    Family(
        "mm/mmap.c, mm/memory.c, arch/*/mm/fault.c: a mapping is made or used",
        starts=("do_mmap", "mmap_region", "call_mmap", "do_fault", "do_page_fault", "page_fault"),
    ),
    Family(
        "net/socket.c, net/core/sock.c, net/core/dev.c, net/netlink: sockets' operations",
        starts=("sock_sendmsg", "sock_recvmsg", "sock_release", "sock_mmap", "sock_ioctl",
                "sock_do_ioctl", "sock_common_setsockopt", "sk_common_release", "compat_sock_",
                "kernel_setsockopt", "kernel_listen", "kernel_accept", "netif_receive_skb",
                "netlink_dump", "rtnetlink_rcv_", "nfnetlink_rcv_", "socketpair", "connect",
                "sys_socketpair", "sys_connect"),
        exactly=frozenset({"setsockopt", "listen", "accept"}),
    ),
)  # fmt: skip

_INTERRUPTS = Family(
    "arch/*/entry: below stands what an interrupt came upon",
    starts=("el1_irq", "el1h_64_irq", "irq_svc", "timer_interrupt"),
    holds=("apic_timer_interrupt",),
)


@cache
def is_in(*families: Family) -> Callable[[str], bool]:
    """Make a function that tells whether a function belongs to one of some families."""
    # One tuple for each way to compare: no regular expression has to be compiled.
    starts = tuple(part for family in families for part in family.starts)
    holds = tuple(part for family in families for part in family.holds)
    ends = tuple(part for family in families for part in family.ends)
    exactly = frozenset(name for family in families for name in family.exactly)
    words = frozenset(word for family in families for word in family.words)

    @lru_cache(maxsize=4096)
    def matches(function: str) -> bool:
        name = _bare(function)
        return (
            name.startswith(starts)
            or name in exactly
            or name.endswith(ends)
            or any(part in name for part in holds)
            or (bool(words) and not words.isdisjoint(name.split("_")))
        )

    return matches


def _bare(function: str) -> str:
    name = function.lstrip("_")
    for prefix in _VARIANTS:
        name = name.removeprefix(prefix).lstrip("_")
    return name


is_passed_over = is_in(*_SERVANTS)
"""Tell whether no title is about this function."""
is_dispatcher = is_in(*_DISPATCHERS)
"""Tell whether a function only hands work to others."""
is_interrupt = is_in(_INTERRUPTS)
"""Tell whether below this function stands what a timer interrupted."""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a table's regular expression at its first use."""
    return re.compile(pattern)
