"""C declarations of functions that BTF may not describe.

Up to Linux 5.10 modules have no BTF (36e68442d1af, "bpf: Load and verify kernel module
BTFs"), and older pahole leaves out functions that ftrace does not know, as those of init
memory. A row is here only if the declaration is the same in Linux 5.10 (by its DWARF) and
6.1 (by its BTF); the file it is in is named in the comment above each group.
"""

from __future__ import annotations

PROTOTYPES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    # arch/x86/mm/init_64.c; libdrgn asks whether there is one. What it takes is not the same in
    # all kernels, so nothing of it is said.
    "vmemmap_populate": ("int", ()),
    # net/netfilter/nf_conntrack_core.c, nf_conntrack_ecache.c
    "__nf_conntrack_confirm": ("int", (("struct sk_buff *", "skb"),)),
    "nf_conntrack_alter_reply": (
        "void",
        (("struct nf_conn *", "ct"), ("const struct nf_conntrack_tuple *", "newreply")),
    ),
    "nf_conntrack_free": ("void", (("struct nf_conn *", "ct"),)),
    "nf_conntrack_hash_check_insert": ("int", (("struct nf_conn *", "ct"),)),
    "nf_conntrack_tuple_taken": (
        "int",
        (
            ("const struct nf_conntrack_tuple *", "tuple"),
            ("const struct nf_conn *", "ignored_conntrack"),
        ),
    ),
    "nf_ct_delete": (
        "bool",
        (("struct nf_conn *", "ct"), ("u32", "portid"), ("int", "report")),
    ),
    "nf_ct_deliver_cached_events": ("void", (("struct nf_conn *", "ct"),)),
}
"""Name to the return type and the parameters' types and names, as drgn type names."""
