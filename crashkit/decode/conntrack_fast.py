"""Every node of a connection table, and the bytes of every entry, in few large reads.

First the chains are followed. All a chain needs of an entry is one pointer, so each page
is read once and only the pointers in it are kept, a few bytes for each entry. A pointer
that was followed is replaced by a mark: a chain that comes by again, its own or another,
is seen at once, and the walk ends whatever the pages hold. Then the pages that have marks
are read again, in the order of their addresses and many at a time, for the entries.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from drgn import FaultError, Program, offsetof, sizeof

from crashkit.decode.conntrack_columns import Row, RowPlan, row_plan
from crashkit.decode.conntrack_hash import MAX_NODES, HashTable
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address, read_bytes

PAGE = 4096
RUN = 64
"""Pages of entries read at once."""
BUCKETS = 1 << 17
"""Buckets read at once."""

_FOLLOWED = 2  # no node can be there: it is neither a kernel address nor odd

BOTH, ORIGINAL, REPLY = 3, 1, 2
"""The directions of an entry that were found linked, as bits."""


class Chains:
    """The chains of one table, followed.

    :ivar nodes: nodes on all chains, each counted once
    :ivar used: buckets that are not empty
    :ivar longest: nodes of the longest chain
    :ivar damage: kind of damage to the number of chains that have it
    :ivar pages: page address plus a remainder to the words found there; internal
    """

    def __init__(self, prog: Program, table: HashTable, stride: int) -> None:
        self.prog = prog
        self.table = table
        self.stride = stride
        self.nodes = self.used = self.longest = 0
        self.damage: Counter[str] = Counter()
        self.pages: dict[int, array[int]] = {}
        plan = row_plan(prog)
        self._apart = plan.nodes[1] - plan.nodes[0]
        self._direction = plan.direction
        self._joined: set[int] = set()
        with naming("struct hlist_nulls_node"):
            if offsetof(prog.type("struct hlist_nulls_node"), "next"):
                raise Unavailable("hash chain", Reason.UNSUPPORTED, "next is not the first member")
            if sizeof(prog.type("struct hlist_nulls_head")) != 8:
                raise Unavailable("hash bucket", Reason.UNSUPPORTED, "not one pointer")
        self._follow_all()

    def _follow_all(self) -> None:
        late: list[int] = []
        for bucket, first in _heads(self.prog, self.table, self.damage):
            self.used += 1
            problem = self._follow(bucket, first)
            if problem == "shared":
                late.append(bucket)
            elif problem:
                self.damage[problem] += 1
            if self.nodes > MAX_NODES:
                self.damage["more nodes than a table can have"] += 1
                break
        # A chain that meets followed nodes is whole if another one has run into it.
        for bucket in late:
            if bucket not in self._joined:
                self.damage["chain meets itself or another"] += 1

    def _follow(self, bucket: int, node: int) -> str | None:
        pages, stride, length = self.pages, self.stride, 0
        problem = None
        while not node & 1:
            offset = node & 0xFFF
            number, remainder = divmod(offset, stride)
            words = pages.get(node - offset | remainder)
            if words is None:
                try:
                    words = self._load(node)
                except Unavailable as missing:
                    problem = _LOST.get(missing.reason, "chain leads nowhere")
                    break
            following = words[number]
            if following == _FOLLOWED:
                problem = "shared"
                break
            words[number] = _FOLLOWED
            length += 1
            node = following
        self.nodes += length
        self.longest = max(self.longest, length)
        if problem is None and node >> 1 != bucket:
            self._joined.add(node >> 1)
            problem = "chain ends in another bucket's marker"
        return problem

    def _load(self, node: int) -> array[int]:
        # Keep the words of the node's page that are as far from it, or from the entry's
        # other node, as entries are apart.
        if node & 7 or not is_kernel_address(node):
            raise Unavailable("hash chain", Reason.CORRUPTED, f"at {node:#x}")
        offset = node & 0xFFF
        page = read_bytes(self.prog, node - offset, PAGE, "hash chain")
        raw = memoryview(page).cast("Q")
        direction = page[offset + self._direction] if offset + self._direction < PAGE else 0
        for place in (offset, offset - self._apart if direction else offset + self._apart):
            remainder = place % self.stride
            key = node - offset | remainder
            if key not in self.pages and remainder < PAGE:
                words = array("Q", raw[remainder >> 3 :: self.stride >> 3].tobytes())
                while _FOLLOWED in words:
                    words[words.index(_FOLLOWED)] = 0
                self.pages[key] = words
        return self.pages[node - offset | offset % self.stride]

    def followed(self) -> Iterator[tuple[int, list[int]]]:
        """Yield pages with the nodes in them that a chain led to, by address."""
        by_page: dict[int, list[int]] = {}
        for key in self.pages:
            by_page.setdefault(key & -PAGE, []).append(key)
        for page in sorted(by_page):
            nodes = [
                key + place * self.stride
                for key in by_page[page]
                for place, word in enumerate(self.pages[key])
                if word == _FOLLOWED
            ]
            if nodes:
                yield page, nodes


_LOST = {Reason.NOT_IN_DUMP: "chain leads to a page that is not in the dump"}


def _heads(prog: Program, table: HashTable, damage: Counter[str]) -> Iterator[tuple[int, int]]:
    # Yield (bucket, first node) of the buckets that are not empty.
    for start in range(0, table.size, BUCKETS):
        count = min(BUCKETS, table.size - start)
        for first, size, raw in _pieces(prog, table.address + 8 * start, 8 * count):
            if raw is None:
                damage["buckets that are not in the dump"] += size // 8
                continue
            bucket = (first - table.address) // 8
            for head in struct.unpack(f"<{len(raw) // 8}Q", raw):
                if not head & 1:
                    yield bucket, head
                elif head >> 1 != bucket:
                    damage["empty bucket with another's marker"] += 1
                bucket += 1


def _pieces(prog: Program, address: int, size: int) -> Iterator[tuple[int, int, bytes | None]]:
    # The whole if it is there, else page by page; None for a page that is missing.
    try:
        yield address, size, bytes(prog.read(address, size))
        return
    except FaultError:
        pass
    end = address + size
    while address < end:
        count = min(PAGE - address % PAGE, end - address)
        try:
            yield address, count, bytes(prog.read(address, count))
        except FaultError:
            yield address, count, None
        address += count


class Record(NamedTuple):
    """One entry of a table."""

    address: int
    linked: int
    """``BOTH``, ``ORIGINAL`` or ``REPLY``; 0: on no chain."""
    row: Row


def for_each_record(chains: Chains) -> Iterator[Record]:
    """Yield every entry of followed chains once, by address.

    What cannot be read, or has directions that do not fit, is counted in ``chains.damage``.
    """
    plan = row_plan(chains.prog)
    carried: dict[int, int] = {}
    for run in _runs(chains.followed()):
        first, last = run[0][0], run[-1][0] + PAGE
        reader = _Reader(chains.prog, plan, first, last, chains.damage)
        entries = carried
        for _page, nodes in run:
            for node in nodes:
                direction = reader.direction(node)
                if direction is not None:
                    base = node - plan.nodes[direction]
                    entries[base] = entries.get(base, 0) | 1 << direction
        # Its other node may lie in the page after this run.
        carried = {base: bits for base, bits in entries.items() if base + plan.size > last}
        yield from _records(reader, entries, carried, chains.stride)
    if carried:
        base = min(carried)
        reader = _Reader(chains.prog, plan, base & -PAGE, base & -PAGE, chains.damage)
        yield from _records(reader, carried, {}, chains.stride)


def _records(
    reader: _Reader, entries: dict[int, int], later: dict[int, int], stride: int
) -> Iterator[Record]:
    apart = reader.plan.nodes[1] - reader.plan.nodes[0]
    grid: set[int] | None = None
    for base in sorted(entries):
        if base in later:
            continue
        linked = entries[base]
        # Both nodes of an entry lead to it. One alone may be a node whose direction was
        # overwritten: then it leads into the middle of an entry, as its sibling shows, and
        # off the grid that whole entries are on.
        if linked != BOTH and (base - apart in entries or base + apart in entries):
            if grid is None:
                grid = {other % stride for other, bits in entries.items() if bits == BOTH}
            if base % stride not in grid:
                reader.damage["node with the other direction's number"] += 1
                continue
        row = reader.row(base)
        if row is not None:
            yield Record(base, linked, row)


def _runs(pages: Iterator[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    run: list[tuple[int, list[int]]] = []
    for page, nodes in pages:
        if run and (len(run) == RUN or page != run[-1][0] + PAGE):
            yield run
            run = []
        run.append((page, nodes))
    if run:
        yield run


class _Reader:
    # The bytes of some pages; what lies half outside is read by itself.
    def __init__(
        self, prog: Program, plan: RowPlan, first: int, last: int, damage: Counter[str]
    ) -> None:
        self.prog, self.plan, self.damage = prog, plan, damage
        self.first = first
        try:
            self.raw = bytes(prog.read(first, last - first))
        except FaultError:
            self.raw = b""

    def direction(self, node: int) -> int | None:
        at = node + self.plan.direction
        try:
            value = self._byte(at)
        except FaultError:
            self.damage["entry that is not in the dump"] += 1
            return None
        if value > 1:
            self.damage["node with no direction's number"] += 1
            return None
        return value

    def _byte(self, address: int) -> int:
        offset = address - self.first
        if 0 <= offset < len(self.raw):
            return self.raw[offset]
        return int(self.prog.read(address, 1)[0])

    def row(self, base: int) -> Row | None:
        offset = base - self.first
        if 0 <= offset <= len(self.raw) - self.plan.size:
            return self.plan.unpack(self.raw, offset)
        try:
            return self.plan.unpack(bytes(self.prog.read(base, self.plan.size)), 0)
        except FaultError:
            self.damage["entry that is not in the dump"] += 1
            return None


def read_record(prog: Program, address: int) -> Record:
    """Read one entry by its address.

    :raises Unavailable: it is no kernel address, or its page is not in the dump
    """
    if not is_kernel_address(address):
        raise Unavailable("struct nf_conn", Reason.CORRUPTED, f"{address:#x} is no kernel address")
    plan = row_plan(prog)
    raw = read_bytes(prog, address, plan.size, "struct nf_conn")
    return Record(address, 0, plan.unpack(raw, 0))
