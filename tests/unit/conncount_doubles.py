"""connlimit's structures in memory written by hand."""

from __future__ import annotations

from collections.abc import Sequence

from drgn import Object

from tests.unit.kernel_doubles import Kernel, add_namespace, empty_table, list_of
from tests.unit.netfilter_doubles import modern_kernel

TABLE = 0xFFFF_8881_0000_0000
BUCKETS = 16
NOW = 0x1_0000_0010
"""``jiffies``: its low half has wrapped a moment ago."""


def conncount_kernel(collects: str = "once per tick") -> Kernel:
    """A kernel with nf_conncount as it collects: always, once per tick, once per tick or 64."""
    kernel = modern_kernel()
    kernel.struct(
        "rb_node",
        24,
        ("__rb_parent_color", "unsigned long", 0),
        ("rb_right", "struct rb_node *", 8),
        ("rb_left", "struct rb_node *", 16),
    )
    kernel.struct("rb_root", 8, ("rb_node", "struct rb_node *", 0))
    kernel.struct("work_struct", 32, ("func", "void *", 24))
    members = [("head", "struct list_head", 8), ("count", "u32", 24)]
    if collects != "always":
        members.append(("last_gc", "u32", 4))
    if collects == "once per tick or 64":
        members.append(("last_gc_count", "u32", 28))
    kernel.struct("nf_conncount_list", 32, *members)
    kernel.struct("nf_conncount_rb", 96, ("node", "struct rb_node", 0),
                  ("list", "struct nf_conncount_list", 24), ("key", "u32 [5]", 56))  # fmt: skip
    kernel.struct("nf_conncount_data", 136, ("keylen", "u32", 0), ("root", "struct rb_root [4]", 8),
                  ("net", "struct net *", 40), ("gc_work", "struct work_struct", 48))  # fmt: skip
    kernel.struct("nf_conncount_tuple", 72, ("node", "struct list_head", 0),
                  ("tuple", "struct nf_conntrack_tuple", 16),
                  ("zone", "struct nf_conntrack_zone", 56), ("cpu", "int", 60),
                  ("jiffies32", "u32", 64))  # fmt: skip
    empty_table(kernel, TABLE, BUCKETS)
    add_namespace(kernel)
    kernel.variable("nf_conntrack_hash", "struct hlist_nulls_head *", TABLE)
    kernel.variable("nf_conntrack_htable_size", "u32", BUCKETS)
    kernel.variable("jiffies", "unsigned long", NOW)
    return kernel


def net_of(kernel: Kernel) -> int:
    """``struct net *`` of the only namespace."""
    address = kernel.prog["init_net"].address_
    assert address is not None
    return int(address)


def entry(kernel: Kernel, tuple_: bytes = bytes(40), *, age: int = 0, zone: int = 0) -> Object:
    """A ``struct nf_conncount_tuple *`` that was added ``age`` ticks ago."""
    made = kernel.allocate("struct nf_conncount_tuple", tuple=tuple_, jiffies32=NOW - age)
    kernel.set(made, {"zone.id": zone, "zone.dir": 3})
    return made


def tree_node(kernel: Kernel, entries: Sequence[Object], key: int = 0, gc_age: int = 0) -> Object:
    """A ``struct nf_conncount_rb *`` whose list holds these entries."""
    node = kernel.allocate("struct nf_conncount_rb")
    kernel.set(node, {"list.count": len(entries), "key[0]": key})
    if kernel.type("struct nf_conncount_list").has_member("last_gc"):
        kernel.set(node, {"list.last_gc": NOW - gc_age})
    list_of(kernel, node.list.head.address_of_(), "node", *entries)
    return node


def data_of(kernel: Kernel, *roots: Object) -> Object:
    """A ``struct nf_conncount_data *`` with these tree nodes as roots, two words of key."""
    values = {f"root[{slot}].rb_node": int(root) for slot, root in enumerate(roots)}
    made = kernel.allocate("struct nf_conncount_data")
    kernel.set(made, {"keylen": 2, "net": net_of(kernel), **values})
    return made
