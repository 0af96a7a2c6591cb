"""The connection table: where a ``struct nf_conn`` is linked, and all of its entries.

An entry hangs in the table twice, once per direction, in chains that end in a
"nulls" marker: an odd number, twice the bucket number plus one
(include/linux/list_nulls.h). While it is not in the table, ``pprev`` of the reply
direction holds the raw hash value instead of a pointer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from drgn import FaultError, Object, Program, container_of, offsetof, sizeof
from drgn.helpers.linux.list_nulls import is_a_nulls

from crashkit.decode.conntrack import DIRECTIONS
from crashkit.decode.fields import has_member, naming, pointer
from crashkit.decode.netns import namespaces
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address, read_bytes, read_u64
from crashkit.value import facts

MAX_BUCKETS = 1 << 24
MAX_NODES = 4_000_000
"""Nodes that a scan of one table follows before it gives up."""
MAX_CHAIN = 100_000

_LIST_MARKERS = {1 << 30: "unconfirmed", (1 << 30) + 1: "dying", (1 << 30) + 2: "template"}
# net/netfilter/nf_conntrack_core.c up to v5.18: UNCONFIRMED_, DYING_, TEMPLATE_NULLS_VAL


@facts
class HashTable:
    """A conntrack hash table: address of its bucket array and number of buckets."""

    address: int
    size: int


@facts
class ChainPlace:
    """Where one direction's node of an entry is linked."""

    where: str
    """``hash``, ``unconfirmed``, ``dying``, ``template`` or ``unlinked``."""
    bucket: int | None
    """Bucket number; None when it is not in the hash."""


@facts
class TableScan:
    """All nodes of a table."""

    buckets: dict[int, int]
    """Node address to bucket number."""
    broken: tuple[Unavailable, ...]
    """Chains that could not be followed to their ends."""


def hash_table(prog: Program, net: Object | None = None) -> HashTable:
    """Find the table.

    Global since Linux kernel commit 56d52d4892d0 ("netfilter: conntrack: use a single
    hashtable for all namespaces") (in v4.7); before that, one per namespace.

    :param net: ``struct net *``; used where the table belongs to the namespace
    :raises Unavailable: it is unknown, or its size makes no sense
    """
    with naming("nf_conntrack_hash"):
        if net is not None and has_member(net.ct, "hash"):
            table, size = net.ct.hash.read_(), int(net.ct.htable_size.value_())
        else:
            table = prog["nf_conntrack_hash"].read_()
            size = int(prog["nf_conntrack_htable_size"].value_())
        address = pointer(table, "nf_conntrack_hash")
    if not 0 < size <= MAX_BUCKETS:
        raise Unavailable("nf_conntrack_hash", Reason.CORRUPTED, f"{size} buckets")
    return HashTable(address=address, size=size)


def table_of(ct: Object) -> HashTable:
    """Find the table that an entry belongs to.

    :param ct: ``struct nf_conn *``
    :raises Unavailable: see :func:`hash_table`; or the entry's namespace is needed and wild
    """
    prog = ct.prog_
    with naming("conntrack table"):
        if not has_member(Object(prog, "struct net *", 0).ct, "hash"):
            return hash_table(prog)
        net = ct.ct_net.net if has_member(ct.ct_net, "net") else ct.ct_net.read_()
        pointer(net, "ct->ct_net")
        return hash_table(prog, net)


def find_in_hash(prog: Program, ct: Object) -> dict[str, bool | Unavailable]:
    """Tell for each direction whether the entry can be reached from its hash bucket.

    The node's own chain is followed to its end marker, which names the bucket, and the
    bucket's chain back to the node. Only when that fails is the whole table searched.

    :param ct: ``struct nf_conn *``
    :return: ``original`` and ``reply`` to the answer, or to why there is none
    """
    answers: dict[str, bool | Unavailable] = {}
    for name, direction in DIRECTIONS.items():
        try:
            answers[name] = find_in_chains(prog, ct, direction).where == "hash"
        except Unavailable as missing:
            answers[name] = missing
    return answers


def find_in_chains(prog: Program, ct: Object, direction: int) -> ChainPlace:
    """Find where one direction's node of an entry is linked.

    :param ct: ``struct nf_conn *``
    :param direction: 0 original, 1 reply
    :raises Unavailable: the table cannot be had, or a chain that could hold the node
        cannot be followed
    """
    pointer(ct, "struct nf_conn")
    table = table_of(ct)
    node = ct.tuplehash[direction].hnnode.address_of_().value_()
    marker = _end_marker(ct, direction)
    if marker in _LIST_MARKERS:
        return ChainPlace(where=_LIST_MARKERS[marker], bucket=None)
    if marker is not None and marker < table.size:
        walk = _Walk(prog)
        if walk.finds(table, marker, node):
            return ChainPlace(where="hash", bucket=marker)
    scan = scan_table(prog, table)
    if node in scan.buckets:
        return ChainPlace(where="hash", bucket=scan.buckets[node])
    if scan.broken:
        first = scan.broken[0]
        raise Unavailable("conntrack table", first.reason, f"cannot be read whole: {first.detail}")
    return ChainPlace(where="unlinked", bucket=None)


