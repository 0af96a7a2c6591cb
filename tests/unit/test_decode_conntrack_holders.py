"""Who refers to an entry: tables, lists, other entries, and socket buffers by their queue."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from drgn import Object

from crashkit.decode import HeldBy, Holders, holders_of
from crashkit.decode.conntrack_places import SkbPlaces
from crashkit.decode.conntrack_unhashed import most_common_flows, unhashed_by_keeper
from crashkit.decode.skb_queues import QueuedSkb, QueuedSkbs, UnreadQueue
from crashkit.errors import Reason, Unavailable
from tests.unit.accounting_doubles import (
    CONFIRMED,
    DYING,
    DYING_END,
    UNCONFIRMED_END,
    FakeSlabs,
    entry,
    kernel_with_lists,
    link,
    list_head,
    put_in_table,
)
from tests.unit.kernel_doubles import Kernel

PAIRS_COUNT = 488


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel with per-CPU lists, whose socket buffers have ring pointers."""
    made = kernel_with_lists()
    made.struct(
        "sk_buff",
        232,
        ("next", "struct sk_buff *", 0),
        ("prev", "struct sk_buff *", 8),
        ("nfct", "struct nf_conntrack *", 136),
        ("users", "atomic_t", 228),
    )
    made.struct(
        "sk_buff_fclones",
        512,
        ("skb1", "struct sk_buff", 0),
        ("skb2", "struct sk_buff", 240),
        ("fclone_ref", "atomic_t", PAIRS_COUNT),
    )
    monkeypatch.setattr(
        "crashkit.decode.conntrack_places.identify", lambda _prog, head: f"head {head:#x}"
    )
    use_skbs(monkeypatch, made)
    return made


def use_skbs(
    monkeypatch: pytest.MonkeyPatch,
    kernel: Kernel,
    *skbs: Object,
    pairs: tuple[Object, ...] = (),
    free: tuple[Object, ...] = (),
    queued: Mapping[int, int] = {},
) -> None:
    plain, paired = FakeSlabs(list(skbs), free), FakeSlabs(list(pairs), free)
    for where in ("conntrack_holders", "conntrack_places"):
        monkeypatch.setattr(f"crashkit.decode.{where}.skb_slabs", lambda _prog: (plain, paired))
    waiting = tuple(in_nfqueue(address, number) for address, number in queued.items())
    use_queues(monkeypatch, QueuedSkbs(skbs=waiting, unread=()))


def use_queues(monkeypatch: pytest.MonkeyPatch, queues: QueuedSkbs) -> None:
    monkeypatch.setattr("crashkit.decode.conntrack_places.queued_skbs", lambda _prog: queues)


def in_nfqueue(address: int, number: int) -> QueuedSkb:
    return QueuedSkb(
        address=address,
        place="nfqueue",
        queue=f"queue {number}",
        owner_type="struct nf_queue_entry",
        owner=0,
        owner_name=f"nfnetlink queue {number}, packet 7",
        net=None,
    )


def skb_of(kernel: Kernel, ct: Object | None, ctinfo: int = 2) -> Object:
    word = 0 if ct is None else ct.value_() | ctinfo
    return kernel.allocate("struct sk_buff", nfct=word, users=b"\1\0\0\0")


def ring(kernel: Kernel, head: int, *skbs: Object) -> None:
    places = [head, *(skb.value_() for skb in skbs)]
    for here, following in zip(places, [*places[1:], head], strict=True):
        kernel.put(here, following.to_bytes(8, "little"))
        kernel.put(following + 8, here.to_bytes(8, "little"))


def held(kernel: Kernel, ct: Object) -> Holders:
    return holders_of(kernel.prog, [ct.value_()])[ct.value_()]


def test_table_holds_one_reference_for_both_directions(kernel: Kernel) -> None:
    ct = entry(kernel, use=3)
    put_in_table(kernel, ct)
    found = held(kernel, ct)
    assert found.found == (HeldBy(kind="hash table", address=ct.value_()),)
    assert (found.use, found.missing, found.leaked) == (3, 2, False)
    assert found.explain() == "use 3: hash table, 2 by nothing that was found"


def test_a_child_holds_its_master(kernel: Kernel) -> None:
    master, child, waiting = entry(kernel, use=3), entry(kernel), entry(kernel, 0)
    for one in (child, waiting):
        kernel.set(one, {"master": master.value_()})
    put_in_table(kernel, master, child)
    link(kernel, list_head(0, "unconfirmed"), UNCONFIRMED_END, waiting)
    found = held(kernel, master)
    assert found.missing == 0
    children = {h.address for h in found.found if h.kind == "child connection"}
    assert children == {child.value_(), waiting.value_()}


