"""C declarations of global variables, which BTF does not describe.

The kernel's BTF has VAR records for per-CPU variables only. drgn and its helpers, and
crashkit's decoders, look these names up; each row gives the declared types, newest
kernel first, and the first whose named types exist is used. Sources: the definition
named in the comment above each group, as of Linux 6.1 to 7.0.
"""

from __future__ import annotations

GLOBALS: dict[str, tuple[str, ...]] = {
    # Looked up by libdrgn itself.
    "modules": ("struct list_head",),
    "panic_cpu": ("atomic_t",),
    "crashing_cpu": ("int",),
    "__per_cpu_offset": ("unsigned long []",),
    "init_pid_ns": ("struct pid_namespace",),
    "init_task": ("struct task_struct",),
    "nr_cpu_ids": ("unsigned int",),
    "__cpu_present_mask": ("struct cpumask",),
    "__cpu_online_mask": ("struct cpumask",),
    "__cpu_possible_mask": ("struct cpumask",),
    "crash_notes": ("note_buf_t *",),
    "jiffies_64": ("u64",),
    "jiffies": ("unsigned long",),
    "page_offset_base": ("unsigned long",),
    "vmemmap_base": ("unsigned long",),
    "vmalloc_base": ("unsigned long",),
    "mem_section": ("struct mem_section **",),
    "saved_command_line": ("char *",),
    "high_memory": ("void *",),
    "pgdir_shift": ("unsigned int",),
    # kernel/printk, kernel/panic.c, kernel/time
    "prb": ("struct printk_ringbuffer *",),
    "clear_seq": ("struct latched_seq",),
    "tainted_mask": ("unsigned long",),
    "taint_flags": ("struct taint_flag [*]",),
    "panic_timeout": ("int",),
    "panic_on_oops": ("int",),
    "oops_in_progress": ("int",),
    "tick_nsec": ("unsigned long",),
    "init_uts_ns": ("struct uts_namespace",),
    "avenrun": ("unsigned long [3]",),
    "timekeeper_data": ("struct tk_data []",),
    "tk_core": ("struct tk_data",),
    "hrtimer_resolution": ("unsigned int",),
    # fs/proc/array.c, kernel/pid.c, kernel/user.c
    "task_state_array": ("const char * const []",),
    "uidhash_table": ("struct hlist_head []",),
    # mm: slab, page, vmalloc, node
    "slab_caches": ("struct list_head",),
    "slab_kset": ("struct kset *",),
    "max_low_pfn": ("unsigned long",),
    "nr_node_ids": ("unsigned int",),
    "__highest_present_section_nr": ("unsigned long",),
    "vmap_zone_size": ("unsigned int",),
    "task_struct_cachep": ("struct kmem_cache *",),
    "init_mm": ("struct mm_struct",),
    "vmap_area_list": ("struct list_head",),
    "vmap_area_root": ("struct rb_root",),
    "vmap_nodes": ("struct vmap_node *",),
    "nr_vmap_nodes": ("int",),
    "node_data": ("struct pglist_data * []",),
    "contig_page_data": ("struct pglist_data",),
    "node_states": ("nodemask_t []",),
    "vm_zone_stat": ("atomic_long_t []",),
    "vm_node_stat": ("atomic_long_t []",),
    "vm_numa_event": ("atomic_long_t []",),
    "totalram_pages": ("atomic_long_t",),
    "_totalram_pages": ("atomic_long_t",),
    "max_pfn": ("unsigned long",),
    "min_low_pfn": ("unsigned long",),
    "swap_info": ("struct swap_info_struct * []",),
    "nr_swapfiles": ("unsigned int",),
    "hstates": ("struct hstate []",),
    "hugetlb_max_hstate": ("int",),
    "slub_debug": ("int",),
    # kernel/bpf, lib
    "btf_idr": ("struct idr",),
    "map_idr": ("struct idr",),
    "prog_idr": ("struct idr",),
    "link_idr": ("struct idr",),
    # kernel/irq
    "irq_desc_tree": ("struct xarray", "struct radix_tree_root"),
    "sparse_irqs": ("struct maple_tree",),
    "nr_irqs": ("int",),
    # kernel/module
    "mod_tree": ("struct mod_tree_root",),
    # kernel/workqueue.c, kernel/cgroup
    "workqueues": ("struct list_head",),
    "cgrp_dfl_root": ("struct cgroup_root",),
    "cgroup_subsys": ("struct cgroup_subsys * []",),
    # drivers/base, block, fs
    "block_class": ("struct class",),
    "super_blocks": ("struct list_head",),
    "file_systems": ("struct file_system_type *",),
    "class_kset": ("struct kset *",),
    "bus_kset": ("struct kset *",),
    "devices_kset": ("struct kset *",),
    # net/core/net_namespace.c
    "init_net": ("struct net",),
    "net_namespace_list": ("struct list_head",),
    "max_gen_ptrs": ("unsigned int",),
    # net/netfilter: conntrack core and standalone, conncount, nfnetlink_queue
    "nf_conntrack_hash": ("struct hlist_nulls_head *",),
    "nf_conntrack_htable_size": ("unsigned int",),
    "nf_conntrack_max": ("unsigned int",),
    "nf_conntrack_cachep": ("struct kmem_cache *",),
    "nf_conntrack_net_id": ("unsigned int",),
    "nf_conntrack_hash_rnd": ("siphash_key_t", "siphash_aligned_key_t"),
    "nf_conntrack_generation": ("seqcount_spinlock_t",),
    "nf_conntrack_locks": ("spinlock_t []",),
    "nf_ct_expect_hash": ("struct hlist_head *",),
    "nf_ct_expect_hsize": ("unsigned int",),
    "conncount_conn_cachep": ("struct kmem_cache *",),
    "conncount_rb_cachep": ("struct kmem_cache *",),
    "nfnl_queue_net_id": ("unsigned int",),
    "xt_pernet_id": ("unsigned int",),
    "nf_tables_net_id": ("unsigned int",),
    # net: neighbours, sockets, fragments, packet filters
    "nf_ct_expect_max": ("unsigned int",),
    "arp_tbl": ("struct neigh_table",),
    "ipv4_dst_ops": ("struct dst_ops",),
    "nd_tbl": ("struct neigh_table",),
    "tcp_hashinfo": ("struct inet_hashinfo",),
    "udp_table": ("struct udp_table",),
    "udplite_table": ("struct udp_table",),
    "nf_frag_pernet_id": ("unsigned int",),
    "nf_hooks": ("struct list_head [13][8]",),
    "ftrace_ops_list": ("struct ftrace_ops *",),
    "skbuff_head_cache": ("struct kmem_cache *",),
    "skbuff_cache": ("struct kmem_cache *",),
    "skbuff_fclone_cache": ("struct kmem_cache *",),
    "net_hotdata": ("struct net_hotdata",),
    "net_cachep": ("struct kmem_cache *",),
    # net/netlink/af_netlink.c
    "nl_table": ("struct netlink_table *",),
}
"""Name to declared types, as drgn type names; an array without length is ``[]``,
one as long as its symbol ``[*]`` (padding up to the next symbol may add empty elements)."""

PER_CPU: dict[str, tuple[str, ...]] = {
    # Kept for BTF without VAR records (pahole before 1.18).
    "runqueues": ("struct rq",),
    "current_task": ("struct task_struct *",),
    "cpu_number": ("int",),
    "hardirq_stack_ptr": ("void *",),
    "kernel_stack": ("unsigned long",),
    "cpu_current_top_of_stack": ("unsigned long",),
    "__irq_regs": ("struct pt_regs *",),
    "__preempt_count": ("int",),
}
"""Per-CPU names that BTF usually describes itself."""
