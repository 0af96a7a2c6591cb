"""Two snapshots compared: what is known, what is not, which came first, what grew."""

from __future__ import annotations

from typing import Any

import pytest

from crashkit.diff import Change, Difference, Row, Section, compare_snapshots
from crashkit.diff.growth import MOST
from crashkit.diff.snapshot import Snapshot
from crashkit.errors import Reason, Unavailable
from tests.unit.diff_doubles import LAYOUT, LOST, NOT_LOADED, START, amount, listing, snapshot

GIB = 1 << 30


def section(found: Difference, key: str) -> Section:
    return next(one for one in found.sections if one.key == key)


def row(found: Difference, part: str, key: str) -> Row:
    return next(one for one in section(found, part).rows if one.key == key)


def change(found: Difference, part: str, key: str, quantity: str = "count") -> Change:
    return row(found, part, key).numbers[quantity]


def slabs(used: int, size: int, **more: Any) -> Snapshot:
    one = amount("kmalloc-512", count=used, bytes=size, room=used + 8)
    return snapshot({"slabs": listing(one)}, **more)


def test_growth_has_its_change_and_its_rate() -> None:
    found = compare_snapshots(slabs(12_288, 6 << 20), slabs(2_440_192, GIB, uptime=500.0))
    used, size = (
        change(found, "slabs", "kmalloc-512"),
        change(found, "slabs", "kmalloc-512", "bytes"),
    )
    assert (used.before, used.after, used.change) == (12_288, 2_440_192, 2_427_904)
    assert size.change == GIB - (6 << 20)
    assert found.order.elapsed_s == 400.0
    assert size.per_second == round(size.change / 400, 3)
    assert [one.name for one in found.grew] == ["kmalloc-512"]


def test_a_snapshot_with_itself_has_no_change() -> None:
    one = slabs(5, 4096)
    found = compare_snapshots(one, one)
    assert found.order.taken_first is None
    assert not found.order.swapped
    assert "same moment" in found.order.why
    assert [r for s in found.sections for r in s.rows if r.differs] == []
    assert found.grew == ()
    assert all(fact.same for fact in found.facts)


def test_of_one_boot_the_one_taken_first_comes_first() -> None:
    old, new = slabs(5, 4096), slabs(9, 8192, uptime=160.0)
    forth, back = compare_snapshots(old, new), compare_snapshots(new, old)
    assert (forth.order.swapped, back.order.swapped) == (False, True)
    assert forth.sections == back.sections
    assert forth.grew == back.grew
    assert any("compared from the second to the first" in words for words in back.warnings)


def test_without_a_time_the_order_is_as_given_and_the_changes_mirror() -> None:
    one, other = slabs(5, 4096, uptime=None), slabs(9, 8192, uptime=None)
    forth, back = compare_snapshots(one, other), compare_snapshots(other, one)
    assert forth.order.taken_first is None
    assert any("in the order they were named" in words for words in forth.warnings)
    for quantity in ("count", "bytes", "room"):
        a = change(forth, "slabs", "kmalloc-512", quantity)
        b = change(back, "slabs", "kmalloc-512", quantity)
        assert (a.before, a.after) == (b.after, b.before)
        assert a.change == -(b.change or 0) != 0


def test_two_boots_are_compared_as_named_and_mirror() -> None:
    other = {"layout": (1, 2, 3), "booted": START + 900}
    leaky, fresh = slabs(9, 8192), slabs(5, 4096, **other)
    forth, back = compare_snapshots(leaky, fresh), compare_snapshots(fresh, leaky)
    assert (forth.order.taken_first, back.order.taken_first) == ("before", "after")
    assert not back.order.swapped
    assert any("compared as named" in words for words in back.warnings)
    assert change(forth, "slabs", "kmalloc-512").change == -4
    assert change(back, "slabs", "kmalloc-512").change == 4
    assert [one.name for one in back.grew] == ["kmalloc-512"]


def test_a_cache_that_only_one_has_is_said_so() -> None:
    one = snapshot({"slabs": listing()})
    other = snapshot({"slabs": listing(amount("leak", count=7, bytes=4096))}, uptime=101.0)
    found = row(compare_snapshots(one, other), "slabs", "leak")
    assert found.only == "after"
    assert (found.numbers["count"].before, found.numbers["count"].change) == (0, 7)


