"""One list of connlimit: how long it is, how much of it is stale, and when it was filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crashkit.decode.conncount_layout import Layouts, ListLayout
from crashkit.decode.conncount_live import LiveTuples
from crashkit.decode.conncount_memory import Pages
from crashkit.decode.fields import Absent, Fields
from crashkit.decode.jiffies import remaining_ticks
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.value import facts

MAX_ENTRIES = 16_000_000
"""Entries of one list that a walk follows before it gives up."""
PER_PASS = 9
"""Entries a collection removes at most before Linux kernel commit 21d033e47273 ("netfilter:
nf_conncount: increase the connection clean up limit to 64") (in v7.0): it stops when ``collect``
exceeds ``CONNCOUNT_GC_MAX_NODES``, 8."""


@facts
class Ticks:
    """When the entries of a list were added, by ``jiffies32``."""

    added: tuple[tuple[int, int], ...]
    """(Age in ticks when the dump was taken, entries), oldest first."""

    @property
    def ticks(self) -> int:
        """Ticks in which an entry was added that is still there."""
        return len(self.added)

    @property
    def most(self) -> int:
        """Most entries of one tick."""
        return max((count for _age, count in self.added), default=0)

    @property
    def crowded(self) -> int:
        """Ticks with more entries than a collection once removed, ``PER_PASS``."""
        return sum(1 for _age, count in self.added if count > PER_PASS)

    @property
    def in_crowded(self) -> int:
        """Entries of those ticks."""
        return sum(count for _age, count in self.added if count > PER_PASS)

    @property
    def oldest(self) -> int:
        """Age of the oldest entry, ticks."""
        return self.added[0][0] if self.added else 0

    @property
    def newest(self) -> int:
        """Age of the newest entry, ticks."""
        return self.added[-1][0] if self.added else 0

    @property
    def span(self) -> int:
        """Ticks from the oldest entry to the newest, both included."""
        return self.oldest - self.newest + 1 if self.added else 0


@facts
class ConncountList:
    """A ``struct nf_conncount_list``. A None field has its reason in ``absent``."""

    address: int
    node: int | None
    """``struct nf_conncount_rb *`` that holds it; None: a list by itself (nftables)."""
    key: tuple[int, ...]
    """Words of its key as they lie in memory; empty for a list by itself."""
    count: int | None
    """``list.count``."""
    length: int | None
    """Entries found by walking it, every link checked both ways."""
    stale: int | None
    """Entries without a confirmed connection in the table."""
    ticks: Ticks | None
    last_gc_age: int | None
    """Ticks since ``last_gc``."""
    last_gc_count: int | None
    absent: Absent

    @property
    def stale_share(self) -> float | None:
        """Share of the entries that are stale; None when unknown, or the list is empty."""
        return None if self.stale is None or not self.length else self.stale / self.length


@dataclass(kw_only=True)
class _Walked:
    length: int = 0
    stale: int = 0
    added: Counter[int]


class ListReader:
    """Reads lists of one program."""

    def __init__(self, pages: Pages, layouts: Layouts, now: int) -> None:
        """Make a reader.

        :param now: ``jiffies``
        """
        self._pages = pages
        self._layouts = layouts
        self._now = now & 0xFFFF_FFFF

    def read(
        self,
        address: int,
        live: Callable[[], LiveTuples],
        *,
        node: int | None = None,
        key: tuple[int, ...] = (),
    ) -> ConncountList:
        """Read one list.

        :param address: ``struct nf_conncount_list *``
        :param live: gives the connections of its namespace, or raises why they are not known
        """
        layout = self._layouts.list
        fields = Fields(f"struct nf_conncount_list {address:#x}")
        tuples = fields.take("stale", live)
        walked = fields.take("length", lambda: self._walk(address + layout.head, tuples))
        if walked is None:
            fields.absent.setdefault("stale", fields.absent["length"])
        ticks = fields.take("ticks", lambda: self._ticks(walked, fields))
        return ConncountList(
            address=address,
            node=node,
            key=key,
            count=fields.take("count", lambda: self.count(address)),
            length=walked.length if walked else None,
            stale=walked.stale if walked and tuples else None,
            ticks=ticks,
            last_gc_age=fields.take("last_gc_age", lambda: self._last_gc_age(address, layout)),
            last_gc_count=fields.take(
                "last_gc_count",
                lambda: self._number(address, _known(layout.last_gc_count, "last_gc_count")),
            ),
            absent=fields.absent,
        )

    def count(self, address: int) -> int:
        """Read ``list.count``.

        :raises Unavailable: it is not in the dump
        """
        return self._number(address, self._layouts.list.count)

    def _number(self, address: int, offset: int) -> int:
        raw = self._pages.read(address + offset, 4, "struct nf_conncount_list")
        return int.from_bytes(raw, "little")

    def _last_gc_age(self, address: int, layout: ListLayout) -> int:
        return self._age(self._number(address, _known(layout.last_gc, "last_gc")))

    def _age(self, tick: int) -> int:
        age = -remaining_ticks(tick, self._now, 32)
        if age < 0:
            raise Unavailable("age", Reason.CORRUPTED, f"tick {tick} is {-age} ahead of jiffies")
        return age

    def _ticks(self, walked: _Walked | None, fields: Fields) -> Ticks:
        if walked is None:
            raise fields.absent["length"]
        ages = sorted(((self._age(tick), n) for tick, n in walked.added.items()), reverse=True)
        return Ticks(added=tuple(ages))

    def _walk(self, head: int, live: LiveTuples | None) -> _Walked:
        # The loop that runs once per entry; what it does for each is kept short.
        walked = _Walked(added=Counter())
        added = walked.added
        zones: dict[bytes, tuple[frozenset[bytes], frozenset[bytes]]] = {}
        length = found = 0
        for tuple_, zone, tick in self._entries(head):
            length += 1
            added[tick] += 1
            if live is None:
                continue
            if zone not in zones:
                zones[zone] = live.of_zone(zone)
            original, reply = zones[zone]
            if tuple_ in original or tuple_ in reply:
                found += 1
        walked.length, walked.stale = length, length - found
        return walked

    def _entries(self, head: int) -> Iterator[tuple[bytes, bytes, int]]:
        # Every node's prev must name the node before it, which no cycle but the list's own
        # can satisfy.
        unpack, layout = self._pages.unpack, self._layouts.entry
        what = "connlimit list"
        (at,) = (int.from_bytes(self._pages.read(head, 8, what), "little"),)
        before = head
        for _number in range(MAX_ENTRIES):
            if at == head:
                self._check_end(head, before)
                return
            if not is_kernel_address(at):
                raise Unavailable(what, Reason.CORRUPTED, f"{before:#x} leads to {at:#x}")
            following, previous, tuple_, zone, _cpu, tick = unpack(layout, at, what)
            if previous != before:
                text = f"{at:#x} follows {before:#x} and names {previous:#x} before it"
                raise Unavailable(what, Reason.CORRUPTED, text)
            yield tuple_, zone, tick
            before, at = at, following
        raise Unavailable(what, Reason.BUDGET, f"more than {MAX_ENTRIES} entries")

    def _check_end(self, head: int, last: int) -> None:
        layout = self._layouts.list
        at = head - layout.head + layout.head_previous
        previous = int.from_bytes(self._pages.read(at, 8, "connlimit list"), "little")
        if previous != last:
            text = f"{last:#x} is last and the head names {previous:#x}"
            raise Unavailable("connlimit list", Reason.CORRUPTED, text)


def _known(offset: int | None, name: str) -> int:
    if offset is None:
        raise Unavailable(name, Reason.NOT_APPLICABLE, "not in this kernel's nf_conncount_list")
    return offset
