"""Lists of skbs: heads, chains, rings and hash tables, whole and damaged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from drgn import Object

from crashkit.decode.skb_lists import (
    MAX_RING,
    for_each_in_chain,
    for_each_in_head,
    for_each_in_ring,
)
from crashkit.decode.skb_queues import Reading, for_each_queued_skb, queued_skbs
from crashkit.decode.skb_queues_fragment import for_each_in_rhashtable, from_fragments
from crashkit.decode.skb_queues_qdisc import _own_list, queue_length
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, list_of
from tests.unit.netfilter_doubles import modern_kernel


@pytest.fixture
def kernel() -> Kernel:
    made = Kernel()
    made.struct("sk_buff", 64, ("next", "struct sk_buff *", 0), ("prev", "struct sk_buff *", 8))
    made.struct(
        "sk_buff_head",
        24,
        ("next", "struct sk_buff *", 0),
        ("prev", "struct sk_buff *", 8),
        ("qlen", "u32", 16),
    )
    made.struct(
        "qdisc_skb_head",
        24,
        ("head", "struct sk_buff *", 0),
        ("tail", "struct sk_buff *", 8),
        ("qlen", "u32", 16),
    )
    made.struct(
        "ptr_ring",
        64,
        ("consumer_head", "int", 0),
        ("consumer_tail", "int", 4),
        ("size", "int", 8),
        ("queue", "void **", 16),
    )
    return made


def skbs(kernel: Kernel, count: int, last: int = 0) -> list[Object]:
    made = [kernel.allocate("struct sk_buff") for _ in range(count)]
    following = [skb.value_() for skb in made[1:]] + [last]
    for skb, address in zip(made, following, strict=True):
        kernel.set(skb, {"next": address})
    return made


def addresses(items: Iterator[Object]) -> list[int]:
    return [int(item.value_()) for item in items]


def test_a_head(kernel: Kernel) -> None:
    head = kernel.allocate("struct sk_buff_head")
    made = skbs(kernel, 3, head.value_())
    kernel.set(head, {"next": made[0].value_(), "qlen": 3})
    assert addresses(for_each_in_head(head[0], "queue")) == [s.value_() for s in made]
    kernel.set(head, {"next": head.value_(), "qlen": 0})
    assert addresses(for_each_in_head(head[0], "queue")) == []


def test_a_head_whose_count_disagrees_gives_its_skbs_and_says_so(kernel: Kernel) -> None:
    head = kernel.allocate("struct sk_buff_head")
    made = skbs(kernel, 2, head.value_())
    kernel.set(head, {"next": made[0].value_(), "qlen": 5})
    reading = Reading()
    found = addresses(reading.walk("socket", "queue", partial(for_each_in_head, head[0], "queue")))
    assert found == [s.value_() for s in made]
    (unread,) = reading.unread
    assert (unread.reason, unread.detail) == (Reason.CORRUPTED, "2 skbs, and qlen is 5")


@pytest.mark.parametrize("back", [0, 1, 2])
def test_a_cycle_ends(kernel: Kernel, back: int) -> None:
    made = skbs(kernel, 3)
    kernel.set(made[2], {"next": made[back].value_()})
    seen: list[int] = []

    def walk() -> None:
        for skb in for_each_in_chain(made[0], "chain"):
            seen.append(skb.value_())  # noqa: PERF401 - what came before the error is wanted

    with pytest.raises(Unavailable) as caught:
        walk()
    assert caught.value.reason is Reason.CORRUPTED
    assert seen == [s.value_() for s in made]


@pytest.mark.parametrize(
    ("wild", "reason"), [(0x10, Reason.CORRUPTED), (0xFFFF_8880_0666_0000, Reason.NOT_IN_DUMP)]
)
def test_a_pointer_into_nowhere(kernel: Kernel, wild: int, reason: Reason) -> None:
    made = skbs(kernel, 1, wild)
    with pytest.raises(Unavailable) as caught:
        addresses(for_each_in_chain(made[0], "chain"))
    assert caught.value.reason is reason


def ring(kernel: Kernel, slots: list[int], head: int, tail: int) -> Object:
    queue = 0xFFFF_8880_0088_0000
    kernel.put(queue, b"".join(slot.to_bytes(8, "little") for slot in slots))
    return kernel.allocate(
        "struct ptr_ring", consumer_head=head, consumer_tail=tail, size=len(slots), queue=queue
    )


def test_a_ring(kernel: Kernel) -> None:
    one, two, three = (0xFFFF_8880_0011_0000 + 64 * n for n in range(3))
    taken = 0xFFFF_8880_0012_0000
    # two slots are taken out and not yet emptied; what is left wraps around
    made = ring(kernel, [three, taken, taken, one, two], 3, 1)
    assert addresses(for_each_in_ring(made[0], "ring")) == [one, two, three]
    assert addresses(for_each_in_ring(ring(kernel, [0, 0, 0], 1, 1)[0], "ring")) == []
    made = ring(kernel, [taken, taken, one, 0], 2, 0)
    assert addresses(for_each_in_ring(made[0], "ring")) == [one]


def test_impossible_rings(kernel: Kernel) -> None:
    made = ring(kernel, [0, 0], 0, 0)
    for damage in (
        {"size": MAX_RING + 1},
        {"size": -1},
        {"consumer_head": 9},
        {"consumer_tail": -1},
    ):
        kernel.set(made, {"size": 2, "consumer_head": 0, "consumer_tail": 0})
        kernel.set(made, damage)
        with pytest.raises(Unavailable) as caught:
            addresses(for_each_in_ring(made[0], "ring"))
        assert caught.value.reason is Reason.CORRUPTED


def table(kernel: Kernel, size: int, *chains: list[Object]) -> Object:
    kernel.struct("rhash_head", 8, ("next", "struct rhash_head *", 0))
    kernel.struct(
        "bucket_table", 64, ("size", "u32", 0), ("nest", "u32", 4), ("buckets", "void *[0]", 64)
    )
    made = kernel.allocate("struct bucket_table", 0xFFFF_8880_0099_0000, size=size)
    kernel.put(made.value_() + 64, bytes(8 * size))
    for bucket, nodes in enumerate(chains):
        before = made.value_() + 64 + 8 * bucket
        for node in nodes:
            # the bucket's own pointer has the lock in bit 0
            lock = 1 if before == made.value_() + 64 + 8 * bucket else 0
            kernel.put(before, (node.value_() | lock).to_bytes(8, "little"))
            before = node.value_()
        if nodes:
            kernel.put(before, (made.value_() + 65 + 8 * bucket).to_bytes(8, "little"))
    return made


def nodes(kernel: Kernel, count: int) -> list[Object]:
    return [kernel.allocate("struct sk_buff") for _ in range(count)]


def test_a_hash_table(kernel: Kernel) -> None:
    first, second = nodes(kernel, 2), nodes(kernel, 1)
    made = table(kernel, 4, first, [], second)
    found = addresses(for_each_in_rhashtable(made))
    assert found == [n.value_() for n in (*first, *second)]


def test_a_hash_table_that_is_damaged(kernel: Kernel) -> None:
    first = nodes(kernel, 2)
    made = table(kernel, 4, first)
    kernel.put(first[1].value_(), first[0].value_().to_bytes(8, "little"))
    with pytest.raises(Unavailable) as caught:
        addresses(for_each_in_rhashtable(made))
    assert caught.value.reason is Reason.CORRUPTED
    kernel.set(made, {"size": 0xFFFF_FFFF})
    with pytest.raises(Unavailable, match="4294967295 buckets"):
        addresses(for_each_in_rhashtable(made))
    kernel.set(made, {"size": 4, "nest": 2})
    with pytest.raises(Unavailable) as caught:
        addresses(for_each_in_rhashtable(made))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_the_three_lists_a_qdisc_may_have(kernel: Kernel) -> None:
    made = skbs(kernel, 2)
    own = kernel.allocate("struct qdisc_skb_head", head=made[0].value_(), qlen=2)
    assert addresses(_own_list(own[0], "q")) == [s.value_() for s in made]
    circle = kernel.allocate("struct sk_buff_head", qlen=0)
    kernel.set(circle, {"next": circle.value_()})
    assert addresses(_own_list(circle[0], "gso_skb")) == []
    kernel.struct("Qdisc", 64, ("gso_skb", "struct sk_buff *", 0), ("q", "struct sk_buff_head", 8),
                  ("flags", "u32", 40))  # fmt: skip
    qdisc = kernel.allocate("struct Qdisc", gso_skb=made[1].value_(), **{"q.qlen": 7})
    assert addresses(_own_list(qdisc.gso_skb, "gso_skb")) == [made[1].value_()]
    assert queue_length(qdisc) == 7


def test_a_kernel_of_which_nothing_is_known_gives_reasons(kernel: Kernel) -> None:
    found = queued_skbs(kernel.prog)
    assert found.skbs == ()
    assert {queue.place for queue in found.unread} == {
        "nfqueue", "socket", "qdisc", "softnet", "neighbour", "fragments", "gro",
    }  # fmt: skip
    assert all(queue.detail for queue in found.unread)
    assert list(for_each_queued_skb(kernel.prog)) == []


def fragments(*, loaded: bytes, old: bool) -> tuple[list[str], list[tuple[str, Reason]]]:
    """Read the queue of one IPv4 fragment; ``loaded``: the module there is.

    :returns: places, and what was not read
    """
    made = modern_kernel()
    made.struct(
        "bucket_table",
        64,
        ("size", "u32", 0),
        ("nest", "u32", 4),
        ("future_tbl", "struct bucket_table *", 8),
        ("buckets", "void *[1]", 16),
    )
    made.struct("rhashtable", 8, ("tbl", "struct bucket_table *", 0))
    made.struct("fqdir", 16, ("rhashtable", "struct rhashtable", 0))
    made.struct("netns_ipv4", 8, ("fqdir", "struct fqdir *", 0))
    made.struct("netns_nf_frag", 8, ("fqdir", "struct fqdir *", 0))
    more = (("nf_frag", "struct netns_nf_frag", 40),) if old else ()
    made.struct("net", 64, ("ipv4", "struct netns_ipv4", 0), ("list", "struct list_head", 8), *more)
    made.struct("module", 64, ("name", "char [16]", 0), ("list", "struct list_head", 16))
    table = made.allocate("struct bucket_table", size=1)
    directory = made.allocate("struct fqdir", **{"rhashtable.tbl": table.value_()})
    net = made.allocate("struct net", **{"ipv4.fqdir": directory.value_()})
    list_of(made, made.variable("net_namespace_list", "struct list_head"), "list", net)
    module = made.allocate("struct module", name=loaded)
    list_of(made, made.variable("modules", "struct list_head"), "list", module)
    reading = Reading()
    places = [skb.place for skb in from_fragments(made.prog, reading)]
    return places, [(unread.queue, unread.reason) for unread in reading.unread]


@pytest.mark.parametrize("old", [False, True])
def test_fragments_without_nf_defrag_ipv6_are_read(old: bool) -> None:
    assert fragments(loaded=b"nf_conntrack", old=old) == ([], [])


def test_fragments_that_nf_defrag_ipv6_may_have_are_not_known() -> None:
    unread = [("conntrack IPv6 fragments", Reason.NO_DEBUGINFO)]
    assert fragments(loaded=b"nf_defrag_ipv6", old=False) == ([], unread)
