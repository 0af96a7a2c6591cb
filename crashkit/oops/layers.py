"""Layers that reports of one kind alone pass through, besides those of every report.

A row of the kinds' tables names one: what the check that reports is made of, or what it was
called by on everybody's behalf. As in :mod:`crashkit.oops.skips`, each says where it is.
"""

from __future__ import annotations

from crashkit.oops.skips import Family

NOBODY = Family("no further function: the lock's own place is asked for")

SLEEPING = Family(
    "kernel/sched, kernel/locking, kernel/rcu, kernel/kthread.c: a task sleeps in them until "
    "somebody else acts",
    starts=("switch_to", "context_switch", "rcu_barrier"), holds=("fdatawait",),
    words=frozenset({"schedule", "sched", "wait", "waiting", "completion", "timeout", "synchronize",
                     "lock", "slowlock", "down", "rwsem", "kthread"}),
)  # fmt: skip
SCHEDULER = Family(
    "kernel/sched/core.c, kernel/time: giving up the CPU",
    starts=("schedule", "preempt_schedule", "io_schedule", "switch_to", "msleep", "ssleep",
            "usleep_range", "sched_"),
)  # fmt: skip
PREEMPTED = Family(
    "kernel/sched/core.c, arch/x86/entry: an interrupt's return scheduled",
    starts=("schedule", "preempt_schedule", "retint_"),
)
SPINNING = Family(
    "kernel/locking/spinlock*.c and their users' wrappers",
    starts=("spin_", "rwlock_"), words=frozenset({"lock", "unlock"}),
)  # fmt: skip
READERS = Family(
    "kernel/rcu, include/linux/rcu*.h: a reader's check; and the allocators that make it",
    words=frozenset({"rcu", "srcu"}), starts=("rcu", "srcu", "kmem_", "slab_"), holds=("slab",),
)  # fmt: skip
RCU = Family(
    "kernel/rcu: the stall detector itself, and the interrupt it runs in",
    words=frozenset({"rcu"}), holds=("apic_timer_interrupt",),
)  # fmt: skip
LOCK_STATE = Family(
    "kernel/locking/lockdep.c: a lock's state is checked", starts=("valid_state", "mark_irqflags")
)
LOCK_KEYS = Family(
    "kernel/locking: a lock gets its class at its first use",
    starts=("assign_lock_", "register_lock_", "dump_stack"),
    words=frozenset({"lock", "trylock", "stack"}),
)
WORK_QUEUES = Family(
    "kernel/workqueue.c: it holds a lock for the length of a work item",
    starts=("process_one_work", "flush_workqueue", "drain_workqueue", "destroy_workqueue",
            "lock_map_acquire"),
)  # fmt: skip
SOCKET_LOCK = Family(
    "net/core/sock.c: the lock that every operation on a socket takes",
    starts=("lock_sock", "release_sock"),
)
PER_CPU = Family(
    "lib/smp_processor_id.c: the CPU's number is asked for",
    starts=("debug_smp_", "this_cpu_"), holds=("preempt", "processor_id"),
)  # fmt: skip
TRACKED = Family(
    "lib/debugobjects.c; kernel/time, kernel/rcu, kernel/workqueue.c, lib/kobject.c, mm: an "
    "object that it tracks begins or ends",
    starts=("debug_", "hrtimer_", "timer_", "init_timer", "work_", "init_work", "percpu_", "vunmap",
            "vfree", "kobject_", "free_pages", "free_contig", "call_rcu", "init_rcu_head"),
    words=frozenset({"rcu", "timer"}),
)  # fmt: skip
PROC_ENTRIES = Family("fs/proc/generic.c: an entry is made", starts=("proc_",))
ALLOCATORS = Family(
    "mm/slab_common.c, mm/slub.c, mm/util.c", holds=("malloc", "realloc", "slab"), starts=("kmem_",)
)
COUNTED = Family(
    "lib/refcount.c, lib/kobject.c", holds=("refcount", "rcuref"), starts=("kobject_",)
)
KOBJECTS = Family("lib/kobject.c", starts=("kobject_",))
COPIED = Family(
    "mm/usercopy.c, lib/usercopy.c, include/linux/uaccess.h: a copy to or from user space",
    starts=("check_",), holds=("usercopy", "_copy_", "copy_to_", "copy_from_"),
)  # fmt: skip
PACKET_BOUNDS = Family(
    "net/core/skbuff.c: an skb's bounds are kept, and its parts given back",
    starts=("skb_panic", "skb_over_panic", "skb_under_panic", "skb_put", "skb_push", "skb_pull",
            "skb_release_", "skb_free_", "sk_skb_reason_drop", "consume_skb"),
)  # fmt: skip
BAD_STACK = Family("arch/*/kernel/traps.c: no stack is left to report on", holds=("bad_stack",))
URBS = Family(
    "drivers/usb/core: a driver's request is handed on",
    starts=("usb_submit_", "usb_start_wait_", "usb_bulk_msg", "usb_interrupt_msg",
            "usb_control_msg", "alloc_skb"),
)  # fmt: skip
CARRIERS = Family(
    "crypto, drivers/char/random.c, net/core/skbuff.c, net/netlink: they pass on bytes that "
    "others left uninitialised",
    starts=("crypto_", "cipher_", "drbg_", "rng_", "alloc_skb", "netlink_ack", "netlink_rcv_"),
    ends=("_encrypt",),
)
ARITHMETIC = Family("lib/ubsan.c", holds=("ubsan",), words=frozenset({"overflow"}))
TAG_FAULTS = Family(
    "arch/arm64/mm/fault.c: a tag did not fit",
    starts=("el1_", "el1h_"), holds=("kernel_fault", "tag_check", "mem_abort"),
)  # fmt: skip
FREEING = Family("mm/slub.c, mm/vmalloc.c", starts=("slab_", "kfree", "vunmap", "vfree"))
PAGES = Family(
    "mm/page_alloc.c, mm/swap.c, mm/folio-compat.c, mm/truncate.c: pages on their way back",
    starts=("bad_page", "prep_new", "page_frag_free", "truncate_inode_pages", "folio", "free_unref",
            "free_tail", "check_new_page", "free_one_", "free_hot_"),
    holds=("alloc", "vmap", "page_owner", "free_page", "put_page", "get_page", "release_pages",
           "update_page"),
)  # fmt: skip
PAGE_CHECKS = Family(
    "mm/page_alloc.c: a page is checked on its way in and out",
    starts=("bad_page", "free_page", "free_unref", "free_tail", "free_one_", "free_hot_",
            "prep_new", "get_page_from", "check_new_page"),
)  # fmt: skip
MAKING_PAGES = Family("mm/page_alloc.c, mm/slub.c", starts=("new_slab",), holds=("nopage",))
OBJECTS_MADE = Family(
    "mm/kmemleak.c, mm, lib/idr.c, lib/kasprintf.c: they made the object on their caller's behalf",
    holds=("kmemleak", "alloc", "mmap", "kmem", "slab", "asprintf", "strdup", "strndup", "memdup"),
    starts=("create_object", "idr_", "list_lru_init", "pcpu_"),
)
STACK_CHECK = Family("kernel/panic.c: stack protector", holds=("stack_chk",))
RUST_PANIC = Family("rust/kernel: its panic handler", holds=("rust_begin_unwind",))
