"""Memory by use, by node and zone, the slab caches, and who took vmalloc's areas."""

from __future__ import annotations

from collections import Counter

from crashkit.crash import Crash
from crashkit.decode.memory import Consumer, MemoryUse, memory_use
from crashkit.decode.memory_slabs import MAX_CACHES, CacheUse, slab_use
from crashkit.decode.memory_vmalloc import MAX_AREAS, vmalloc_callers
from crashkit.diff.readings import BYTES, COUNT, PAGE, ROOM, Amount, Listing, Number, pages
from crashkit.errors import Reason, Unavailable

TOTAL = "total"
UNACCOUNTED = "unaccounted"


def _use(crash: Crash) -> MemoryUse:
    # Read once: the counters of each CPU are behind it.
    cached: MemoryUse | None = crash.prog.cache.get("crashkit.diff.memory")
    if cached is None:
        cached = crash.prog.cache["crashkit.diff.memory"] = memory_use(crash.prog)
    return cached


def read_memory(crash: Crash) -> Listing:
    """Read every use of memory, and what nothing counts."""
    use = _use(crash)
    amounts = [pages(TOTAL, "managed by the kernel", use.total_pages)]
    amounts += [_consumer(one) for one in use.consumers]
    amounts.append(pages(UNACCOUNTED, "counted by nothing", _unaccounted(use)))
    return Listing(amounts=tuple(amounts))


def _consumer(one: Consumer) -> Amount:
    if one.pages is None:
        missing = one.unavailable or Unavailable(one.name, Reason.NOT_IN_DUMP)
        return pages(one.key, one.name, missing)
    return pages(one.key, one.name, one.pages)


def _unaccounted(use: MemoryUse) -> Number:
    # It includes what could not be read, so it is no number of its own then.
    unread = next((one for one in use.consumers if one.pages is None), None)
    if unread is None:
        return use.unaccounted_pages
    reason = unread.unavailable.reason if unread.unavailable else Reason.NOT_IN_DUMP
    return Unavailable("counted by nothing", reason, f"{unread.name} was not read")


def read_beside(crash: Crash) -> Listing:
    """Read the numbers that are parts of a use, or no memory at all."""
    use = _use(crash)
    return Listing(amounts=tuple(_consumer(one) for one in use.beside))


def read_zones(crash: Crash) -> Listing:
    """Read the free memory of each zone of each node."""
    amounts: list[Amount] = []
    for zone in _use(crash).zones:
        where = f"node {zone.node} {zone.name}"
        amounts.append(pages(f"{where} free", f"{where}: free", zone.free))
        amounts.append(pages(f"{where} managed", f"{where}: managed", zone.managed))
        amounts.append(pages(f"{where} min", f"{where}: watermark min", zone.watermark_min))
    return Listing(amounts=tuple(amounts))


def read_slabs(crash: Crash) -> Listing:
    """Read every slab cache; caches of one name are added up."""
    use = slab_use(crash.prog, MAX_CACHES)
    by_name: dict[str, Amount] = {}
    merged: dict[str, str] = {}
    nameless = 0
    for cache in use.caches:
        if cache.name is None:
            nameless += 1
            continue
        by_name[cache.name] = _plus(by_name.get(cache.name), _cache(cache, cache.name))
        merged.update(dict.fromkeys(cache.aliases or (), cache.name))
    lost = use.unreadable + nameless
    detail = f"{lost} caches could not be read"
    return Listing(
        amounts=tuple(by_name.values()),
        incomplete=Unavailable("slab caches", Reason.CORRUPTED, detail) if lost else None,
        merged={alias: name for alias, name in merged.items() if alias not in by_name},
    )


def _cache(cache: CacheUse, name: str) -> Amount:
    used: Number = cache.absent["used"] if cache.used is None else cache.used
    return Amount(
        key=name,
        name=name,
        numbers={COUNT: used, BYTES: cache.pages * PAGE, ROOM: cache.objects},
        aliases=cache.aliases or (),
    )


def _plus(before: Amount | None, more: Amount) -> Amount:
    if before is None:
        return more
    numbers = {key: _sum(before.numbers[key], more.numbers[key]) for key in more.numbers}
    aliases = tuple(dict.fromkeys(before.aliases + more.aliases))
    return Amount(key=more.key, name=more.name, numbers=numbers, aliases=aliases)


def _sum(one: Number, other: Number) -> Number:
    if isinstance(one, Unavailable):
        return one
    return other if isinstance(other, Unavailable) else one + other


def read_vmalloc(crash: Crash) -> Listing:
    """Read what each function of the kernel took of the vmalloc area."""
    areas: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for one in vmalloc_callers(crash.prog, MAX_AREAS):
        # The offset in the function is another in each build.
        function, _plus, rest = (one.name or f"{one.caller:#x}").partition("+")
        module = f" [{rest.partition(' [')[2]}" if " [" in rest else ""
        areas[function + module] += one.areas
        taken[function + module] += one.pages * PAGE
    return Listing(
        amounts=tuple(
            Amount(key=name, name=name, numbers={COUNT: areas[name], BYTES: taken[name]})
            for name in taken
        )
    )
