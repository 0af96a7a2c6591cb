"""The connection table as a document, and as a stream of lines: ``crashkit.conntrack/1``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.conntrack_accounting import account_of
from crashkit.decode.conntrack_expectations import for_each_expectation
from crashkit.decode.conntrack_lists import for_each_dying, for_each_unconfirmed
from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.conntrack_table_entry import TableEntry
from crashkit.decode.netfilter_state import netfilter_states
from crashkit.decode.netns import namespaces
from crashkit.errors import Reason, Unavailable
from crashkit.report.conntrack_entry import build_tuple
from crashkit.report.conntrack_line import LineWriter
from crashkit.report.document import envelope
from crashkit.report.parts import Json, Part, address
from crashkit.report.target_part import build_target
from crashkit.report.text_conntrack import render_entry, render_expectation
from crashkit.report.text_netfilter import build_netfilter

if TYPE_CHECKING:
    from crashkit.crash import Crash
    from crashkit.decode.conntrack_expectations import Expectation
    from crashkit.decode.conntrack_table import Table, TableState

CONNTRACK = "crashkit.conntrack/1"
CHUNK = 500
"""Lines that are written at once."""
_UNHASHED = {"unconfirmed": for_each_unconfirmed, "dying": for_each_dying}
_CONNECTIONS = ("hash", "unconfirmed", "dying")
HARMLESS = ("node with the other direction's number",)
"""Damage that hides no entry: the other node led to it."""


class Listing:
    """Entries on their way to the reader, counted.

    :ivar found: how many there are, by list
    :ivar passed: how many of them passed the filter, if there is one
    :ivar departures: what was unusual about them, and how often
    """

    def __init__(self, table: Table, verbose: int = 0) -> None:
        self.table = table
        self.found: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.filtered = False
        self.departures: Counter[str] = Counter()
        self.limits: list[Unavailable] = []
        self._verbose = verbose
        self._writer = LineWriter(table)

    def entries(self, lists: Iterable[str] | None = None) -> Iterator[TableEntry | Expectation]:
        """Yield what is on the lists named: ``hash``, ``unconfirmed``, ``dying``, ``expect``.

        A list that cannot be had, or not to its end, is among ``limits`` afterwards.

        :param lists: by default all of connections; those beside the table are looked for
            only if the kernel counts more entries than the table holds
        """
        for name in _CONNECTIONS if lists is None else lists:
            if lists is None and name != "hash" and self._all_hashed():
                return
            number = 0
            try:
                for entry in self._on(name):
                    number += 1
                    yield entry
            except Unavailable as missing:
                self.limits.append(missing)
            finally:
                self.found[name] += number

    def wanted(
        self, entries: Iterable[TableEntry | Expectation], test: Callable[[TableEntry], bool]
    ) -> Iterator[TableEntry]:
        """Yield the connections that pass a test, and count them as those shown."""
        self.filtered = True
        for entry in entries:
            if isinstance(entry, TableEntry) and test(entry):
                self.passed[entry.lists[0]] += 1
                yield entry

    @property
    def shown(self) -> Counter[str]:
        """How many entries were shown, by list."""
        return self.passed if self.filtered else self.found

    def _all_hashed(self) -> bool:
        # Whether the table, read whole, holds all that the namespaces count.
        table = self.table
        if self.lost:
            return False
        try:
            return all(
                conntrack_count(net) == table.entries[net.value_()]
                for net in namespaces(table.prog)
            )
        except Unavailable:
            return False

    def _on(self, name: str) -> Iterator[TableEntry | Expectation]:
        prog = self.table.prog
        if name == "hash":
            yield from self.table.hash_entries()
        elif name == "expect":
            yield from for_each_expectation(prog)
        else:
            for found in _UNHASHED[name](prog):
                yield self.table.entry(found.address, name)

    def texts(self, entries: Iterable[TableEntry | Expectation]) -> Iterator[str]:
        """Render as ``conntrack -L`` does, many lines to a piece."""
        return _joined(map(self._text, entries))

    def lines(self, crash: Crash, entries: Iterable[TableEntry | Expectation]) -> Iterator[str]:
        """Render as JSON, one object to a line: the target, the entries, the summary."""
        head = {**envelope(CONNTRACK), "kind": "head", "target": build_target(crash)}
        yield _line(head)
        yield from _joined(map(self._json_line, entries))
        yield _line(self.summary())

    def document(self, crash: Crash, entries: Iterable[TableEntry | Expectation]) -> Iterator[str]:
        """Render the document with all entries as JSON, piece by piece."""
        head = _line({**envelope(CONNTRACK), "target": build_target(crash)})
        yield head.removesuffix("}\n") + ',\n"entries":['
        separator = "\n"
        for piece in _joined(map(self._json_line, entries)):
            if piece:
                yield separator + piece.rstrip("\n").replace("\n", ",\n")
                separator = ",\n"
        yield '\n],\n"summary":' + _line(self.summary()).rstrip("\n") + "}\n"

    def summary(self) -> Json:
        """Build what is known at the end; when verbose, with netfilter's state."""
        summary = self.totals()
        if self._verbose:
            summary["netfilter"] = self.netfilter()
        return summary

    def totals(self) -> Json:
        """Build the counts, and what is missing or unusual."""
        table = self.table
        part = Part()
        part.put("kind", "summary")
        part.put("found", dict(self.found))
        part.put("shown", dict(self.shown))
        part.put("namespaces", [self._namespace(net) for net in self._namespaces()])
        departures = self.departures + self._writer.departures
        part.put("departures", dict(sorted(departures.items())))
        part.put("resizing", table.resizing)
        part.put("tables", [_table(state) for state in table.states])
        part.put(
            "limits",
            [{"what": m.what, "reason": m.reason.value, "detail": m.detail} for m in self.limits],
        )
        part.put("complete", not self.lost)
        return part.done()

    @property
    def lost(self) -> bool:
        """Whether there may be entries that could not be shown."""
        return bool(self.limits) or any(
            kind not in HARMLESS for state in self.table.states for kind in state.damage
        )

    def _text(self, entry: TableEntry | Expectation) -> str:
        if not isinstance(entry, TableEntry):
            return render_expectation(entry, self._verbose) + "\n"
        self.departures.update(entry.departures)
        return render_entry(entry, self._verbose) + "\n"

    def _json_line(self, entry: TableEntry | Expectation) -> str:
        if not isinstance(entry, TableEntry):
            return _line(_expectation(self.table, entry))
        return self._writer.line(entry)

    def _namespaces(self) -> list[int]:
        # Those with entries shown, and those that count any. Where the list of namespaces is
        # lost, the table is not: those with entries are known, each with its own counter.
        found = set(self.table.entries)
        with suppress(Unavailable):
            found |= {n.value_() for n in namespaces(self.table.prog) if conntrack_count(n)}
        return sorted(found)

    def _namespace(self, net: int) -> Json:
        part = Part()
        part.put("net", address(net))
        part.put("netns", self.table.inodes.get(net))
        part.put("entries", self.table.entries[net])
        try:
            account = self._account(net)
            part.put("counter", account[0])
            part.put("account", account[1])
        except Unavailable as missing:
            part.put("counter", None, missing.reason)
            part.put("account", None, missing.reason)
        return part.done()

    def _account(self, net: int) -> tuple[int, str]:
        # The kernel's own counter, and what it is made of.
        if "hash" not in self.found:
            raise Unavailable("account", Reason.NOT_APPLICABLE, "the table was not read")
        counter = conntrack_count(Object(self.table.prog, "struct net *", net))
        if not self.lost and counter == self.table.entries[net]:
            return counter, f"{counter} counted = {counter} in the table"
        return counter, account_of(self.table.prog, net).explain()

    def netfilter(self) -> list[Json]:
        """Build the hooks, queues, rules, settings and statistics of every namespace."""
        return [build_netfilter(state) for state in netfilter_states(self.table.prog)]


