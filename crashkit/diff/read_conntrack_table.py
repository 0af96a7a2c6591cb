"""The connection table counted in one walk: what its entries are, and where the others are."""

from __future__ import annotations

from collections import Counter

from drgn import Program

from crashkit.crash import Crash
from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_accounting import account
from crashkit.decode.conntrack_expectations import for_each_expectation
from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.conntrack_table import Table
from crashkit.decode.conntrack_table_entry import TableEntry
from crashkit.decode.fields import naming
from crashkit.decode.jiffies import jiffies, remaining_ticks
from crashkit.decode.netns import namespaces
from crashkit.diff.read_kernel import number_or_why
from crashkit.diff.readings import Amount, Listing, Number, count
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import find_symbol
from crashkit.value import facts

# ``NamespaceAccount``: attribute and words
_ACCOUNT = {
    "hashed": "in the table",
    "assured": "assured",
    "expired": "expired and not collected",
    "unconfirmed": "unconfirmed",
    "dying": "dying",
    "undelivered": "dying, event not delivered",
    "difference": "counted and found nowhere",
}
_CONFIRMED = 1 << conntrack_status.CONFIRMED_BIT
_DYING = 1 << conntrack_status.DYING_BIT
_ASSURED = 1 << conntrack_status.ASSURED_BIT
_BITS = _CONFIRMED | _DYING | _ASSURED


def need_conntrack(prog: Program) -> None:
    """Check that there is connection tracking.

    :raises Unavailable: it is neither built in nor loaded
    """
    if find_symbol(prog, "nf_conntrack_max") is not None:
        return
    if find_symbol(prog, "init_task") is None:
        raise Unavailable("conntrack", Reason.NO_DEBUGINFO, "no symbol nf_conntrack_max")
    raise Unavailable("conntrack", Reason.NOT_APPLICABLE, "nf_conntrack is not loaded")


def read_table(crash: Crash) -> Listing:
    """Count the entries of all namespaces together, by where they are."""
    prog = crash.prog
    need_conntrack(prog)
    counted = number_or_why("conntrack count", lambda: sum(map(conntrack_count, namespaces(prog))))
    amounts = [count("counter", "counted by the kernel", counted)]
    accounts: dict[str, int] | Unavailable
    try:
        with naming("account"):
            accounts = _accounts(prog)
    except Unavailable as missing:
        accounts = missing
    amounts += [count(key, name, _of(accounts, key)) for key, name in _ACCOUNT.items()]
    expected = number_or_why("expectations", lambda: sum(1 for _ in for_each_expectation(prog)))
    return Listing(amounts=(*amounts, count("expectations", "expectations", expected)))


def _of(accounts: dict[str, int] | Unavailable, key: str) -> Number:
    return accounts if isinstance(accounts, Unavailable) else accounts[key]


def _accounts(prog: Program) -> dict[str, int]:
    # Where the table holds all that is counted there is nothing to look for beside it.
    walked = _walk(prog)
    if walked.problem is not None:
        raise walked.problem
    if walked.timed and _all_hashed(prog, walked.table):
        return dict.fromkeys(_ACCOUNT, 0) | walked.states()
    return {key: sum(int(getattr(one, key)) for one in account(prog)) for key in _ACCOUNT}


def _all_hashed(prog: Program, table: Table) -> bool:
    nets = {int(net): net for net in namespaces(prog)}
    return table.entries.keys() <= nets.keys() and all(
        conntrack_count(net) == table.entries[address] for address, net in nets.items()
    )


@facts
class _Walked:
    table: Table
    seen: Counter[tuple[int, int | None, int | None, int, bool]]
    # Protocol, state, zone, status and whether the time is over, to the number of entries.
    protocols: dict[int, str]
    timed: bool
    # Whether the time of the dump is known.
    problem: Unavailable | None

    def states(self) -> dict[str, int]:
        # As hashed_conntracks() counts.
        totals = Counter(hashed=0, assured=0, expired=0)
        for (_protocol, _state, _zone, status, is_over), number in self.seen.items():
            totals["hashed"] += number
            totals["assured"] += number * bool(status & _ASSURED)
            is_settled = status & (_CONFIRMED | _DYING) == _CONFIRMED
            totals["expired"] += number * (is_over and is_settled)
        return dict(totals)


def _walk(prog: Program) -> _Walked:
    cached: _Walked | None = prog.cache.get("crashkit.diff.conntrack")
    if cached is None:
        cached = prog.cache["crashkit.diff.conntrack"] = _walk_all(prog)
    return cached


def _walk_all(prog: Program) -> _Walked:
    table = Table(prog)
    bits = table.plan.timeout_bits
    now = number_or_why("jiffies", lambda: jiffies(prog))
    seen: Counter[tuple[int, int | None, int | None, int, bool]] = Counter()
    protocols: dict[int, str] = {}
    for entry in table.hash_entries():
        row = entry.row
        if row.protocol not in protocols:
            protocols[row.protocol] = _protocol(entry)
        over = isinstance(now, int) and remaining_ticks(row.timeout, now, bits) <= 0
        seen[row.protocol, entry.state_number, row.zone, row.status & _BITS, over] += 1
    return _Walked(
        table=table,
        seen=seen,
        protocols=protocols,
        timed=isinstance(now, int),
        problem=_damage(table),
    )


def _protocol(entry: TableEntry) -> str:
    try:
        return entry.original.protocol_name
    except Unavailable:
        return f"protocol {entry.row.protocol}"


def _damage(table: Table) -> Unavailable | None:
    for state in table.states:
        for kind, number in state.damage.items():
            lost = Reason.NOT_IN_DUMP if "not in the dump" in kind else Reason.CORRUPTED
            return Unavailable("conntrack table", lost, f"{number} times: {kind}")
    return None


def read_kinds(crash: Crash) -> Listing:
    """Count the entries of the table by protocol and state, by zone and by namespace."""
    need_conntrack(crash.prog)
    walked = _walk(crash.prog)
    kinds: Counter[str] = Counter()
    for (protocol, state, zone, _status, _over), number in walked.seen.items():
        name = walked.protocols[protocol]
        if state is not None:
            names = walked.table.states_of[protocol]
            name = f"{name} {names.get(state, f'state {state}')}"
        kinds[name] += number
        if zone:
            kinds[f"zone {zone}"] += number
    problem = walked.problem
    amounts = [count(kind, kind, number) for kind, number in sorted(kinds.items())]
    amounts += _namespaces(walked.table)
    return Listing(amounts=tuple(amounts), incomplete=problem, at_least=problem is not None)


def _namespaces(table: Table) -> list[Amount]:
    names: Counter[str] = Counter()
    for net, number in table.entries.items():
        inode = table.inodes.get(net)
        if net == table.init_net:
            names["namespace init_net"] += number
        else:
            names[f"namespace net:[{inode}]" if inode else "namespaces without a number"] += number
    return [count(name, name, number) for name, number in sorted(names.items())]
