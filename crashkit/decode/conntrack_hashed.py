"""What the hash table holds, counted in one walk: no less than all of it, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from drgn import Program

from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_fast import ORIGINAL
from crashkit.decode.conntrack_table import Table
from crashkit.decode.jiffies import jiffies, remaining_ticks
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_CONFIRMED = 1 << conntrack_status.CONFIRMED_BIT
_DYING = 1 << conntrack_status.DYING_BIT
_ASSURED = 1 << conntrack_status.ASSURED_BIT
_BITS = _CONFIRMED | _DYING | _ASSURED


@facts
class HashedConntracks:
    """The entries of all tables."""

    linked: Mapping[int, bool]
    """``struct nf_conn *`` to whether the chain of its original direction holds it."""
    masters: Mapping[int, int]
    """Entry to the connection that expected it, where there is one."""
    counts: Mapping[int, Mapping[str, int]]
    """``struct net *`` to how many of its entries are ``hashed``, ``reply only``, ``expired``,
    ``assured``, ``unusual`` (not CONFIRMED, or DYING) and ``listed`` by /proc."""


def hashed_conntracks(prog: Program) -> HashedConntracks:
    """Walk the tables, once per program.

    :raises Unavailable: a table cannot be read whole, or the time of the dump is not known
    """
    cached: HashedConntracks | None = prog.cache.get("crashkit.hashed_conntracks")
    if cached is None:
        cached = prog.cache["crashkit.hashed_conntracks"] = _walk(prog)
    return cached


def _walk(prog: Program) -> HashedConntracks:
    table, now = Table(prog), jiffies(prog)
    linked: dict[int, bool] = {}
    masters: dict[int, int] = {}
    seen: Counter[tuple[int, bool, int, bool]] = Counter()
    bits = table.plan.timeout_bits
    for entry in table.hash_entries():
        row, is_original = entry.row, bool(entry.record.linked & ORIGINAL)
        linked[entry.address] = is_original
        if row.master:
            masters[entry.address] = row.master
        is_over = remaining_ticks(row.timeout, now, bits) <= 0
        seen[row.net, is_original, row.status & _BITS, is_over] += 1
    _must_be_whole(table)
    counts: dict[int, Counter[str]] = {}
    for (net, is_original, status, is_over), number in seen.items():
        kinds = _kinds(is_original, status, is_over)
        counts.setdefault(net, Counter()).update(dict.fromkeys(kinds, number))
    return HashedConntracks(linked=linked, masters=masters, counts=counts)


def _must_be_whole(table: Table) -> None:
    for state in table.states:
        for kind, number in state.damage.items():
            lost = Reason.NOT_IN_DUMP if "not in the dump" in kind else Reason.CORRUPTED
            raise Unavailable("conntrack table", lost, f"{number} times: {kind}")


def _kinds(is_original: bool, status: int, is_over: bool) -> Iterator[str]:
    # nf_ct_should_gc(): expired, confirmed and not dying. ct_seq_show() passes over such
    # entries, and over the reply direction.
    is_settled = status & (_CONFIRMED | _DYING) == _CONFIRMED
    yield "hashed"
    if not is_original:
        yield "reply only"
    if is_over and is_settled:
        yield "expired"
    elif is_original:
        yield "listed"
    if status & _ASSURED:
        yield "assured"
    if not is_settled:
        yield "unusual"