def test_what_is_not_read_is_not_zero() -> None:
    one = snapshot({"slabs": listing(amount("a", count=1, bytes=1), incomplete=LOST)})
    other = snapshot({"slabs": listing(amount("a", count=LOST, bytes=3), amount("b", count=7))},
                     uptime=101.0)  # fmt: skip
    found = compare_snapshots(one, other)
    lost = change(found, "slabs", "b")
    assert (lost.before, lost.after, lost.change, lost.per_second) == (None, 7, None, None)
    assert lost.absent["before"].reason is Reason.CORRUPTED
    assert change(found, "slabs", "a").change is None
    assert change(found, "slabs", "a", "bytes").change == 2
    assert found.is_partial


def test_a_part_that_one_lacks_is_not_zero_there() -> None:
    one = snapshot({"conntrack": NOT_LOADED})
    other = snapshot({"conntrack": listing(amount("counter", count=842))}, uptime=101.0)
    found = compare_snapshots(one, other)
    counter = change(found, "conntrack", "counter")
    assert (counter.before, counter.after, counter.change) == (None, 842, None)
    assert counter.absent["before"].detail == "nf_conntrack is not loaded"
    assert section(found, "conntrack").unread == {"before": NOT_LOADED}
    assert not found.is_partial
    assert found.grew == ()


def test_lower_bounds_have_no_difference() -> None:
    cut = listing(amount("tcp", count=5), incomplete=LOST, at_least=True)
    other = snapshot({"conntrack_kinds": listing(amount("tcp", count=9))}, uptime=101.0)
    found = compare_snapshots(snapshot({"conntrack_kinds": cut}), other)
    number = change(found, "conntrack_kinds", "tcp")
    assert (number.before, number.after, number.change) == (5, 9, None)
    assert number.absent["change"].reason is Reason.CORRUPTED
    assert section(found, "conntrack_kinds").at_least == ("before",)


def test_a_use_of_memory_that_one_build_may_not_count() -> None:
    one = snapshot({"memory": listing(amount("gpu", bytes=4096))})
    same = snapshot({"memory": listing()}, uptime=101.0)
    other = snapshot({"memory": listing()}, uptime=101.0, build_id="another")
    assert change(compare_snapshots(one, same), "memory", "gpu", "bytes").after == 0
    unknown = change(compare_snapshots(one, other), "memory", "gpu", "bytes")
    assert unknown.after is None
    assert unknown.absent["after"].reason is Reason.NOT_APPLICABLE


def test_merged_caches_are_not_counted_by_themselves() -> None:
    merged = listing(amount("kmalloc-64", count=10), merged={"sgpool": "kmalloc-64"})
    apart = listing(amount("kmalloc-64", count=6), amount("sgpool", count=4))
    found = compare_snapshots(snapshot({"slabs": merged}),
                              snapshot({"slabs": apart}, uptime=101.0))  # fmt: skip
    assert change(found, "slabs", "sgpool").before is None
    assert "kmalloc-64" in change(found, "slabs", "sgpool").absent["before"].detail
    assert row(found, "slabs", "kmalloc-64").note == "before: together with sgpool"


def test_numbers_that_cannot_be_are_corrupt() -> None:
    wild = snapshot({"files": listing(amount("files", count=1 << 60))})
    found = compare_snapshots(wild, snapshot({"files": listing(amount("files", count=3))}))
    number = change(found, "files", "files")
    assert number.before is None
    assert number.absent["before"].reason is Reason.CORRUPTED


def test_what_happened_since_boot_is_compared_in_one_boot_only() -> None:
    one = snapshot({"events": listing(amount("forks", count=10))})
    same = snapshot({"events": listing(amount("forks", count=30))}, uptime=110.0)
    other = snapshot({"events": listing(amount("forks", count=5))}, uptime=50.0, booted=START + 900,
                     layout=(1, 2, 3))  # fmt: skip
    forks = change(compare_snapshots(one, same), "events", "forks")
    assert (forks.change, forks.per_second) == (20, 2.0)
    rebooted = compare_snapshots(one, other)
    assert rebooted.order.same_boot is False
    assert change(rebooted, "events", "forks").change is None
    assert any(words.startswith("two boots") for words in rebooted.warnings)


