"""connlimit's trees and lists: whole, corrupt, and with pages missing; what the code does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object, Program
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.decode import has_conncount
from crashkit.decode.conncount_binary import collection
from crashkit.decode.conncount_layout import layouts
from crashkit.decode.conncount_list import ConncountList, ListReader
from crashkit.decode.conncount_live import LiveTuples, live_tuples
from crashkit.decode.conncount_memory import Pages
from crashkit.decode.conncount_rule import ConncountRule, key_text
from crashkit.decode.conncount_tree import TreeReader
from crashkit.errors import Reason, Unavailable
from tests.unit.conncount_doubles import (
    NOW,
    TABLE,
    conncount_kernel,
    data_of,
    entry,
    net_of,
    tree_node,
)
from tests.unit.kernel_doubles import Kernel, chain
from tests.unit.netfilter_doubles import udp_conntrack

NOBODY = LiveTuples(by_zone={}, connections=0)


def read(
    kernel: Kernel, node: Object, live: Callable[[], LiveTuples] = lambda: NOBODY
) -> ConncountList:
    reader = ListReader(Pages(kernel.prog), layouts(kernel.prog), NOW)
    address = node.list.address_of_().value_()
    return reader.read(address, live, node=int(node))


def why(held: ConncountList, field: str) -> Reason:
    assert getattr(held, field) is None
    return held.absent[field].reason


def trees(kernel: Kernel, data: Object) -> list[int]:
    reader = TreeReader(Pages(kernel.prog), layouts(kernel.prog))
    return [node.address for node in reader.nodes(reader.head(int(data)))]


@pytest.mark.parametrize("collects", ["always", "once per tick", "once per tick or 64"])
def test_type_tells_how_it_collects(collects: str) -> None:
    kernel = conncount_kernel(collects)
    assert layouts(kernel.prog).collects == collects
    held = read(kernel, tree_node(kernel, [entry(kernel)], gc_age=5))
    assert held.length == held.count == 1
    if collects == "always":
        assert why(held, "last_gc_age") is Reason.NOT_APPLICABLE
    else:
        assert held.last_gc_age == 5
    assert (held.last_gc_count is None) == (collects != "once per tick or 64")


def test_ticks_count_across_the_wrap_of_jiffies() -> None:
    kernel = conncount_kernel()
    ages = [40] * 12 + [20] * 9 + [0]
    held = read(kernel, tree_node(kernel, [entry(kernel, age=age) for age in ages]))
    assert held.ticks is not None
    assert held.ticks.added == ((40, 12), (20, 9), (0, 1))
    assert (held.ticks.most, held.ticks.crowded, held.ticks.in_crowded) == (12, 1, 12)
    assert (held.ticks.oldest, held.ticks.newest, held.ticks.span) == (40, 0, 41)


def test_entry_from_the_future_leaves_the_ages_unknown() -> None:
    kernel = conncount_kernel()
    held = read(kernel, tree_node(kernel, [entry(kernel, age=-3)]))
    assert held.length == 1
    assert why(held, "ticks") is Reason.CORRUPTED


def test_empty_list_is_empty() -> None:
    kernel = conncount_kernel()
    held = read(kernel, tree_node(kernel, []))
    assert (held.length, held.stale, held.stale_share) == (0, 0, None)
    assert held.ticks is not None
    assert (held.ticks.span, held.ticks.most) == (0, 0)


def test_count_that_differs_is_shown_beside_the_length() -> None:
    kernel = conncount_kernel()
    node = tree_node(kernel, [entry(kernel)])
    kernel.set(node, {"list.count": 7})
    held = read(kernel, node)
    assert (held.count, held.length) == (7, 1)


def test_cycle_that_leaves_the_head_out_ends() -> None:
    kernel = conncount_kernel()
    first, second, third = (entry(kernel) for _ in range(3))
    node = tree_node(kernel, [first, second, third])
    kernel.set(third, {"node.next": int(second)})
    held = read(kernel, node)
    assert why(held, "length") is Reason.CORRUPTED
    assert why(held, "stale") is Reason.CORRUPTED
    assert why(held, "ticks") is Reason.CORRUPTED
    assert held.count == 3


def test_list_cut_short_is_noticed_at_its_head() -> None:
    kernel = conncount_kernel()
    first, second = entry(kernel), entry(kernel)
    node = tree_node(kernel, [first, second])
    kernel.set(first, {"node.next": node.list.head.address_of_().value_()})
    assert why(read(kernel, node), "length") is Reason.CORRUPTED


def test_wild_link_is_corrupt_and_a_missing_page_is_not_in_the_dump() -> None:
    kernel = conncount_kernel()
    first = entry(kernel)
    node = tree_node(kernel, [first])
    kernel.set(node, {"list.head.next": 0x1122})
    assert why(read(kernel, node), "length") is Reason.CORRUPTED
    far = 0xFFFF_8882_0000_0000
    kernel.set(node, {"list.head.next": far})
    assert why(read(kernel, node), "length") is Reason.NOT_IN_DUMP


def test_unknown_connections_leave_the_length_known() -> None:
    kernel = conncount_kernel()

    def unknown() -> LiveTuples:
        raise Unavailable("stale", Reason.NOT_IN_DUMP, "the table")

    held = read(kernel, tree_node(kernel, [entry(kernel)]), unknown)
    assert held.length == 1
    assert why(held, "stale") is Reason.NOT_IN_DUMP
    assert held.ticks is not None


def connection(kernel: Kernel, *, status: int = 8, timeout: int = 100, zone: int = 0) -> Object:
    ct = udp_conntrack(kernel)
    kernel.set(ct, {"ct_net.net": net_of(kernel), "status": status, "timeout": NOW + timeout,
                    "zone.id": zone, "zone.dir": 3, "tuplehash[1].tuple.dst.dir": 1})  # fmt: skip
    hashed = [ct.tuplehash[way].hnnode.address_of_().value_() for way in (0, 1)]
    chain(kernel, TABLE, 3, hashed[0])
    chain(kernel, TABLE, 4, hashed[1])
    return ct


def counted(kernel: Kernel, ct: Object, way: int, zone: int = 0) -> ConncountList:
    tuple_ = bytearray(ct.tuplehash[way].tuple.to_bytes_())
    tuple_[39] = 0  # dst.dir, which connlimit does not compare
    node = tree_node(kernel, [entry(kernel, bytes(tuple_), zone=zone)])
    return read(kernel, node, lambda: live_tuples(kernel.prog, net_of(kernel)))


@pytest.mark.parametrize("way", [0, 1])
def test_entry_with_a_connection_is_live(way: int) -> None:
    kernel = conncount_kernel()
    assert counted(kernel, connection(kernel), way).stale == 0


@pytest.mark.parametrize(
    ("status", "timeout", "zone"),
    [(0, 100, 0), (8, 0, 0), (8, -5, 0), (8, 100, 4)],
    ids=["unconfirmed", "expires now", "expired", "another zone"],
)
def test_entry_without_such_a_connection_is_stale(status: int, timeout: int, zone: int) -> None:
    kernel = conncount_kernel()
    ct = connection(kernel, status=status, timeout=timeout, zone=zone)
    assert counted(kernel, ct, 0).stale == 1


def test_zone_that_counts_for_one_direction() -> None:
    kernel = conncount_kernel()
    ct = connection(kernel, zone=4)
    kernel.set(ct, {"zone.dir": 1})
    assert counted(kernel, ct, 0, zone=4).stale == 0
    kernel.prog.cache.clear()
    # For replies that zone is 0, and the entry's is 4.
    assert counted(kernel, ct, 1, zone=4).stale == 1


def test_connection_of_another_namespace_is_not_looked_at() -> None:
    kernel = conncount_kernel()
    ct = connection(kernel)
    kernel.set(ct, {"ct_net.net": net_of(kernel) + 64})
    assert counted(kernel, ct, 0).stale == 1


def test_broken_table_leaves_stale_unknown() -> None:
    kernel = conncount_kernel()
    ct = connection(kernel)
    kernel.set(ct, {"tuplehash[0].hnnode.next": 0xFFFF_8882_0000_0000})
    held = counted(kernel, ct, 0)
    assert why(held, "stale") is Reason.NOT_IN_DUMP
    assert held.length == 1


def test_trees_give_every_node_once() -> None:
    kernel = conncount_kernel()
    left, right, other = (tree_node(kernel, []) for _ in range(3))
    root = tree_node(kernel, [])
    kernel.set(root, {"node.rb_left": int(left), "node.rb_right": int(right)})
    assert sorted(trees(kernel, data_of(kernel, root, other))) == sorted(
        map(int, (root, left, right, other))
    )


@pytest.mark.parametrize("where", ["cycle", "two parents", "wild"])
def test_tree_that_is_none_is_corrupt(where: str) -> None:
    kernel = conncount_kernel()
    root, child = tree_node(kernel, []), tree_node(kernel, [])
    kernel.set(root, {"node.rb_left": int(child)})
    target = {"cycle": int(root), "two parents": int(child), "wild": 0x33}[where]
    kernel.set(child if where == "cycle" else root, {"node.rb_right": target})
    with pytest.raises(Unavailable) as caught:
        trees(kernel, data_of(kernel, root))
    assert caught.value.reason is Reason.CORRUPTED


@pytest.mark.parametrize("words", [0, 6, 0xFFFF_FFFF])
def test_key_of_an_impossible_length_is_corrupt(words: int) -> None:
    kernel = conncount_kernel()
    data = data_of(kernel)
    kernel.set(data, {"keylen": words})
    with pytest.raises(Unavailable) as caught:
        trees(kernel, data)
    assert caught.value.reason is Reason.CORRUPTED


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_to_a_list_ends_in_an_answer(data: st.DataObject) -> None:
    kernel = conncount_kernel()
    entries = [entry(kernel, age=age) for age in range(6)]
    node = tree_node(kernel, entries)
    places = [int(e) + at for e in entries for at in range(0, 72, 8)]
    places += [node.list.address_of_().value_() + at for at in range(0, 32, 8)]
    targets = [0, 1, int(node), *map(int, entries), 0xFFFF_8883_0000_0000]
    for _ in range(data.draw(st.integers(1, 4))):
        value = data.draw(st.sampled_from(targets))
        kernel.put(data.draw(st.sampled_from(places)), value.to_bytes(8, "little"))
    held = read(kernel, node)
    assert held.length is None or held.length <= len(entries)
    assert held.length is not None or held.absent["length"].reason in (
        Reason.CORRUPTED,
        Reason.NOT_IN_DUMP,
    )


# What gcc makes of the loop: cmp last_gc with jiffies, count, compare with a bound.
LAST_GC = bytes.fromhex("41394604")  # cmp %eax,0x4(%r14)
RAISE = bytes.fromhex("4183c701")  # add $0x1,%r15d
GROWN = bytes.fromhex("412b561c 83fa3f".replace(" ", ""))  # sub 0x1c(%r14),%edx; cmp $0x3f,%edx
RETURN = b"\xc3"


def bound(number: int) -> bytes:
    return bytes.fromhex("4183ff") + bytes([number])  # cmp $number,%r15d


def with_code(collects: str, *code: bytes) -> Kernel:
    kernel = conncount_kernel(collects)
    text = b"".join((*code, RETURN))
    address = 0xFFFF_FFFF_C000_1000
    kernel.put(address, text)
    kernel.symbol("__nf_conncount_add", address, len(text))
    return kernel


@pytest.mark.parametrize("number", [8, 9])
def test_code_without_the_fix(number: int) -> None:
    kernel = with_code("once per tick", LAST_GC, RAISE, bound(number))
    seen = collection(kernel.prog)
    assert (seen.per_pass, seen.again, seen.fixed) == (9, False, False)
    assert f"__nf_conncount_add+0x8: cmp $0x{number:x},%r15d" in seen.how


def test_code_with_the_fix() -> None:
    kernel = with_code("once per tick or 64", LAST_GC, GROWN, RAISE, bound(65))
    seen = collection(kernel.prog)
    assert (seen.per_pass, seen.again, seen.fixed) == (65, True, True)


def test_half_a_fix_is_not_decided() -> None:
    kernel = with_code("once per tick", LAST_GC, RAISE, bound(65))
    assert collection(kernel.prog).fixed is None


@pytest.mark.parametrize(
    "code",
    [(RAISE, bound(9)), (LAST_GC, bound(9)), (LAST_GC, RAISE, bound(9), bound(65))],
    ids=["last_gc not read", "nothing raised", "two bounds"],
)
def test_code_that_does_not_decide(code: tuple[bytes, ...]) -> None:
    kernel = with_code("once per tick", *code)
    with pytest.raises(Unavailable) as caught:
        collection(kernel.prog)
    assert caught.value.reason is Reason.AMBIGUOUS


def rule(family: int, mask: int | None, *, destination: bool = False) -> ConncountRule:
    return ConncountRule(
        kind="xt", net=0, family=family, table="filter", chain="INPUT", number=1, text="", limit=6,
        inverted=False, mask=mask, destination=destination, address=0, data=None, list=None,
        drops=True, packets=0, absent={},
    )  # fmt: skip


def test_keys_are_read_as_the_rule_makes_them() -> None:
    address = int.from_bytes(bytes([192, 0, 2, 7]), "little")
    assert key_text(rule(2, 32), (address, 0)) == "src 192.0.2.7/32"
    assert key_text(rule(2, 24, destination=True), (address, 9)) == "dst 192.0.2.7/24 zone 9"
    six = (0xB80D0120, 0, 0, 0x01000000, 0)
    assert key_text(rule(10, 128), six) == "src 2001:db8::1/128"
    assert key_text(rule(1, None), (address,)) is None
    assert key_text(rule(10, 64), (address,)) is None


def test_without_symbols_nobody_knows_whether_it_is_loaded() -> None:
    with pytest.raises(Unavailable, match="connlimit: no-debuginfo"):
        has_conncount(Program())
