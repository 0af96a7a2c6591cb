"""Two snapshots, number by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from crashkit.diff.boots import order_of
from crashkit.diff.growth import by_growth, what_grew
from crashkit.diff.model import Change, Difference, Fact, Modules, Order, Row, Section
from crashkit.diff.parts import PARTS, PROCESSES
from crashkit.diff.readings import Amount, Listing, Missing, Nature, Number, Part
from crashkit.diff.snapshot import NAMES, Snapshot
from crashkit.errors import Reason, Unavailable

_EXACT = 1 << 53
# From here on a reader of JSON that takes numbers for doubles loses digits (RFC 8259, 6); no
# kernel counts so many of anything.


def compare_snapshots(first: Snapshot, second: Snapshot) -> Difference:
    """Compare two snapshots, see :func:`crashkit.diff.compare`."""
    order = order_of(first, second)
    before, after = (second, first) if order.swapped else (first, second)
    absent: dict[str, Unavailable] = {}
    sections: tuple[Section, ...] = ()
    if not before.is_text and not after.is_text:
        pair = _Pair(before, after, order)
        sections = tuple(pair.section(part) for part in PARTS if pair.applies(part))
    modules = _modules(before, after)
    if isinstance(modules, Unavailable):
        absent["modules"] = modules
    return Difference(
        order=order,
        warnings=tuple(_warnings(before, after, order)),
        facts=tuple(_fact(before, after, key) for key in NAMES),
        modules=None if isinstance(modules, Unavailable) else modules,
        grew=what_grew(sections),
        sections=sections,
        absent=absent,
    )


def _fact(before: Snapshot, after: Snapshot, key: str) -> Fact:
    sides = {"before": before.facts[key], "after": after.facts[key]}
    absent = {side: value for side, value in sides.items() if isinstance(value, Unavailable)}
    one, other = before.fact(key), after.fact(key)
    return Fact(
        key=key,
        name=NAMES[key],
        before=one,
        after=other,
        same=None if absent else one == other,
        absent=absent,
    )


def _modules(before: Snapshot, after: Snapshot) -> Modules | Unavailable:
    if isinstance(before.modules, Unavailable):
        return before.modules
    if isinstance(after.modules, Unavailable):
        return after.modules
    return Modules(
        only_before=tuple(sorted(before.modules - after.modules)),
        only_after=tuple(sorted(after.modules - before.modules)),
        both=len(before.modules & after.modules),
    )


_HOST = {"nodename": "names", "arch": "machines", "cpus": "numbers of CPUs"}


def _warnings(before: Snapshot, after: Snapshot, order: Order) -> Iterable[str]:
    is_text = before.is_text or after.is_text
    if is_text:
        yield "a log has no memory; only what both say is compared"
    yield from _host_warnings(before, after)
    if order.swapped:
        yield f"the second was taken first ({order.why}): compared from the second to the first"
    elif order.taken_first == "after":
        yield f"the second was taken first ({order.why}): compared as named, from first to second"
    elif order.taken_first is None:
        yield f"{order.why}: compared in the order they were named"
    if not is_text:
        yield from _boot_warnings(order)


def _boot_warnings(order: Order) -> Iterable[str]:
    why = order.same_boot_why
    if order.same_boot is False:
        yield f"two boots ({why}): no rates, and what is counted since boot is not compared"
    elif order.same_boot is None:
        yield f"not known whether it was booted between the two ({why}): no rates"


def _host_warnings(before: Snapshot, after: Snapshot) -> Iterable[str]:
    for key, words in _HOST.items():
        one, other = before.fact(key), after.fact(key)
        if one is not None and other is not None and one != other:
            yield f"the hosts' {words} differ: {one} and {other}; are they one host?"
    yield from _memory_warning(before, after)
    if any(_differ(before, after, key) for key in ("build_id", "release")):
        yield (
            f"different kernels ({before.fact('release')} and {after.fact('release')}): sizes of"
            " objects, names of caches and what is counted differ by build"
        )


def _differ(before: Snapshot, after: Snapshot, key: str) -> bool:
    one, other = before.fact(key), after.fact(key)
    return one is not None and other is not None and one != other


def _memory_warning(before: Snapshot, after: Snapshot) -> Iterable[str]:
    # Boots of one host differ a little in what they keep for themselves.
    sizes = [snapshot.fact("memory") for snapshot in (before, after)]
    if sizes[0] is None or sizes[1] is None:
        return
    one, other = (int(size.split()[0]) for size in sizes if size is not None)
    if abs(one - other) * 50 > max(one, other):
        yield f"the hosts' memory differs: {one // 1024} and {other // 1024} MiB"


def _note(key: str, sides: Mapping[str, Listing | Unavailable]) -> str | None:
    # A cache that one kernel merged into this one and the other kept apart.
    before, after = sides["before"], sides["after"]
    if isinstance(before, Unavailable) or isinstance(after, Unavailable):
        return None
    for side, one, other in (("before", before, after), ("after", after, before)):
        inside = sorted(name for name, at in one.merged.items() if at == key and other.find(name))
        if inside:
            return f"{side}: together with {', '.join(inside)}"
    return None


def _is_known(amount: Amount) -> bool:
    return any(isinstance(number, int) for number in amount.numbers.values())


class _Pair:
    def __init__(self, before: Snapshot, after: Snapshot, order: Order) -> None:
        self.before, self.after, self.order = before, after, order
        build = before.fact("build_id"), after.fact("build_id")
        self.one_build = build[0] is not None and build[0] == build[1]

    def applies(self, part: Part) -> bool:
        # Processes of two boots have nothing but their names in common.
        return part.key != PROCESSES or self.order.same_boot is True

    def section(self, part: Part) -> Section:
        sides = {"before": self.before.parts[part.key], "after": self.after.parts[part.key]}
        read = {side: one for side, one in sides.items() if isinstance(one, Listing)}
        keys = dict.fromkeys(one.key for listing in read.values() for one in listing.amounts)
        rows = [self._row(part, key, sides) for key in keys]
        if part.nature is Nature.LEVEL:
            rows.sort(key=by_growth)
        return Section(
            key=part.key,
            title=part.title,
            noun=part.noun,
            nature=part.nature,
            rows=tuple(rows),
            unread={side: one for side, one in sides.items() if isinstance(one, Unavailable)},
            incomplete={side: one.incomplete for side, one in read.items() if one.incomplete},
            at_least=tuple(side for side, one in read.items() if one.at_least),
        )

    def _row(self, part: Part, key: str, sides: dict[str, Listing | Unavailable]) -> Row:
        found = {side: one.find(key) for side, one in sides.items() if isinstance(one, Listing)}
        amounts = [amount for amount in found.values() if amount is not None]
        quantities = dict.fromkeys(name for amount in amounts for name in amount.numbers)
        only = None
        if len(amounts) == 1 and len(found) == 2 and _is_known(amounts[0]):
            only = next(side for side, amount in found.items() if amount is not None)
        return Row(
            key=key,
            name=amounts[0].name,
            only=only,
            aliases=tuple(dict.fromkeys(name for amount in amounts for name in amount.aliases)),
            note=_note(key, sides),
            numbers={
                name: self._change(
                    part, *(self._number(part, key, name, sides[side]) for side in sides)
                )
                for name in quantities
            },
        )

    def _number(self, part: Part, key: str, name: str, side: Listing | Unavailable) -> Number:
        if isinstance(side, Unavailable):
            return side
        amount: Amount | None = side.find(key)
        if amount is None:
            return self._missing(part, key, side)
        value = amount.numbers.get(name)
        if value is None:
            return Unavailable(key, Reason.NOT_APPLICABLE, f"no {name} there")
        if isinstance(value, int) and abs(value) >= _EXACT:
            return Unavailable(key, Reason.CORRUPTED, f"{value:#x}")
        return value

    def _missing(self, part: Part, key: str, side: Listing) -> Number:
        if key in side.merged:
            detail = f"counted with {side.merged[key]}"
            return Unavailable(key, Reason.NOT_APPLICABLE, detail)
        if side.incomplete is not None:
            return side.incomplete
        none = part.missing is Missing.NONE or (
            part.missing is Missing.NONE_IN_ONE_BUILD and self.one_build
        )
        if none:
            return 0
        return Unavailable(key, Reason.NOT_APPLICABLE, "zero, or not counted there")

    def _change(self, part: Part, before: Number, after: Number) -> Change:
        sides = {"before": before, "after": after}
        absent = {side: one for side, one in sides.items() if isinstance(one, Unavailable)}
        change = None
        why = next(iter(absent.values()), None) or self._incomparable(part)
        if why is not None:
            absent["change"] = why
        elif not isinstance(before, Unavailable) and not isinstance(after, Unavailable):
            change = after - before
        rate = self._rate(part, change)
        if isinstance(rate, Unavailable):
            absent["per_second"] = rate
        return Change(
            before=None if isinstance(before, Unavailable) else before,
            after=None if isinstance(after, Unavailable) else after,
            change=change,
            per_second=None if isinstance(rate, Unavailable) else rate,
            absent=absent,
        )

    def _incomparable(self, part: Part) -> Unavailable | None:
        for snapshot in (self.before, self.after):
            listing = snapshot.parts[part.key]
            if isinstance(listing, Listing) and listing.at_least:
                return listing.incomplete
        if part.nature is Nature.SINCE_BOOT and self.order.same_boot is not True:
            return Unavailable("change", Reason.NOT_APPLICABLE, "not known to be of one boot")
        return None

    def _rate(self, part: Part, change: int | None) -> float | Unavailable:
        elapsed = self.order.elapsed_s
        if change is None:
            return Unavailable("rate", Reason.NOT_APPLICABLE, "the change is not known")
        if part.nature is Nature.SETTING or not elapsed:
            return Unavailable("rate", Reason.NOT_APPLICABLE, "no time between two dumps of a boot")
        return round(change / elapsed, 3)
