"""Entries that are counted and in no hash chain, and the expectations.

Up to v5.18 each CPU keeps a list of unconfirmed and one of dying entries
(``net->ct.pcpu_lists``). Linux kernel commit 8a75a2c17410 ("netfilter: conntrack: remove
unconfirmed list") (in v5.19) leaves no list but ``ecache.dying_list``, of entries whose
destroy event was not delivered; all others are found among the allocated objects of the
cache. Which of them a kernel has, its types say.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_columns import Row, row_plan
from crashkit.decode.conntrack_fast import read_record
from crashkit.decode.conntrack_hashed import hashed_conntracks
from crashkit.decode.conntrack_slab import conntrack_slabs
from crashkit.decode.fields import has_member, naming
from crashkit.decode.netns import namespaces, net_generic
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, is_kernel_address, read_bytes, read_u64
from crashkit.value import facts

MAX_ENTRIES = 4_000_000
MAX_CPUS = 8192


@facts
class UnhashedConntrack:
    """An entry that no hash chain holds."""

    address: int
    net: int
    """``ct_net``, ``struct net *``."""
    where: str
    """``unconfirmed list``, ``dying list``, ``ecache list`` or ``slab``: where it was found."""
    cpu: int | None
    """CPU whose list it is on; None for what is no CPU's."""
    row: Row

    def has_status(self, bit: int) -> bool:
        """Whether a status bit is set."""
        return bool(self.row.status >> bit & 1)

    @property
    def confirmed(self) -> bool:
        """Whether IPS_CONFIRMED is set."""
        return self.has_status(conntrack_status.CONFIRMED_BIT)

    @property
    def dying(self) -> bool:
        """Whether IPS_DYING is set."""
        return self.has_status(conntrack_status.DYING_BIT)


def for_each_unconfirmed(prog: Program) -> Iterator[UnhashedConntrack]:
    """Yield the entries of all namespaces that are not confirmed.

    :raises Unavailable: a list, the table or the allocator cannot be read whole
    """
    if _has_cpu_lists(prog):
        yield from _on_cpu_lists(prog, "unconfirmed")
        return
    yield from (entry for entry in _in_slabs(prog) if not entry.confirmed)


def for_each_dying(prog: Program) -> Iterator[UnhashedConntrack]:
    """Yield the confirmed entries of all namespaces that are out of the table.

    Those on a list of undelivered events come first; the others still have references.

    :raises Unavailable: a list, the table or the allocator cannot be read whole
    """
    if _has_cpu_lists(prog):
        yield from _on_cpu_lists(prog, "dying")
        return
    seen: set[int] = set()
    for entry in _undelivered(prog):
        seen.add(entry.address)
        yield entry
    for entry in _in_slabs(prog):
        if entry.confirmed and entry.address not in seen:
            yield entry


def _has_cpu_lists(prog: Program) -> bool:
    with naming("struct netns_ct"):
        return has_member(Object(prog, "struct net *", 0).ct, "pcpu_lists")


def _on_cpu_lists(prog: Program, name: str) -> Iterator[UnhashedConntrack]:
    with naming(f"{name} lists"):
        cpus = list(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))
        for net in namespaces(prog):
            lists = net.ct.pcpu_lists.read_()
            for cpu in cpus:
                head = per_cpu_ptr(lists, cpu).member_(name).first
                yield from _chain(prog, int(head.value_()), f"{name} list", cpu)


def _undelivered(prog: Program) -> Iterator[UnhashedConntrack]:
    for net in namespaces(prog):
        data = net_generic(net, "nf_conntrack_net_id", "struct nf_conntrack_net")
        with naming("ecache.dying_list"):
            # Absent without CONFIG_NF_CONNTRACK_EVENTS; then every event counts as delivered.
            if not has_member(data, "ecache") or not has_member(data.ecache, "dying_list"):
                continue
            first = int(data.ecache.dying_list.first.value_())
        yield from _chain(prog, first, "ecache list", None)


def _chain(prog: Program, node: int, where: str, cpu: int | None) -> Iterator[UnhashedConntrack]:
    plan = row_plan(prog)
    seen: set[int] = set()
    while not node & 1:
        if not is_kernel_address(node) or node in seen or len(seen) >= MAX_ENTRIES:
            raise Unavailable(where, Reason.CORRUPTED, f"at {node:#x}")
        seen.add(node)
        direction = read_bytes(prog, node + plan.direction, 1, "tuple.dst.dir")[0]
        if direction > 1:
            raise Unavailable(where, Reason.CORRUPTED, f"direction {direction} at {node:#x}")
        record = read_record(prog, node - plan.nodes[direction])
        yield UnhashedConntrack(
            address=record.address, net=record.row.net, where=where, cpu=cpu, row=record.row
        )
        node = read_u64(prog, node, where)


def _in_slabs(prog: Program) -> Iterator[UnhashedConntrack]:
    # Once per program; kept are the addresses, since there can be a million.
    cached: array[int] | None = prog.cache.get("crashkit.unhashed_conntracks")
    if cached is None:
        cached = prog.cache["crashkit.unhashed_conntracks"] = array("Q", _unhashed(prog))
    for address in cached:
        row = read_record(prog, address).row
        yield UnhashedConntrack(address=address, net=row.net, where="slab", cpu=None, row=row)


def _unhashed(prog: Program) -> Iterator[int]:
    # Allocated entries with a reference. One that is being set up has none, nor has a freed one,
    # wherever the allocator keeps it (the "golden rule" in nf_conntrack_free()).
    plan, hashed = row_plan(prog), hashed_conntracks(prog).linked
    for slabs in conntrack_slabs(prog):
        if slabs.size < plan.size:
            raise Unavailable("struct nf_conn", Reason.CORRUPTED, f"{slabs.size}-byte objects")
        for address, data in slabs.objects():
            if address in hashed or plan.unpack(data, 0).use <= 0 or slabs.is_free(address):
                continue
            yield address
