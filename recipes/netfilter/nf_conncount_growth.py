"""A connlimit list that grows without end: connections are added faster than stale ones go.

From 5.19 on, adding an entry to a list collects stale ones once per tick at most, and such a
collection ended after 9. Packets that the rule drops leave no connection, so nearly every entry is
stale; whatever comes beyond 9 in a tick stays.

Recognised by: a list far longer than its rule's limit, its entries without connections though the
rule dropped as many packets, most of them added in ticks with more than 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from crashkit import decode
from crashkit.crash import Crash
from crashkit.errors import Reason, Unavailable
from crashkit.finding import (
    CheckSpec,
    Fix,
    Observation,
    excluding,
    necessary,
    seen,
    supporting,
)
from crashkit.recipe import Meta
from crashkit.symbols import find_symbol
from crashkit.value import Origin, Reread, Value

META = Meta(
    id="nf-conncount-growth",
    claim=(
        "a connlimit list holds stale entries far beyond its rule's limit: packets that the rule"
        " dropped were added faster than 9 per tick, and no collection removes more"
    ),
    references=(
        "21d033e47273 netfilter: nf_conncount: increase the connection clean up limit to 64",
        "d265929930e2 netfilter: nf_conncount: reduce unnecessary GC",
        "7811ba452402 (v6.19) does not end it: the first entry of a tick collected before, too",
    ),
    matches=("conncount-growth",),
    told_apart_from=(
        "as many connections that live: their tuples are in the connection table",
        "connections that ended by themselves, or were flushed: the rule did not drop them",
        "a corrupt list: its length and its count differ, or a link does",
        "a fixed kernel: it collects 65 at a time, and again after 64 were added",
    ),
    fix=Fix(
        upstream="21d033e47273",
        title="netfilter: nf_conncount: increase the connection clean up limit to 64",
        release="v7.0",
        stable=("6.12.75", "6.6.128", "6.1.165", "5.15.202", "5.10.252"),
        distributions=(
            "affected without it: 5.19 to 6.19, 5.15.198 on, 5.10.248 on (d265929930e2)",
            "Debian: 6.16.12-1~bpo13+1 not fixed; 6.1.192-2, 6.12.117-1, 6.18.15-1~bpo13+1 fixed",
        ),
    ),
    advice=(
        "deleting the rule frees its list at once; untested: drop the flood before the rule"
        " (-t raw, hashlimit), so that fewer than 9 new connections per tick reach it"
    ),
)

_LONG = 650
# Entries beyond the limit: ten passes of a kernel with the fix, which never leaves one behind.
_MOST, _HALF = 0.9, 0.5
# Shares: from 9 in 10 on it is nearly all; up to a half it is not; between them nothing is said.


def applies(crash: Crash) -> bool:
    """Whether connlimit has a list that is long."""
    if crash.target.format == "text":
        return False  # nothing in a log tells how long a list is
    if find_symbol(crash.prog, "conncount_conn_cachep") is None:
        return False  # neither built in nor loaded
    return decode.longest_count(crash.prog) > _LONG


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary(
        "list-long", "the list is far longer than its rule's limit", lambda: _is_long(scene)
    )
    yield necessary("list-whole", "it is as long as its count says", lambda: _is_whole(scene))
    yield necessary(
        "entries-stale",
        "nearly all its entries have no confirmed connection",
        lambda: _is_stale(scene),
    )
    yield necessary(
        "entries-dropped",
        "its rule dropped at least as many packets",
        lambda: _was_dropped(scene),
    )
    yield necessary(
        "ticks-crowded",
        f"most were added in ticks with more than {decode.PER_PASS}",
        lambda: _is_crowded(scene),
    )
    yield excluding(
        "fixed", "a kernel with the fix, which collects 65 at a time", lambda: _is_fixed(scene)
    )
    yield excluding(
        "always-collects",
        "a kernel that collects whenever it adds",
        lambda: _always_collects(scene),
    )
    yield from _support(scene)


def _support(scene: _Scene) -> Iterator[CheckSpec]:
    yield supporting(
        "once-per-tick",
        "the type remembers the last collection's tick, and not the length then",
        lambda: _once_per_tick(scene),
    )
    yield supporting("memory", "the entries hold much of the slab memory", lambda: _memory(scene))
    yield supporting(
        "growing", "it grew until shortly before the dump", lambda: _was_growing(scene)
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash
        self.prog = crash.prog

    @cached_property
    def all(self) -> decode.Conncount:
        return decode.read_conncount(self.prog)

    @cached_property
    def _chosen(self) -> tuple[decode.Counted, decode.ConncountList]:
        # The longest list; of one whose rule drops, if there is such a long one.
        found = [(one, held) for one in self.all.counted for held in one.lists or ()]
        if not found:
            why = next((one.absent["lists"] for one in self.all.counted if one.absent), None)
            raise why or Unavailable("a list", Reason.NOT_APPLICABLE, "connlimit has none")
        return max(found, key=lambda pair: (_drops(pair[0]) and _long(pair[1]), _count(pair[1])))

    @property
    def list(self) -> decode.ConncountList:
        return self._chosen[1]

    @property
    def rule(self) -> decode.ConncountRule:
        counted = self._chosen[0]
        if counted.rule is not None:
            return counted.rule
        missing = next((f"; {why}" for why in self.all.unread), "")
        text = f"{len(counted.rules)} rules use it{missing}"
        raise Unavailable("the rule", Reason.AMBIGUOUS, text)

    @property
    def length(self) -> int:
        return self._known("length", self.list.length)

    @property
    def stale(self) -> int:
        return self._known("stale", self.list.stale)

    @property
    def ticks(self) -> decode.Ticks:
        if self.list.ticks is None:
            raise self.list.absent["ticks"]
        return self.list.ticks

    def _known(self, name: str, value: int | None) -> int:
        if value is None:
            raise self.list.absent[name]
        return value

    def value(self, name: str, value: int | str, attribute: str) -> Value:
        # A number of the list, and how to read it again.
        address = self.list.address
        return Value(
            name=name,
            value=value,
            origin=Origin.MEMORY,
            address=address,
            reread=Reread(
                crash=f"struct nf_conncount_list {address:016x}",
                crashkit=f"conncount_list_at(prog, {address:#x}).{attribute}",
            ),
        )

    def limit(self) -> Value:
        rule = self.rule
        kind = "nft_connlimit" if rule.kind == "nft" else "xt_connlimit_info"
        return Value(
            name="limit",
            value=rule.limit,
            origin=Origin.MEMORY,
            address=rule.address,
            reread=Reread(
                crash=f"struct {kind}.limit {rule.address:016x}",
                crashkit=f"Object(prog, 'struct {kind} *', {rule.address:#x}).limit",
            ),
        )


def _drops(counted: decode.Counted) -> bool:
    return counted.rule is not None and counted.rule.drops


def _count(held: decode.ConncountList) -> int:
    return held.count or held.length or 0


def _long(held: decode.ConncountList) -> bool:
    return _count(held) > _LONG


def _share(part: int, whole: int, what: str) -> bool:
    # Whether it is nearly all of it; neither nearly all nor less than a half decides nothing.
    share = part / whole if whole else 0.0
    if _HALF < share < _MOST:
        raise Unavailable(what, Reason.AMBIGUOUS, f"{part} of {whole}, neither most nor few")
    return share >= _MOST


def _is_long(scene: _Scene) -> Observation:
    rule, count = scene.rule, scene._known("count", scene.list.count)
    note = f"{count} where the limit is {rule.limit}: {rule.text}"
    shown = scene.value("list.count", count, "count")
    return seen(count > rule.limit + _LONG, shown, scene.limit(), note=note)


def _is_whole(scene: _Scene) -> Observation:
    count, length = scene._known("count", scene.list.count), scene.length
    note = f"{length} entries linked both ways, list.count {count}"
    head = scene.value("list.count", count, "count")
    return seen(length == count, scene.value("entries", length, "length"), head, note=note)


def _is_stale(scene: _Scene) -> Observation:
    stale, length = scene.stale, scene.length
    note = f"{stale} of {length}"
    holds = _share(stale, length, "stale entries")
    return seen(holds, scene.value("stale entries", stale, "stale"), note=note)


def _was_dropped(scene: _Scene) -> Observation:
    rule = scene.rule
    if rule.packets is None:
        raise rule.absent["packets"]
    note = f"{rule.packets} packets counted by {rule.text}"
    match = "c.rule.packets for c in read_conncount(prog).counted if c.rule and c.rule.address"
    again = Reread(crashkit=f"next({match} == {rule.address:#x})")
    dropped = Value(name="packets dropped", value=rule.packets, origin=Origin.MEMORY, reread=again)
    stale = scene.value("stale entries", scene.stale, "stale")
    if not rule.drops:
        # Whatever comes after it may drop them; or they were accepted, and ended since.
        detail = f"this rule itself drops nothing above its limit: {rule.text}"
        raise Unavailable("packets dropped", Reason.AMBIGUOUS, detail)
    if rule.packets < scene.stale:
        detail = f"{rule.packets} packets since the counter was last cleared"
        raise Unavailable("packets dropped", Reason.AMBIGUOUS, detail)
    return seen(True, dropped, stale, note=note)


def _is_crowded(scene: _Scene) -> Observation:
    ticks, length = scene.ticks, scene.length
    note = (
        f"{ticks.in_crowded} of {length} in {ticks.crowded} of {ticks.ticks} ticks;"
        f" {ticks.most} in one"
    )
    holds = _share(ticks.in_crowded, length, "crowded ticks")
    shown = scene.value("entries of such ticks", ticks.in_crowded, "ticks.in_crowded")
    most = scene.value("most in one tick", ticks.most, "ticks.most")
    return seen(holds, shown, most, note=note)


def _collects(scene: _Scene) -> Value:
    again = "read_conncount(prog).collects"
    return Value(
        name="adding collects",
        value=scene.all.collects,
        origin=Origin.DWARF,
        reread=Reread(crash="struct nf_conncount_list", crashkit=again),
    )


def _is_fixed(scene: _Scene) -> Observation:
    # The instructions decide where they can be had; else that the type has last_gc_count.
    by_type = scene.all.collects == "once per tick or 64"
    try:
        by_code, how = decode.collection(scene.prog).fixed, decode.collection(scene.prog).how
    except Unavailable:
        by_code, how = None, ""
    if by_code is not None and by_code is not by_type:
        detail = f"{how}; yet the type collects {scene.all.collects}"
        raise Unavailable("the fix", Reason.AMBIGUOUS, detail)
    return seen(by_type, _collects(scene), note=how)


def _always_collects(scene: _Scene) -> Observation:
    return seen(scene.all.collects == "always", _collects(scene))


def _once_per_tick(scene: _Scene) -> Observation:
    return seen(scene.all.collects == "once per tick", _collects(scene))


def _memory(scene: _Scene) -> Observation:
    cache, total = scene.all.caches[0], scene.all.memory.slab
    if cache.object_size is None:
        raise cache.absent["object_size"]
    if total is None:
        raise scene.all.memory.absent["slab"]
    held = scene.length * cache.object_size
    names = ", ".join((cache.name or "?", *(cache.aliases or ())))
    note = f"{held >> 10} of {total >> 10} KiB of slabs, accounted to {names}"
    again = Reread(crash="kmem -s")
    value = Value(name="bytes in entries", value=held, origin=Origin.MEMORY, reread=again)
    return seen(held * 4 >= total, value, note=note)


def _was_growing(scene: _Scene) -> Observation:
    # Within a second of the dump.
    ticks, rate = scene.ticks, scene.all.rate
    note = f"the newest entry is {ticks.newest} ticks old"
    if rate is None:
        raise scene.all.absent["rate"]
    shown = scene.value("ticks since the newest", ticks.newest, "ticks.newest")
    return seen(ticks.newest <= rate.hz, shown, note=f"{note}, HZ {rate.hz}")


def fix(crash: Crash) -> Fix:
    """Say whether this binary collects 65 at a time, and again after 64 were added."""
    assert META.fix is not None
    try:
        found = decode.collection(crash.prog)
    except Unavailable as missing:
        return replace(META.fix, in_this_binary=None, how_seen=str(missing))
    return replace(META.fix, in_this_binary=found.fixed, how_seen=found.how)


def history(crash: Crash) -> tuple[str, ...]:
    """Tell what led here; always inferred."""
    scene = _Scene(crash)
    try:
        added = scene.length / scene.ticks.span
        tick = scene.all.rate
    except Unavailable:
        return ()
    per_second = "" if tick is None else f", {added * tick.hz:.0f} a second at HZ {tick.hz}"
    return (
        f"packets of new connections reach the rule, about {added:.0f} a tick{per_second}",
        "above the limit the rule drops each: its connection is never confirmed, its entry stays",
        f"the first packet of a tick removes {decode.PER_PASS} stale entries, the others none",
        f"the list grows by about {added - decode.PER_PASS:.0f} entries a tick while packets come",
    )