def _table(state: TableState) -> Json:
    part = Part()
    part.put("address", address(state.table.address))
    part.put("buckets", state.table.size)
    part.put_address("net", state.net)
    part.put("used", state.used)
    part.put("nodes", state.nodes)
    part.put("longest_chain", state.longest)
    part.put("damage", dict(sorted(state.damage.items())))
    return part.done()


def _expectation(table: Table, expectation: Expectation) -> Json:
    part = Part({key: missing.reason for key, missing in expectation.absent.items()})
    part.put("kind", "expectation")
    part.put("address", address(expectation.address))
    part.put_address("net", expectation.net)
    part.put("netns", table.inodes.get(expectation.net or 0))
    tuple_ = expectation.tuple
    part.put("protocol", None if tuple_ is None else tuple_.protocol)
    part.put("tuple", None if tuple_ is None else build_tuple(tuple_))
    part.put_address("master", expectation.master)
    part.put("class", expectation.expectation_class)
    part.put("helper", expectation.helper)
    part.put("remaining_s", expectation.remaining)
    return part.done()


def _line(document: Json) -> str:
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")) + "\n"


def _joined(lines: Iterable[str]) -> Iterator[str]:
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if len(pending) == CHUNK:
            yield "".join(pending)
            pending.clear()
    yield "".join(pending)