def _end_marker(ct: Object, direction: int) -> int | None:
    # The nulls value at the end of the chain the node is in; None when it is in none,
    # judged by its predecessor, or when the chain breaks off.
    node = ct.tuplehash[direction].hnnode
    with naming("hnnode.pprev"):
        before = int(node.pprev.value_())
    if not is_kernel_address(before):
        return None
    try:
        if read_u64(ct.prog_, before) != node.address_:
            return None
        return _Walk(ct.prog_).end(int(node.address_))
    except Unavailable:
        return None


class _Walk:
    # Follows chains by raw reads; offsets come from the types.
    def __init__(self, prog: Program) -> None:
        self.prog = prog
        with naming("struct hlist_nulls_node"):
            self.next_offset = offsetof(prog.type("struct hlist_nulls_node"), "next")
            self.head_size = sizeof(prog.type("struct hlist_nulls_head"))

    def chain(self, first: int) -> Iterator[int]:
        # Yield node addresses, then the odd marker that ends the chain.
        seen: set[int] = set()
        while not first & 1:
            if not is_kernel_address(first) or first in seen or len(seen) >= MAX_CHAIN:
                raise Unavailable("hash chain", Reason.CORRUPTED, f"at {first:#x}")
            seen.add(first)
            yield first
            first = read_u64(self.prog, first + self.next_offset, "hash chain")
        yield first

    def end(self, node: int) -> int:
        *_, marker = self.chain(node)
        return marker >> 1

    def finds(self, table: HashTable, bucket: int, node: int) -> bool:
        try:
            head = read_u64(self.prog, table.address + bucket * self.head_size, "hash bucket")
            return node in self.chain(head)
        except Unavailable:
            return False

    def heads(self, table: HashTable) -> Iterator[tuple[int, int]]:
        # Yield (bucket, first node) of buckets that are not empty.
        raw = read_bytes(self.prog, table.address, table.size * self.head_size, "hash buckets")
        for bucket, (first,) in enumerate(struct.iter_unpack("<Q", raw)):
            if not first & 1:
                yield bucket, first


def scan_table(prog: Program, table: HashTable) -> TableScan:
    """Follow every chain of a table; done once per program, since a dump does not change.

    :raises Unavailable: the bucket array cannot be read
    """
    key = ("crashkit.conntrack", table)
    cached = prog.cache.get(key)
    if cached is None:
        cached = prog.cache[key] = _scan(_Walk(prog), table)
    scan: TableScan = cached
    return scan


def _scan(walk: _Walk, table: HashTable) -> TableScan:
    buckets: dict[int, int] = {}
    broken: list[Unavailable] = []
    followed = 0
    for bucket, first in walk.heads(table):
        try:
            chain = list(walk.chain(first))
        except Unavailable as missing:
            broken.append(missing)
            chain = list(_readable_part(walk, first))
        buckets.update(dict.fromkeys((node for node in chain if not node & 1), bucket))
        followed += len(chain)
        if followed > MAX_NODES:
            what = f"more than {MAX_NODES} nodes"
            broken.append(Unavailable("conntrack table", Reason.BUDGET, what))
            break
    return TableScan(buckets=buckets, broken=tuple(broken))


def _readable_part(walk: _Walk, first: int) -> Iterator[int]:
    try:
        yield from walk.chain(first)
    except Unavailable:
        return


def for_each_conntrack(prog: Program, net: Object | None = None) -> Iterator[Object]:
    """Yield every entry of the table once, as ``struct nf_conn *``.

    :param net: ``struct net *`` whose table is meant, where tables are per namespace;
        by default all of them
    :raises Unavailable: the table cannot be had
    """
    for table in _tables(prog, net):
        seen: set[int] = set()
        for node in scan_table(prog, table).buckets:
            ct = _entry_of(prog, node)
            if ct is not None and ct.value_() not in seen:
                seen.add(ct.value_())
                yield ct


def _tables(prog: Program, net: Object | None) -> list[HashTable]:
    with naming("conntrack table"):
        per_namespace = has_member(Object(prog, "struct net *", 0).ct, "hash")
    if not per_namespace:
        return [hash_table(prog)]
    return [hash_table(prog, one) for one in ([net] if net is not None else namespaces(prog))]


def _entry_of(prog: Program, node: int) -> Object | None:
    # None: the node's page is missing or its direction is neither 0 nor 1.
    hnnode = Object(prog, "struct hlist_nulls_node *", node)
    hashed = container_of(hnnode, "struct nf_conntrack_tuple_hash", "hnnode")
    try:
        direction = int(hashed.tuple.dst.dir.value_())
    except FaultError:
        return None
    if direction not in DIRECTIONS.values() or is_a_nulls(hnnode):
        return None
    return container_of(hashed, "struct nf_conn", f"tuplehash[{direction}]")
