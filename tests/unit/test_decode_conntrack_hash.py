"""Where an entry is linked: found, unlinked, on other lists, in broken tables."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.decode import find_in_chains, find_in_hash, for_each_conntrack
from crashkit.decode.conntrack_hash import hash_table, scan_table
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace, chain, empty_table
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel, udp_conntrack

TABLE = 0xFFFF_8881_0000_0000
SIZE = 16
BOTH_TRUE = {"original": True, "reply": True}
BOTH_FALSE = {"original": False, "reply": False}

MakeKernel = Callable[[], Kernel]
both = pytest.mark.parametrize("make", [modern_kernel, el7_kernel])


def with_table(make: MakeKernel) -> Kernel:
    kernel = make()
    empty_table(kernel, TABLE, SIZE)
    net = add_namespace(kernel)
    if kernel.type("struct netns_ct").has_member("hash"):
        kernel.set(net, {"ct.hash": TABLE, "ct.htable_size": SIZE})
    else:
        kernel.variable("nf_conntrack_hash", "struct hlist_nulls_head *", TABLE)
        kernel.variable("nf_conntrack_htable_size", "u32", SIZE)
    return kernel


def entry(kernel: Kernel, address: int | None = None) -> Object:
    ct = udp_conntrack(kernel, address)
    wrapped = kernel.knows("possible_net")
    net = kernel.prog["init_net"].address_
    assert net is not None
    kernel.set(ct, {"ct_net.net" if wrapped else "ct_net": net})
    return ct


def node(ct: Object, direction: int) -> int:
    return int(ct.tuplehash[direction].hnnode.address_of_().value_())


def links(ct: Object, direction: int) -> dict[str, str]:
    base = f"tuplehash[{direction}].hnnode"
    return {"next": f"{base}.next", "pprev": f"{base}.pprev"}


@both
def test_linked_in_both_directions(make: MakeKernel) -> None:
    kernel = with_table(make)
    first, second = entry(kernel), entry(kernel)
    chain(kernel, TABLE, 3, node(first, 0), node(second, 1))
    chain(kernel, TABLE, 9, node(second, 0))
    chain(kernel, TABLE, 15, node(first, 1))
    assert find_in_hash(kernel.prog, first) == BOTH_TRUE
    assert find_in_hash(kernel.prog, second) == BOTH_TRUE
    assert find_in_chains(kernel.prog, second, 1).bucket == 3
    found = {ct.value_() for ct in for_each_conntrack(kernel.prog)}
    assert found == {first.value_(), second.value_()}


@both
def test_the_raw_hash_value_marks_an_entry_that_is_not_linked(make: MakeKernel) -> None:
    kernel = with_table(make)
    ct = entry(kernel)
    kernel.set(ct, {"tuplehash[1].hnnode.pprev": 0x8A31_77F0, "tuplehash[0].hnnode.pprev": 0})
    assert find_in_hash(kernel.prog, ct) == BOTH_FALSE
    assert find_in_chains(kernel.prog, ct, 1).where == "unlinked"


def test_list_poison_is_unlinked() -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    for direction in (0, 1):
        kernel.set(ct, {links(ct, direction)["pprev"]: 0xDEAD_0000_0000_0122})
    assert find_in_hash(kernel.prog, ct) == BOTH_FALSE


@pytest.mark.parametrize(("value", "name"), [(0, "unconfirmed"), (1, "dying")])
def test_other_lists_have_their_own_markers(value: int, name: str) -> None:
    kernel = with_table(el7_kernel)
    ct = entry(kernel)
    head = 0xFFFF_8880_0050_0000
    kernel.put(head, node(ct, 0).to_bytes(8, "little"))
    kernel.set(ct, {links(ct, 0)["pprev"]: head, links(ct, 0)["next"]: ((1 << 30) + value) * 2 + 1})
    assert find_in_chains(kernel.prog, ct, 0).where == name
    assert find_in_hash(kernel.prog, ct)["original"] is False


def test_a_clash_entry_hangs_in_the_reply_direction_only() -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    chain(kernel, TABLE, 4, node(ct, 1))
    # hlist_nulls_add_fake(): the node points to itself, its chain ends at once
    kernel.set(ct, {links(ct, 0)["pprev"]: node(ct, 0), links(ct, 0)["next"]: 1})
    assert find_in_hash(kernel.prog, ct) == {"original": False, "reply": True}
    assert [c.value_() for c in for_each_conntrack(kernel.prog)] == [ct.value_()]


def test_a_node_that_only_claims_to_be_linked_is_not() -> None:
    kernel = with_table(modern_kernel)
    other, liar = entry(kernel), entry(kernel)
    chain(kernel, TABLE, 4, node(other, 0))
    decoy = 0xFFFF_8880_0060_0000
    kernel.put(decoy, node(liar, 0).to_bytes(8, "little"))
    kernel.set(liar, {links(liar, 0)["pprev"]: decoy, links(liar, 0)["next"]: 4 * 2 + 1})
    assert find_in_hash(kernel.prog, liar)["original"] is False


def test_a_linked_node_with_a_damaged_back_pointer_is_found_by_the_scan() -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    chain(kernel, TABLE, 4, node(ct, 0))
    kernel.set(ct, {links(ct, 0)["pprev"]: 0x41})
    assert find_in_chains(kernel.prog, ct, 0).bucket == 4


def test_a_cycle_ends() -> None:
    kernel = with_table(modern_kernel)
    first, second, outside = entry(kernel), entry(kernel), entry(kernel)
    chain(kernel, TABLE, 4, node(first, 0), node(second, 0))
    kernel.set(second, {links(second, 0)["next"]: node(first, 0)})
    assert find_in_hash(kernel.prog, second)["original"] is True
    answer = find_in_hash(kernel.prog, outside)["original"]
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.CORRUPTED


def test_a_missing_node_page_makes_no_answer_false() -> None:
    kernel = with_table(modern_kernel)
    far = entry(kernel, 0xFFFF_8880_0900_0000)
    near, outside = entry(kernel), entry(kernel)
    chain(kernel, TABLE, 4, node(near, 0), node(far, 0))
    kernel.drop(far.value_())
    assert find_in_hash(kernel.prog, near)["original"] is True
    answer = find_in_hash(kernel.prog, outside)["original"]
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.NOT_IN_DUMP
    assert [ct.value_() for ct in for_each_conntrack(kernel.prog)] == [near.value_()]


def test_a_scan_stops_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crashkit.decode.conntrack_hash.MAX_NODES", 4)
    kernel = with_table(modern_kernel)
    shared, outside = entry(kernel), entry(kernel)
    chain(kernel, TABLE, 0, node(shared, 0))
    for bucket in range(1, SIZE):
        kernel.put(TABLE + 8 * bucket, node(shared, 0).to_bytes(8, "little"))
    answer = find_in_hash(kernel.prog, outside)["original"]
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.BUDGET


def test_a_missing_entry_page() -> None:
    kernel = with_table(modern_kernel)
    far = entry(kernel, 0xFFFF_8880_0900_0000)
    kernel.drop(far.value_())
    for answer in find_in_hash(kernel.prog, far).values():
        assert isinstance(answer, Unavailable)
        assert answer.reason is Reason.NOT_IN_DUMP


def test_a_missing_bucket_array() -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    chain(kernel, TABLE, 4, node(ct, 0))
    kernel.drop(TABLE)
    for answer in find_in_hash(kernel.prog, ct).values():
        assert isinstance(answer, Unavailable)
        assert answer.reason is Reason.NOT_IN_DUMP


def test_wild_entry() -> None:
    kernel = with_table(modern_kernel)
    for answer in find_in_hash(kernel.prog, Object(kernel.prog, "struct nf_conn *", 8)).values():
        assert isinstance(answer, Unavailable)
        assert answer.reason is Reason.CORRUPTED


def test_unknown_table_and_absurd_size() -> None:
    kernel = with_table(modern_kernel)
    ct = entry(kernel)
    kernel.variable("nf_conntrack_htable_size", "u32", 0)
    with pytest.raises(Unavailable) as caught:
        hash_table(kernel.prog)
    assert caught.value.reason is Reason.CORRUPTED
    kernel.forget("nf_conntrack_hash")
    answer = find_in_hash(kernel.prog, ct)["reply"]
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.NO_DEBUGINFO


def test_el7_needs_the_entrys_namespace() -> None:
    kernel = with_table(el7_kernel)
    ct = entry(kernel)
    kernel.set(ct, {"ct_net": 0})
    answer = find_in_hash(kernel.prog, ct)["original"]
    assert isinstance(answer, Unavailable)
    assert answer.reason is Reason.CORRUPTED


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=8, max_size=8), st.data())
def test_any_wiring_of_nodes_ends(targets: list[int], data: st.DataObject) -> None:
    kernel = with_table(modern_kernel)
    entries = [entry(kernel) for _ in range(8)]
    nodes = [node(ct, 0) for ct in entries]
    chain(kernel, TABLE, 2, *nodes)
    for here, target in zip(nodes, targets, strict=True):
        wild = data.draw(st.sampled_from([nodes[target], 5, 0, 0x6B6B6B6B6B6B6B6B]))
        kernel.put(here, wild.to_bytes(8, "little"))
    scan = scan_table(kernel.prog, hash_table(kernel.prog))
    assert set(scan.buckets) <= set(nodes)
    assert nodes[0] in scan.buckets
    for ct in entries:
        find_in_hash(kernel.prog, ct)
