"""connlimit: every rule that counts connections, and every list of connections counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from drgn import Program

from crashkit.decode.conncount_cost import CacheCost, MemoryTotals, cache_cost, memory_totals
from crashkit.decode.conncount_layout import Layouts, layouts
from crashkit.decode.conncount_list import PER_PASS, ConncountList, ListReader
from crashkit.decode.conncount_live import LiveTuples, live_tuples
from crashkit.decode.conncount_memory import Pages
from crashkit.decode.conncount_nft import nft_rules
from crashkit.decode.conncount_rule import ConncountRule, key_text
from crashkit.decode.conncount_scan import scanned_data
from crashkit.decode.conncount_tree import TreeReader
from crashkit.decode.conncount_xt import xt_rules
from crashkit.decode.fields import Absent, Fields, naming
from crashkit.decode.jiffies import TickRate, jiffies, tick_rate
from crashkit.decode.netns import namespaces
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import find_symbol
from crashkit.value import facts

__all__ = [
    "PER_PASS",
    "Conncount",
    "Counted",
    "conncount_list_at",
    "has_conncount",
    "key_text",
    "longest_count",
    "read_conncount",
]

T = TypeVar("T")

TUPLE_CACHE = "conncount_conn_cachep"
NODE_CACHE = "conncount_rb_cachep"


@facts
class Counted:
    """What one rule keeps: its trees of lists, or its list. A None field: see ``absent``."""

    address: int
    """``struct nf_conncount_data *``, or of the list by itself."""
    rules: tuple[ConncountRule, ...]
    """Rules that use it; empty when only its slab object was found."""
    net: int | None
    """``struct net *``"""
    lists: tuple[ConncountList, ...] | None
    """Longest first."""
    absent: Absent

    @property
    def entries(self) -> int | None:
        """Entries of all lists by walking; None when one of them could not be walked."""
        return None if self.lists is None else _sum(one.length for one in self.lists)

    @property
    def counts(self) -> int | None:
        """Sum of ``list.count``."""
        return None if self.lists is None else _sum(one.count for one in self.lists)

    @property
    def stale(self) -> int | None:
        """Entries of all lists without a confirmed connection."""
        return None if self.lists is None else _sum(one.stale for one in self.lists)

    @property
    def rule(self) -> ConncountRule | None:
        """The rule, when there is just one."""
        return self.rules[0] if len(self.rules) == 1 else None


def _sum(numbers: Iterator[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


@facts
class Conncount:
    """connlimit as a whole. A None field has its reason in ``absent``."""

    counted: tuple[Counted, ...]
    """Largest first."""
    caches: tuple[CacheCost, ...]
    """Of the tuples and of the tree nodes."""
    memory: MemoryTotals
    rate: TickRate | None
    """HZ, and what says so."""
    now: int
    """``jiffies``"""
    collects: str
    """See :attr:`crashkit.decode.conncount_layout.Layouts.collects`."""
    unread: tuple[Unavailable, ...]
    """Rules and objects that could not be looked for, or at."""
    absent: Absent

    @property
    def entries(self) -> int | None:
        """Entries of all that was found."""
        return _sum(one.entries for one in self.counted)

    @property
    def nodes(self) -> int | None:
        """Lists that hang in a tree."""
        if any(one.lists is None for one in self.counted):
            return None
        return sum(1 for one in self.counted for held in one.lists or () if held.node is not None)


def has_conncount(prog: Program) -> bool:
    """Whether the kernel has nf_conncount: built in, or as a module that is loaded.

    :raises Unavailable: ``no-debuginfo`` where no symbol at all is known
    """
    try:
        return bool(prog.type("struct nf_conncount_rb").is_complete())
    except LookupError:
        pass
    try:
        return prog.symbol(TUPLE_CACHE) is not None
    except LookupError:
        if find_symbol(prog, "init_task") is None:
            why = "neither names nor types of this kernel are known"
            raise Unavailable("connlimit", Reason.NO_DEBUGINFO, why) from None
        return False


def read_conncount(prog: Program) -> Conncount:
    """Read all of connlimit; done once per program.

    :raises Unavailable: ``not-applicable`` when nf_conncount is not loaded; otherwise why its
        types or the clock cannot be had
    """
    cached: Conncount | None = prog.cache.get("crashkit.conncount")
    if cached is None:
        cached = prog.cache["crashkit.conncount"] = _reader(prog).read()
    return cached


def longest_count(prog: Program) -> int:
    """Read the largest ``list.count`` of all lists, without following one.

    :raises Unavailable: as :func:`read_conncount`; or a list's count cannot be read
    """
    return _reader(prog).longest()


def conncount_list_at(prog: Program, address: int) -> ConncountList:
    """Give the list at an address. ``address``: ``struct nf_conncount_list *``.

    :raises Unavailable: no rule and no tree has such a list
    """
    for counted in read_conncount(prog).counted:
        for held in counted.lists or ():
            if held.address == address:
                return held
    raise Unavailable(f"connlimit list {address:#x}", Reason.NOT_APPLICABLE, "no such list")


def _reader(prog: Program) -> _Reader:
    if not has_conncount(prog):
        raise Unavailable("connlimit", Reason.NOT_APPLICABLE, "nf_conncount is not loaded")
    return _Reader(prog)


class _Reader:
    def __init__(self, prog: Program) -> None:
        self.prog = prog
        self.layouts: Layouts = layouts(prog)
        self.fields = Fields("connlimit")
        self.unread: list[Unavailable] = []
        pages = Pages(prog)
        self.now = jiffies(prog)
        self.trees = TreeReader(pages, self.layouts)
        self.lists = ListReader(pages, self.layouts, self.now)
        self.live: dict[int, LiveTuples | Unavailable] = {}

    def read(self) -> Conncount:
        rules = list(self._rules())
        held: dict[int, list[ConncountRule]] = {}
        for rule in rules:
            held.setdefault(rule.data or rule.list or 0, []).append(rule)
        found = [self._counted(address, tuple(own)) for address, own in held.items()]
        found += [self._counted(address, ()) for address in self._scanned(set(held))]
        prog = self.prog
        return Conncount(
            counted=tuple(sorted(found, key=lambda one: (-(one.counts or 0), one.address))),
            caches=(cache_cost(prog, TUPLE_CACHE), cache_cost(prog, NODE_CACHE)),
            memory=memory_totals(prog),
            rate=self.fields.take("rate", lambda: tick_rate(prog)),
            now=self.now,
            collects=self.layouts.collects,
            unread=tuple(self.unread),
            absent=self.fields.absent,
        )

    def longest(self) -> int:
        data = set(self._scanned(set()))
        alone: set[int] = set()
        for rule in self._rules():
            data.update(() if rule.data is None else (rule.data,))
            alone.update(() if rule.list is None else (rule.list,))
        for address in data:
            alone.update(node.list for node in self.trees.nodes(self.trees.head(address)))
        if self.unread and not alone:
            raise self.unread[0]
        return max((self.lists.count(address) for address in alone), default=0)

    def _rules(self) -> Iterator[ConncountRule]:
        for net in self._reading(lambda: namespaces(self.prog), "network namespaces"):
            for name, read in (("iptables", xt_rules), ("nftables", nft_rules)):
                what = f"{name} rules of namespace {int(net):#x}"
                yield from self._reading(partial(read, self.prog, net), what)

    def _reading(self, walk: Callable[[], Iterator[T]], what: str) -> Iterator[T]:
        # What can be had of a walk; why it broke off is kept.
        try:
            with naming(what):
                yield from walk()
        except Unavailable as missing:
            self.unread.append(Unavailable(what, missing.reason, str(missing)))

    def _scanned(self, known: set[int]) -> list[int]:
        return [
            address
            for address in self._reading(
                lambda: scanned_data(self.prog, self.layouts), "objects of connlimit in slabs"
            )
            if address not in known
        ]

    def _counted(self, address: int, rules: tuple[ConncountRule, ...]) -> Counted:
        fields = Fields(f"connlimit {address:#x}")
        alone = next((rule.net for rule in rules if rule.list is not None), None)
        lists: tuple[ConncountList, ...] | None
        net: int | None
        if alone is not None:
            net = alone
            lists = (self.lists.read(address, partial(self._live, alone)),)
        else:
            net = fields.take("net", lambda: self.trees.head(address).net)
            lists = fields.take("lists", lambda: self._tree_lists(address))
        return Counted(address=address, rules=rules, net=net, lists=lists, absent=fields.absent)

    def _tree_lists(self, address: int) -> tuple[ConncountList, ...]:
        head = self.trees.head(address)
        lists = [
            self.lists.read(
                node.list, lambda: self._live(head.net), node=node.address, key=node.key
            )
            for node in self.trees.nodes(head)
        ]
        return tuple(sorted(lists, key=lambda one: (-(one.count or 0), one.address)))

    def _live(self, net: int) -> LiveTuples:
        # Asked for once per list, so an answer of "not known" is kept as well.
        if net not in self.live:
            try:
                self.live[net] = live_tuples(self.prog, net)
            except Unavailable as missing:
                self.live[net] = missing
        answer = self.live[net]
        if isinstance(answer, Unavailable):
            raise Unavailable("stale", answer.reason, str(answer))
        return answer
