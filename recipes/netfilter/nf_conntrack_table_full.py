"""A connection table that is full, or that counts entries which no listing shows.

The counter is per namespace, the limit is one for all. It counts entries in the table, those
not confirmed yet, and those out of the table that something still refers to; a listing shows
the first kind only, and no expired ones. Which kind fills the table is its class.

Recognised by: the counter against ``nf_conntrack_max``; the sum of the entries found against
the counter; the references of those that no hash chain holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from drgn import Object, Program

from crashkit import decode
from crashkit.crash import Crash
from crashkit.crash.others import out_of_tree_modules
from crashkit.decode.conntrack_crowding import (
    conntrack_count_place,
    conntrack_max,
    is_worth_listing,
    seems_unlisted,
)
from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.netns import namespaces
from crashkit.decode.values import expression, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="nf-conntrack-table-full",
    claim=(
        "the connection table of a namespace is full, or most of what it counts is in no listing;"
        " the classes say what the counted entries are"
    ),
    references=(
        "4608fdfc07e1: a cycle of the garbage collector may take minutes",
        "8a75a2c17410 netfilter: conntrack: remove unconfirmed list",
        "__nf_conntrack_alloc() in net/netfilter/nf_conntrack_core.c",
    ),
    matches=("table-full",),
    classes=("full-legit", "gc-lag", "unconfirmed-pinned", "event-backlog", "leak"),
    told_apart_from=(
        "a table that was full and is not any more: the counter is far below the limit",
        "another namespace's table: every namespace's counter is read",
        "expectations and templates: they are not counted",
    ),
    advice="compare `conntrack -C`, `conntrack -L | wc -l` and net.netfilter.nf_conntrack_max",
)

_MESSAGE = re.compile(r"\b(?:nf|ip)_conntrack: table full(?: in netns \d+)?, dropping packet")
_SHARE = 10
"""A class needs this share of the counter, in percent, and more than may be in flight."""
_HALF = 50


def applies(crash: Crash) -> bool:
    """Whether the log complains, a counter is near its limit, or chains are far too few."""
    if _message(crash) is not None:
        return True
    if crash.target.format == "text" or "nf_conntrack_max" not in crash.prog:
        return False
    try:
        nets = list(namespaces(crash.prog))
        return any(_is_crowded(net) or seems_unlisted(net) for net in nets)
    except Unavailable as missing:
        if missing.reason is Reason.NO_DEBUGINFO:
            return False  # no types: nothing but the log can complain
        raise


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary(
        "crowded",
        "a namespace counts 95 % of nf_conntrack_max, or much that is not listed",
        lambda: _crowded(scene),
    )
    yield necessary(
        "balanced",
        "the counter is the sum of the entries found and at most one in flight per CPU",
        lambda: _balanced(scene),
    )
    yield necessary("classified", "what the entries are is known", lambda: _classified(scene))
    for name, words in _CLASSES.items():
        yield supporting(name, words, lambda name=name: _class(scene, name))  # type: ignore[misc]
    yield supporting("message", "the log says that packets were dropped", lambda: _logged(scene))
    yield supporting("dropped", "packets were dropped for it", lambda: _dropped(scene))
    yield supporting("queue", "packets wait in a queue for their verdict", lambda: _queue(scene))
    yield supporting(
        "listener", "a listener's full socket keeps events back", lambda: _listener(scene)
    )
    yield supporting(
        "lost-flow", "most lost entries are of one kind of flow", lambda: _lost_flow(scene)
    )
    yield supporting("out-of-tree", "an out-of-tree module is loaded", lambda: _strangers(scene))


_CLASSES = {
    "full-legit": "half of them or more are live connections",
    "gc-lag": "many have expired and were not collected",
    "unconfirmed-pinned": "many are not confirmed, and a queue holds their packets",
    "event-backlog": "many wait for their destroy event to be delivered",
    "leak": "many have no holder in any list, table or queue that was looked at",
}


def classes(_crash: Crash, made: Sequence[Check]) -> tuple[str, ...]:
    """Name the classes that hold."""
    holding = {check.id for check in made if check.holds is True}
    return tuple(name for name in _CLASSES if name in holding)


_ADVICE = {
    "full-legit": "raise net.netfilter.nf_conntrack_max, or lower nf_conntrack_*_timeout",
    "gc-lag": "wait for the collector, or list the table: that collects, too",
    "unconfirmed-pinned": "let the program answer its queue, or stop it",
    "event-backlog": "let the listener read its socket, or stop it",
    "leak": "look at hooks that return NF_STOLEN, and at modules that keep references",
}


def advice(crash: Crash, made: Sequence[Check]) -> tuple[str, ...]:
    """Say what to do about each class that holds."""
    return tuple(f"{name}: {_ADVICE[name]}" for name in classes(crash, made))


def to_settle(crash: Crash, made: Sequence[Check]) -> tuple[str, ...]:
    """Ask for what decides."""
    unread = tuple(
        f"{check.why_not} ({check.id})"
        for check in made
        if check.holds is None and check.id in ("crowded", "balanced", "classified")
    )
    if crash.target.format != "text":
        return unread
    return (
        "the vmcore of this system, or of the living one:",
        "net.netfilter.nf_conntrack_count, nf_conntrack_max, and how many lines `conntrack -L` has",
        "`conntrack -S`, /proc/net/netfilter/nfnetlink_queue and `ss -f netlink`",
    )


def _message(crash: Crash) -> str | None:
    try:
        found = _MESSAGE.search(crash.log)
    except Unavailable:
        return None
    return found and found.group()


def _is_crowded(net: Object) -> bool:
    # gc_worker() calls a namespace crowded from 95 % on (nf_conntrack_max95).
    limit = conntrack_max(net.prog_)
    return limit > 0 and 100 * conntrack_count(net) >= 95 * limit


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @property
    def prog(self) -> Program:
        return self.crash.prog

    @cached_property
    def net(self) -> Object:
        # struct net *: the fullest namespace.
        nets = list(namespaces(self.prog))
        if not nets:
            raise Unavailable("network namespaces", Reason.CORRUPTED, "the list is empty")
        return max(nets, key=conntrack_count)

    @cached_property
    def account(self) -> decode.NamespaceAccount:
        return decode.account_of(self.prog, int(self.net))

    @cached_property
    def unhashed(self) -> Mapping[str, Sequence[decode.KeptConntrack]]:
        return decode.unhashed_by_keeper(self.prog, int(self.net))

    def value(self, name: str, number: int) -> Value:
        again = f"account_of(prog, {int(self.net):#x}).{name}"
        return Value(name=name, value=number, origin=Origin.MEMORY, reread=Reread(crashkit=again))

    def listed(self, name: str, value: int | str, keeper: str, form: str = "len({})") -> Value:
        kept = f"unhashed_by_keeper(prog, {int(self.net):#x}).get({keeper!r}, ())"
        again = Reread(crashkit=form.format(kept))
        return Value(name=name, value=value, origin=Origin.MEMORY, reread=again)


def _counter_value(net: Object) -> Value:
    place = conntrack_count_place(net)
    return Value(
        name="conntrack count of the namespace",
        value=conntrack_count(net),
        origin=Origin.MEMORY,
        address=place,
        reread=Reread(
            crash=f"rd -32 -d {place:016x}", crashkit=f"conntrack_count({expression(net)})"
        ),
    )


def _limit_value(prog: Program) -> Value:
    limit = prog["nf_conntrack_max"]
    return Value(
        name="nf_conntrack_max",
        value=conntrack_max(prog),
        origin=Origin.MEMORY,
        address=limit.address_,
        reread=Reread(crash=f"rd -32 -d {limit.address_:016x}", crashkit="conntrack_max(prog)"),
    )


def _crowded(scene: _Scene) -> Observation:
    net = scene.net
    values = (
        pointer_value("net", net, Origin.MEMORY, Certainty.PROVED),
        _counter_value(net),
        _limit_value(scene.prog),
    )
    count, limit = int(values[1].value), int(values[2].value)
    words = f"{count} of {limit}"
    if _is_crowded(net) or not is_worth_listing(net):
        return seen(_is_crowded(net), *values, note=words)
    unlisted = scene.account.unlisted
    note = f"{words}, {unlisted} not listed"
    return seen(
        100 * unlisted >= _HALF * count, *values, scene.value("unlisted", unlisted), note=note
    )


def _balanced(scene: _Scene) -> Observation:
    account = scene.account
    if not account.balanced:
        raise Unavailable("what is counted", Reason.AMBIGUOUS, account.explain())
    return seen(
        True,
        _counter_value(scene.net),
        *(scene.value(name, getattr(account, name)) for name in _PARTS),
        note=account.explain(),
    )


_PARTS = ("hashed", "expired", "reply_only", "unconfirmed", "dying", "undelivered", "listed")


def _classified(scene: _Scene) -> Observation:
    holding = [name for name in _CLASSES if _class(scene, name).holds]
    if not holding:
        raise Unavailable("a class", Reason.AMBIGUOUS, scene.account.explain())
    examples = tuple(
        pointer_value(
            f"one of {len(entries)} ({name})",
            Object(scene.prog, "struct nf_conn *", entries[0].entry.address),
            Origin.MEMORY,
            Certainty.PROVED,
        )
        for name, entries in scene.unhashed.items()
    )
    return seen(True, _counter_value(scene.net), *examples, note=", ".join(holding))


def _class(scene: _Scene, name: str) -> Observation:
    account = scene.account
    entries = scene.unhashed.get(name, [])
    counts = {"full-legit": account.live, "gc-lag": account.expired}
    count = counts.get(name, len(entries))
    share = _HALF if name == "full-legit" else _SHARE
    holds = 100 * count >= share * account.counter and count > account.in_flight_bound
    note = f"{count} of {account.counter}"
    if name in counts:
        part = "live" if name == "full-legit" else "expired"
        return seen(holds, scene.value(part, count), note=note)
    found = scene.listed("entries", count, name)
    if not entries:
        return seen(holds, found, note=note)
    kinds = Counter(kept.holders.explain() for kept in entries).most_common(2)
    words = "; ".join(f"{number} with {kind}" for kind, number in kinds)
    example = Object(scene.prog, "struct nf_conn *", entries[0].entry.address)
    value = pointer_value("one of them", example, Origin.MEMORY, Certainty.PROVED)
    return seen(holds, found, value, note=f"{note}: {words}")


def _queue(scene: _Scene) -> Observation:
    queues = decode.queue_instances(scene.prog, scene.net)
    again = f"queue_instances(prog, {expression(scene.net)})"
    if not queues:
        count = Value(
            name="queues", value=0, origin=Origin.MEMORY, reread=Reread(crashkit=f"len({again})")
        )
        return seen(False, count)
    place, fullest = max(enumerate(queues), key=lambda each: each[1].waiting or 0)
    if fullest.waiting is None:
        raise Unavailable("NFQUEUE", fullest.absent["waiting"].reason, "packets that wait")
    waiting = Value(
        name=f"packets in queue {fullest.queue_number}",
        value=fullest.waiting,
        origin=Origin.MEMORY,
        address=fullest.address,
        reread=Reread(
            crash=f"struct nfqnl_instance.queue_total {fullest.address:016x}",
            crashkit=f"{again}[{place}].waiting",
        ),
    )
    note = (
        f"{fullest.waiting} in queue {fullest.queue_number}, of at most {fullest.maximum};"
        f" its listener's port is {fullest.peer_port}"
    )
    return seen(fullest.waiting > 0, waiting, note=note)


def _listener(scene: _Scene) -> Observation:
    listeners = [one for one in decode.for_each_listener(scene.prog) if one.net == int(scene.net)]
    for one in listeners:
        if one.holds_up:
            sock = Object(scene.prog, "struct netlink_sock *", one.address)
            value = pointer_value("sock", sock, Origin.MEMORY, Certainty.PROVED)
            note = f"port {one.port}, {one.queued} of {one.limit} bytes wait to be read"
            return seen(True, value, note=note)
    net = int(scene.net)
    again = Reread(crashkit=f"sum(one.net == {net:#x} for one in for_each_listener(prog))")
    value = Value(name="listeners", value=len(listeners), origin=Origin.MEMORY, reread=again)
    return seen(False, value)


def _lost_flow(scene: _Scene) -> Observation:
    lost = scene.unhashed.get(decode.LEAK, ())
    if not lost:
        return seen(False, scene.listed("lost entries", 0, decode.LEAK))
    flows = decode.most_common_flows(scene.prog, lost)
    words = ", ".join(f"{count} {flow}" for flow, count in flows[:3])
    form = "', '.join(f'{{n}} {{flow}}' for flow, n in most_common_flows(prog, {})[:3])"
    value = scene.listed("lost entries by flow", words, decode.LEAK, form)
    most = flows[0][1]
    return seen(2 * most > sum(count for _flow, count in flows), value, note=words)


def _strangers(scene: _Scene) -> Observation:
    names = out_of_tree_modules(scene.prog)
    shown = ", ".join(names) if names else "none"
    again = Reread(crash="mod -t")
    return seen(bool(names), Value(name="modules", value=shown, origin=Origin.MEMORY, reread=again))


def _logged(scene: _Scene) -> Observation:
    found = _MESSAGE.search(scene.crash.log)
    words = found.group() if found else "no such message"
    again = Reread(crash="log | grep 'table full'")
    return seen(found is not None, Value(name="log", value=words, origin=Origin.TEXT, reread=again))


def _dropped(scene: _Scene) -> Observation:
    stat = decode.decode_conntrack_stat(scene.net).counters
    names = [name for name in ("drop", "early_drop") if name in stat]
    again = f"decode_conntrack_stat({expression(scene.net)}).counters"
    values = [
        Value(
            name=name,
            value=stat[name],
            origin=Origin.MEMORY,
            reread=Reread(crashkit=f"{again}[{name!r}]"),
        )
        for name in names
    ]
    if not values:
        raise Unavailable("drop counters", Reason.NOT_APPLICABLE, "this kernel has none")
    note = ", ".join(f"{name} {stat[name]}" for name in names)
    return seen(any(stat[name] for name in names), *values, note=note)