def test_processes_one_by_one_are_those_of_one_boot() -> None:
    parts = {"processes": listing(amount("7 123", bytes=GIB))}
    keys = [s.key for s in compare_snapshots(snapshot(parts), snapshot(parts)).sections]
    assert "processes" in keys
    other = snapshot(parts, layout=(1, 2, 3), booted=START + 900)
    assert "processes" not in [s.key for s in compare_snapshots(snapshot(parts), other).sections]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {"uptime": 200.0}, True),
        ({"boot_id": "a"}, {"boot_id": "a", "layout": None, "booted": START + 900}, True),
        ({"boot_id": "a"}, {"boot_id": "b"}, False),
        ({}, {"layout": (*LAYOUT[:2], 7)}, False),
        ({}, {"build_id": "another"}, False),
        ({}, {"booted": START + 900, "uptime": 200.0}, None),  # the clock may have been set
        ({}, {"booted": START + 900, "uptime": 20.0}, False),  # it has been up for less
        ({"layout": None}, {}, None),
        ({"uptime": None}, {}, None),
    ],
)
def test_one_boot_or_two(one: dict[str, Any], other: dict[str, Any], same: bool | None) -> None:
    first, second = snapshot(**one), snapshot(**other)
    for found in (compare_snapshots(first, second), compare_snapshots(second, first)):
        assert found.order.same_boot is same, found.order.same_boot_why
        assert (found.order.elapsed_s is None) is (same is not True)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"nodename": "db2"}, "names differ: as before and db2"),
        ({"cpus": "4"}, "numbers of CPUs differ"),
        ({"arch": "aarch64"}, "machines differ"),
        ({"memory": "2000000 KiB"}, "memory differs"),
        ({"build_id": "x", "release": "6.12"}, "different kernels (as before and 6.12)"),
    ],
)
def test_another_host_or_kernel_is_a_warning(facts: dict[str, Any], words: str) -> None:
    found = compare_snapshots(snapshot(), snapshot(uptime=101.0, **facts))
    assert any(words in warning for warning in found.warnings), found.warnings
    assert compare_snapshots(snapshot(), snapshot(uptime=101.0)).warnings == ()


def test_modules_that_came_and_went() -> None:
    gone = compare_snapshots(
        snapshot(modules=frozenset({"a", "b"})), snapshot(modules=frozenset({"b", "c"}))
    ).modules
    assert gone is not None
    assert (gone.only_before, gone.only_after, gone.both) == (("a",), ("c",), 1)
    lost = Unavailable("modules", Reason.NOT_IN_DUMP, "gone")
    unknown = compare_snapshots(snapshot(modules=lost), snapshot())
    assert unknown.modules is None
    assert unknown.absent["modules"].reason is Reason.NOT_IN_DUMP


def test_of_logs_what_both_say_is_compared() -> None:
    one = snapshot(is_text=True, title="BUG: a", stack_key="1")
    other = snapshot(is_text=True, title="BUG: a", stack_key="2")
    found = compare_snapshots(one, other)
    assert found.sections == ()
    assert any(words.startswith("a log has no memory") for words in found.warnings)
    same = {fact.key: fact.same for fact in found.facts}
    assert (same["title"], same["stack_key"]) == (True, False)
    assert compare_snapshots(one, snapshot()).sections == ()


def test_at_most_ten_rows_stand_out_and_bytes_come_first() -> None:
    caches = [amount(f"cache-{n:02}", count=n, bytes=n << 20) for n in range(20)]
    states = [amount(f"state-{n:02}", count=100 * n) for n in range(20)]
    empty = snapshot({
        "slabs": listing(*(amount(f"cache-{n:02}", count=0, bytes=0) for n in range(20))),
        "tasks": listing(*(amount(f"state-{n:02}", count=0) for n in range(20))),
    })  # fmt: skip
    found = compare_snapshots(
        empty, snapshot({"slabs": listing(*caches), "tasks": listing(*states)}, uptime=101.0)
    )
    assert len(found.grew) == MOST
    assert [one.by for one in found.grew] == ["bytes"] * 6 + ["count"] * 4
    assert found.grew[0].row.key == "cache-19"
    assert found.grew[6].row.key == "state-19"


def test_free_memory_settings_and_zones_do_not_grow() -> None:
    def at(number: int, **more: Any) -> Snapshot:
        return snapshot({
            "memory": listing(amount("total", bytes=number), amount("free", bytes=number)),
            "zones": listing(amount("node 0 free", bytes=number)),
            "settings": listing(amount("kernel.panic", count=number)),
        }, **more)  # fmt: skip

    found = compare_snapshots(at(1), at(GIB, uptime=101.0))
    assert found.grew == ()
    assert change(found, "settings", "kernel.panic").change == GIB - 1
    assert change(found, "settings", "kernel.panic").per_second is None