def test_socket_buffers_and_their_queues(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    ct, other = entry(kernel, 0, use=4), entry(kernel, 0)
    queued, ringed, lost, freed = (skb_of(kernel, ct) for _ in range(4))
    strange, empty = skb_of(kernel, other), skb_of(kernel, None)
    head = 0xFFFF_8880_0500_0000
    ring(kernel, head, empty, ringed)
    use_skbs(
        monkeypatch, kernel, queued, ringed, lost, freed, strange, empty,
        free=(freed,), queued={queued.value_(): 3},
    )  # fmt: skip
    found = held(kernel, ct)
    assert {(h.address, h.where) for h in found.found} == {
        (queued.value_(), "nfnetlink queue 3"),
        (ringed.value_(), f"a queue in head {head:#x}"),
        (lost.value_(), None),
    }
    assert found.missing == 1
    assert not found.leaked
    first, rest = found.explain().split(", a queue in ")
    assert first == "use 4: nfnetlink queue 3"
    assert rest == f"head {head:#x}, an skb in no queue, 1 by nothing that was found"


def test_an_entry_that_only_lost_buffers_hold_is_leaked(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, bare, free = entry(kernel, 0, use=2), entry(kernel, 0), entry(kernel, 0, use=0)
    use_skbs(monkeypatch, kernel, skb_of(kernel, ct), skb_of(kernel, ct))
    assert held(kernel, ct).leaked
    assert held(kernel, bare).leaked
    assert not held(kernel, free).leaked


@pytest.mark.parametrize(("count", "found"), [(1, 1), (2, 2)])
def test_second_of_a_pair_counts_while_both_are_in_use(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, count: int, found: int
) -> None:
    ct = entry(kernel, 0, use=2)
    pair = kernel.allocate("struct sk_buff_fclones", fclone_ref=count.to_bytes(4, "little"))
    for name in ("skb1", "skb2"):
        kernel.set(pair, {f"{name}.nfct": ct.value_() | 2, f"{name}.users": b"\1\0\0\0"})
    use_skbs(monkeypatch, kernel, pairs=(pair,))
    assert len(held(kernel, ct).found) == found


def test_a_ring_that_does_not_lead_back_is_no_queue(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    skb, other = skb_of(kernel, None), skb_of(kernel, None)
    use_skbs(monkeypatch, kernel, skb, other)
    places = SkbPlaces(kernel.prog)
    assert places.of(skb.value_()) is None, "prev is NULL"
    kernel.set(skb, {"prev": other.value_()})
    assert places.of(skb.value_()) is None, "the one before points elsewhere"
    assert not places.unread


def test_a_ring_without_a_head_ends(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    ct = entry(kernel, 0)
    skbs = [skb_of(kernel, ct) for _ in range(3)]
    ring(kernel, skbs[0].value_(), *skbs[1:])
    use_skbs(monkeypatch, kernel, *skbs)
    monkeypatch.setattr("crashkit.decode.conntrack_places.MAX_RING", 100)
    with pytest.raises(Unavailable) as caught:
        held(kernel, ct)
    assert caught.value.reason is Reason.BUDGET


def test_a_queue_that_cannot_be_read_makes_holders_unknown(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread = UnreadQueue(place="nfqueue", queue="1", reason=Reason.NOT_IN_DUMP, detail="made up")
    use_queues(monkeypatch, QueuedSkbs(skbs=(), unread=(unread,)))
    with pytest.raises(Unavailable) as caught:
        held(kernel, entry(kernel, 0))
    assert caught.value.reason is Reason.NOT_IN_DUMP


@pytest.mark.parametrize(
    ("pending", "keeper"), [(None, "event-backlog"), (1, "event-backlog"), (0, "leak")]
)
def test_dying_list_keeps_entries_only_while_events_are_pending(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, pending: int | None, keeper: str
) -> None:
    if pending is None:
        monkeypatch.setattr("crashkit.decode.conntrack_holders.has_member", lambda _o, _n: False)
    else:
        kernel.set(kernel.prog["init_net"].address_of_(), {"ct.ecache_dwork_pending": pending})
    ct = entry(kernel, CONFIRMED | DYING)
    link(kernel, list_head(1, "dying"), DYING_END, ct)
    net = int(kernel.prog["init_net"].address_of_())
    kept = unhashed_by_keeper(kernel.prog, net)
    assert {name: len(found) for name, found in kept.items()} == {keeper: 1}
    assert most_common_flows(kernel.prog, kept[keeper]) == [("udp to 10.76.59.115:4789", 1)]
    assert unhashed_by_keeper(kernel.prog, net + 64) == {}


def test_keepers_are_told_apart(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, lost, offloaded = entry(kernel, 0), entry(kernel, 0), entry(kernel, 1 << 14)
    link(kernel, list_head(0, "unconfirmed"), UNCONFIRMED_END, pinned, lost, offloaded)
    skb = skb_of(kernel, pinned)
    use_skbs(monkeypatch, kernel, skb, queued={skb.value_(): 0})
    kept = unhashed_by_keeper(kernel.prog, int(kernel.prog["init_net"].address_of_()))
    found = {name: {one.entry.address for one in some} for name, some in kept.items()}
    assert found == {
        "unconfirmed-pinned": {pinned.value_(), offloaded.value_()},
        "leak": {lost.value_()},
    }
