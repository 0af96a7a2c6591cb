"""connlimit by itself: the document ``crashkit.conncount/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.decode.conncount import (
    PER_PASS,
    Conncount,
    Counted,
    has_conncount,
    key_text,
    read_conncount,
)
from crashkit.decode.conncount_binary import Collection, collection
from crashkit.decode.conncount_cost import CacheCost
from crashkit.decode.conncount_list import ConncountList, Ticks
from crashkit.decode.conncount_rule import FAMILIES, ConncountRule
from crashkit.decode.fields import Absent
from crashkit.errors import Reason
from crashkit.report.document import build_limits, envelope, limit_entry
from crashkit.report.parts import Json, Part, address, had
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash

CONNCOUNT = "crashkit.conncount/1"


def build_conncount(crash: Crash) -> Json:
    """Build the document; of a kernel without nf_conncount it says so, and no more.

    :raises Unavailable: nf_conncount is loaded and its types or the clock cannot be had
    """
    target = build_target(crash)
    loaded = has_conncount(crash.prog)
    found = read_conncount(crash.prog) if loaded else None
    part = Part()
    part.put("loaded", loaded)
    part.put("clock", None if found is None else _clock(found))
    part.put("collection", None if found is None else _collection(crash, found))
    part.put("memory", None if found is None else _memory(found))
    part.put("totals", None if found is None else _totals(found))
    part.put("counted", [_counted(one) for one in found.counted] if found else [])
    limits = [
        limit_entry(str(missing), missing.reason, "debug info of the module, or a fuller dump")
        for missing in (found.unread if found else ())
    ]
    return {
        **envelope(CONNCOUNT),
        "target": target,
        **part.done(),
        "limits": [*build_limits(crash.limits), *limits],
    }


def _reasons(absent: Absent) -> dict[str, Reason]:
    return {name: why.reason for name, why in absent.items()}


def _clock(found: Conncount) -> Json:
    reason = _reasons(found.absent).get("rate", Reason.NOT_APPLICABLE)
    part = Part({"hz": reason, "hz_source": reason})
    part.put("jiffies", found.now)
    part.put("hz", found.rate.hz if found.rate else None)
    part.put("hz_source", found.rate.source if found.rate else None)
    return part.done()


def _collection(crash: Crash, found: Conncount) -> Json:
    seen: Collection | None
    seen, reason = had(lambda: collection(crash.prog))
    part = Part(dict.fromkeys(("per_pass", "again", "has_fix", "how"), reason))
    part.put("when", found.collects)
    part.put("per_pass", seen.per_pass if seen else None)
    part.put("again", seen.again if seen else None)
    part.put("fix", "21d033e47273")
    part.put("has_fix", seen.fixed if seen else None, Reason.AMBIGUOUS)
    part.put("how", seen.how if seen else None)
    return part.done()


def _memory(found: Conncount) -> Json:
    memory = found.memory
    part = Part(_reasons(memory.absent))
    part.put("total", memory.total)
    part.put("free", memory.free)
    part.put("slab", memory.slab)
    part.put("caches", [_cache(cost) for cost in found.caches])
    return part.done()


def _cache(cost: CacheCost) -> Json:
    part = Part(_reasons(cost.absent))
    part.put("variable", cost.variable)
    part.put_address("cache", cost.cache)
    part.put("name", cost.name)
    part.put("aliases", None if cost.aliases is None else list(cost.aliases))
    part.put("object_size", cost.object_size)
    part.put("slabs", cost.slabs)
    part.put("slab_bytes", cost.slab_bytes)
    return part.done()


def _totals(found: Conncount) -> Json:
    entries, size = found.entries, found.caches[0].object_size
    stale = (
        None
        if any(one.stale is None for one in found.counted)
        else sum(one.stale or 0 for one in found.counted)
    )
    held = None if entries is None or size is None else entries * size
    part = Part(dict.fromkeys(("entries", "stale", "bytes"), Reason.NOT_IN_DUMP))
    part.put("rules", sum(len(one.rules) for one in found.counted))
    part.put("lists", sum(len(one.lists or ()) for one in found.counted))
    part.put("entries", entries)
    part.put("stale", stale)
    part.put("bytes", held)
    part.put("share_of_slab", _share(held, found.memory.slab))
    part.put("share_of_memory", _share(held, found.memory.total))
    part.put("growth_bytes_per_s", _growth(found))
    return part.done()


def _share(held: int | None, whole: int | None) -> float | None:
    return None if held is None or not whole else round(held / whole, 4)


def _growth(found: Conncount) -> int | None:
    # What the longest list would grow by, added as its entries were: a projection.
    size = found.caches[0].object_size
    lists = [held for one in found.counted for held in one.lists or () if held.ticks]
    longest = max(lists, key=lambda held: held.length or 0, default=None)
    if longest is None or longest.ticks is None or not longest.ticks.span:
        return None
    if size is None or found.rate is None or found.collects != "once per tick":
        return None
    a_tick = (longest.length or 0) / longest.ticks.span - PER_PASS
    return round(max(0.0, a_tick) * found.rate.hz * size)


def _counted(one: Counted) -> Json:
    part = Part(_reasons(one.absent))
    part.put("address", address(one.address))
    part.put_address("net", one.net)
    part.put("rules", [_rule(rule) for rule in one.rules])
    part.put("entries", one.entries, Reason.NOT_IN_DUMP)
    part.put("count", one.counts, Reason.NOT_IN_DUMP)
    part.put("stale", one.stale, Reason.NOT_IN_DUMP)
    lists = None if one.lists is None else [_list(held, one.rule) for held in one.lists]
    part.put("lists", lists)
    return part.done()


def _rule(rule: ConncountRule) -> Json:
    part = Part(_reasons(rule.absent))
    part.put("kind", rule.kind)
    part.put("family", FAMILIES.get(rule.family, str(rule.family)))
    part.put("table", rule.table)
    part.put("chain", rule.chain)
    part.put("number", rule.number)
    part.put("text", rule.text)
    part.put("limit", rule.limit)
    part.put("inverted", rule.inverted)
    part.put("mask", rule.mask)
    part.put("key", None if rule.mask is None else "destination" if rule.destination else "source")
    part.put("drops", rule.drops)
    part.put("packets", rule.packets)
    return part.done()


def _list(held: ConncountList, rule: ConncountRule | None) -> Json:
    part = Part(_reasons(held.absent))
    part.put("address", address(held.address))
    part.put_address("node", held.node)
    part.put("key", [f"{word:#x}" for word in held.key])
    part.put("key_text", key_text(rule, held.key) if rule else None)
    part.put("count", held.count)
    part.put("length", held.length)
    part.put("stale", held.stale)
    share = held.stale_share
    part.put("stale_share", None if share is None else round(share, 4))
    part.put("last_gc_age", held.last_gc_age)
    part.put("last_gc_count", held.last_gc_count)
    part.put("ticks", None if held.ticks is None else _ticks(held.ticks))
    return part.done()


def _ticks(ticks: Ticks) -> Json:
    return {
        "ticks": ticks.ticks,
        "most": ticks.most,
        "crowded": ticks.crowded,
        "in_crowded": ticks.in_crowded,
        "oldest": ticks.oldest,
        "newest": ticks.newest,
        "span": ticks.span,
        "histogram": _histogram(ticks),
    }


def _histogram(ticks: Ticks) -> list[Json]:
    # Ticks by how many entries they have: up to 9, then doubling.
    bounds = [PER_PASS]
    while bounds[-1] < ticks.most:
        bounds.append(bounds[-1] * 2)
    rows, least = [], 1
    for bound in bounds:
        inside = [count for _age, count in ticks.added if least <= count <= bound]
        rows.append({"from": least, "to": bound, "ticks": len(inside), "entries": sum(inside)})
        least = bound + 1
    return rows
