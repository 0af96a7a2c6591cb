"""The whole connection table, entry by entry, as data.

:class:`Table` knows what all entries have in common: the clock, names, namespaces. A
:class:`TableEntry` is one ``struct nf_conn`` seen through it. Nothing is worked out before
it is asked for, since a table can have a million entries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property

from drgn import Object, Program

from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_columns import row_plan
from crashkit.decode.conntrack_columns_ext import ExtensionReader
from crashkit.decode.conntrack_fast import (
    Chains,
    for_each_record,
    read_record,
)
from crashkit.decode.conntrack_hash import HashTable, hash_table
from crashkit.decode.conntrack_protocol import state_names
from crashkit.decode.conntrack_table_entry import TableEntry
from crashkit.decode.fields import has_member, names_of, naming
from crashkit.decode.jiffies import jiffies, ticks_per_second
from crashkit.decode.netns import decode_net, namespaces
from crashkit.decode.slab import conntrack_cache
from crashkit.errors import Unavailable
from crashkit.value import facts

_HASH = ("hash",)


@facts
class Clock:
    """The time of the dump, in ticks."""

    now: int
    """``jiffies``."""
    hz: int
    """Ticks in a second."""


@facts
class TableState:
    """What the walk of one hash table showed."""

    table: HashTable
    net: int | None
    """``struct net *`` whose table it is; None: all namespaces share it."""
    used: int
    """Buckets that are not empty."""
    nodes: int
    longest: int
    """Nodes of the longest chain."""
    damage: Mapping[str, int]
    """Kind of damage to how often it was met; what it hides is not known."""


class Table:
    """The connection table of a kernel.

    :ivar states: what the walks showed, so far
    :ivar entries: entries of the hash by ``struct net *``, so far
    """

    def __init__(self, prog: Program) -> None:
        self.prog = prog
        self.plan = row_plan(prog)
        self.states: list[TableState] = []
        self.entries: Counter[int] = Counter()
        self.status_bits = conntrack_status.status_bit_names(prog)
        self.states_of = state_names(prog)
        self._status_names: dict[int, tuple[str, ...]] = {}

    @cached_property
    def clock(self) -> Clock | Unavailable:
        """The time of the dump, or why it is not known."""
        try:
            return Clock(now=jiffies(self.prog), hz=ticks_per_second(self.prog))
        except Unavailable as missing:
            return missing

    @cached_property
    def extensions(self) -> ExtensionReader | Unavailable:
        """Reads extensions, or why they cannot be read."""
        try:
            return ExtensionReader(self.prog)
        except Unavailable as missing:
            return missing

    @cached_property
    def inodes(self) -> Mapping[int, int | None]:
        """``struct net *`` of the registered namespaces to their inode number."""
        try:
            return {n.value_(): decode_net(n).inode for n in namespaces(self.prog)}
        except Unavailable:
            return {}

    @cached_property
    def init_net(self) -> int | None:
        """``&init_net``."""
        try:
            with naming("init_net"):
                return int(self.prog["init_net"].address_ or 0)
        except Unavailable:
            return None

    @cached_property
    def resizing(self) -> bool | None:
        """Whether a resize of the table was under way; None: not known.

        ``nf_conntrack_generation`` is odd while buckets are moved (since Linux kernel
        commit 5e3c61f98175, in v4.7).
        """
        try:
            with naming("nf_conntrack_generation"):
                generation = self.prog["nf_conntrack_generation"]
                while has_member(generation, "seqcount"):
                    generation = generation.seqcount
                return bool(int(generation.sequence.value_()) & 1)
        except Unavailable:
            return None

    def status_names(self, status: int) -> tuple[str, ...]:
        """Names of the status bits set, without ``IPS_``."""
        names = self._status_names.get(status)
        if names is None:
            names = self._status_names[status] = names_of(status, self.status_bits)
        return names

    def hash_entries(self) -> Iterator[TableEntry]:
        """Yield every entry that a hash chain holds, once, by address.

        :raises Unavailable: a table cannot be had at all; what is lost of one is counted
        """
        entries = self.entries
        for net, table in self._tables():
            chains = Chains(self.prog, table, self._stride(net))
            for record in for_each_record(chains):
                entries[record.row.net] += 1
                yield TableEntry(self, record, _HASH)
            self.states.append(
                TableState(
                    table=table,
                    net=net,
                    used=chains.used,
                    nodes=chains.nodes,
                    longest=chains.longest,
                    damage=dict(chains.damage),
                )
            )

    def entry(self, address: int, *lists: str) -> TableEntry:
        """Give one entry by its address.

        :param lists: names of the lists it is known to be on
        :raises Unavailable: nothing is at the address
        """
        return TableEntry(self, read_record(self.prog, address), lists)

    def _tables(self) -> Iterator[tuple[int | None, HashTable]]:
        with naming("conntrack table"):
            shared = not has_member(Object(self.prog, "struct net *", 0).ct, "hash")
        if shared:
            yield None, hash_table(self.prog)
            return
        for net in namespaces(self.prog):
            yield net.value_(), hash_table(self.prog, net)

    def _stride(self, net: int | None) -> int:
        # Bytes from one slab object to the next. Only the speed of the walk depends on it.
        try:
            with naming("struct kmem_cache"):
                owner = None if net is None else Object(self.prog, "struct net *", net)
                address = conntrack_cache(self.prog, owner)
                size = int(Object(self.prog, "struct kmem_cache *", address).size.value_())
        except Unavailable:
            size = 0
        return (
            size
            if self.plan.size <= size <= 1 << 16 and size % 8 == 0
            else -(-self.plan.size // 64) * 64
        )
