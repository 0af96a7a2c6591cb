"""Kernels for counting connection entries: per-CPU lists as up to v5.18, slabs as from v5.19."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, sizeof

from crashkit.decode.conntrack_slab import CacheSlabs
from tests.unit.kernel_doubles import Kernel, add_namespace, chain, empty_table
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel, udp_conntrack

TABLE = 0xFFFF_8881_0000_0000
SIZE = 16
CPU_AREA = 0xFFFF_8882_0000_0000
STRIDE = 0x10_0000
LISTS = 0x3_0000
UNCONFIRMED_END = ((1 << 30) * 2) + 1
DYING_END = (((1 << 30) + 1) * 2) + 1
CONFIRMED, DYING = 1 << 3, 1 << 9


def add_cpus(kernel: Kernel, count: int) -> None:
    """Make the CPUs ``0`` to ``count`` - 1 possible."""
    kernel.struct("cpumask", 8, ("bits", "unsigned long [1]", 0))
    kernel.variable("__cpu_possible_mask", "struct cpumask")
    mask = kernel.prog["__cpu_possible_mask"]
    kernel.set(mask.address_of_(), {"bits[0]": (1 << count) - 1})
    kernel.variable("nr_cpu_ids", "unsigned int", count)
    kernel.variable("__per_cpu_offset", "unsigned long [8]")
    for cpu in range(count):
        place = kernel.prog["__per_cpu_offset"][cpu].address_
        assert place is not None
        kernel.put(place, (CPU_AREA + cpu * STRIDE).to_bytes(8, "little"))


def kernel_with_lists() -> Kernel:
    """A kernel whose CPUs keep lists, with two CPUs, an empty table and one namespace."""
    kernel = el7_kernel()
    kernel.struct(
        "ct_pcpu",
        24,
        ("unconfirmed", "struct hlist_nulls_head", 8),
        ("dying", "struct hlist_nulls_head", 16),
    )
    kernel.struct(
        "netns_ct",
        128,
        ("count", "atomic_t", 0),
        ("htable_size", "u32", 8),
        ("hash", "struct hlist_nulls_head *", 40),
        ("pcpu_lists", "struct ct_pcpu *", 48),
        ("ecache_dwork_pending", "u8", 56),
    )
    net = _furnish(kernel)
    kernel.set(net, {"ct.hash": TABLE, "ct.htable_size": SIZE, "ct.pcpu_lists": LISTS})
    for cpu in range(2):
        kernel.put(list_head(cpu, "unconfirmed"), UNCONFIRMED_END.to_bytes(8, "little"))
        kernel.put(list_head(cpu, "dying"), DYING_END.to_bytes(8, "little"))
    return kernel


def kernel_with_ecache() -> Kernel:
    """A kernel with one list of undelivered events, an empty table and one namespace."""
    kernel = modern_kernel()
    kernel.struct("nf_conntrack_net_ecache", 16, ("dying_list", "struct hlist_nulls_head", 8))
    kernel.struct(
        "nf_conntrack_net",
        32,
        ("count", "atomic_t", 0),
        ("ecache", "struct nf_conntrack_net_ecache", 16),
    )
    net = _furnish(kernel)
    data = kernel.allocate("struct nf_conntrack_net", **{"ecache.dying_list.first": DYING_END})
    generic = kernel.allocate("struct net_generic", **{"s.len": 3})
    kernel.put(generic.value_() + 16, data.value_().to_bytes(8, "little"))
    kernel.set(net, {"gen": generic.value_()})
    kernel.variable("nf_conntrack_net_id", "unsigned int", 2)
    kernel.variable("nf_conntrack_hash", "struct hlist_nulls_head *", TABLE)
    kernel.variable("nf_conntrack_htable_size", "u32", SIZE)
    return kernel


def _furnish(kernel: Kernel) -> Object:
    empty_table(kernel, TABLE, SIZE)
    net = add_namespace(kernel)
    add_cpus(kernel, 2)
    kernel.variable("jiffies", "unsigned long", 1_000_000)
    kernel.variable("nf_conntrack_max", "unsigned int", 100)
    return net


def list_head(cpu: int, name: str) -> int:
    """Address of a CPU's list."""
    return CPU_AREA + cpu * STRIDE + LISTS + {"unconfirmed": 8, "dying": 16}[name]


def set_count(kernel: Kernel, count: int) -> None:
    """Set the counter of the namespace."""
    net = kernel.prog["init_net"].address_of_()
    if kernel.type("struct netns_ct").has_member("count"):
        kernel.set(net, {"ct.count": count.to_bytes(4, "little")})
    else:
        kernel.put(int(net.gen.ptr[2].value_()), count.to_bytes(4, "little"))


def entry(
    kernel: Kernel, status: int = CONFIRMED, use: int = 1, expires: int = 1_000_500
) -> Object:
    """An entry of the namespace, linked nowhere."""
    ct = udp_conntrack(kernel, status=status)
    net = kernel.prog["init_net"].address_
    assert net is not None
    wrapped = kernel.knows("possible_net")
    timer = kernel.knows("timer_list")
    kernel.set(
        ct,
        {
            "ct_net.net" if wrapped else "ct_net": net,
            "timeout.expires" if timer else "timeout": expires,
            "ct_general.use": use.to_bytes(4, "little"),
        },
    )
    return ct


def node(ct: Object, direction: int) -> int:
    """Address of one direction's list node."""
    return int(ct.tuplehash[direction].hnnode.address_of_().value_())


def link(kernel: Kernel, head: int, end: int, *entries: Object) -> None:
    """Hang the original directions of entries into a list."""
    before = head
    for ct in entries:
        kernel.put(before, node(ct, 0).to_bytes(8, "little"))
        before = node(ct, 0)
    kernel.put(before, end.to_bytes(8, "little"))


def put_in_table(kernel: Kernel, *entries: Object) -> None:
    """Hang entries into the table in both directions, into a bucket each."""
    for number, ct in enumerate(entries):
        chain(kernel, TABLE, 2 * number, node(ct, 0))
        chain(kernel, TABLE, 2 * number + 1, node(ct, 1))


class FakeSlabs(CacheSlabs):
    """Slabs that hold the given objects, some of them free."""

    def __init__(self, objects: list[Object], free: tuple[Object, ...] = ()) -> None:
        self._objects = objects
        self._freed = {one.value_() for one in free}
        self.size = sizeof(objects[0][0]) if objects else 4096

    def objects(self) -> Iterator[tuple[int, bytes]]:
        """Yield them as the real one does."""
        for one in self._objects:
            yield one.value_(), one[0].to_bytes_()

    def is_free(self, address: int) -> bool:
        """Whether it was named free."""
        return address in self._freed

    def holds(self, address: int) -> bool:
        """Whether it was given."""
        return any(one.value_() == address for one in self._objects)
