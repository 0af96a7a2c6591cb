"""Entries out of the table: on lists of old kernels, among slab objects of newer ones."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode import for_each_dying, for_each_unconfirmed
from crashkit.decode.conntrack_hashed import hashed_conntracks
from crashkit.errors import Reason, Unavailable
from tests.unit.accounting_doubles import (
    CONFIRMED,
    DYING,
    DYING_END,
    STRIDE,
    TABLE,
    UNCONFIRMED_END,
    FakeSlabs,
    entry,
    kernel_with_ecache,
    kernel_with_lists,
    link,
    list_head,
    node,
    put_in_table,
)
from tests.unit.kernel_doubles import Kernel, chain


def slabs(monkeypatch: pytest.MonkeyPatch, *objects: Object, free: tuple[Object, ...] = ()) -> None:
    made = (FakeSlabs(list(objects), free),)
    monkeypatch.setattr("crashkit.decode.conntrack_lists.conntrack_slabs", lambda _prog: made)


def test_lists_of_every_possible_cpu() -> None:
    kernel = kernel_with_lists()
    first, second, third = entry(kernel, 0), entry(kernel, 0), entry(kernel, CONFIRMED | DYING)
    link(kernel, list_head(0, "unconfirmed"), UNCONFIRMED_END, first)
    link(kernel, list_head(1, "unconfirmed"), UNCONFIRMED_END, second)
    link(kernel, list_head(1, "dying"), DYING_END, third)
    found = [(one.address, one.where, one.cpu) for one in for_each_unconfirmed(kernel.prog)]
    assert found == [
        (first.value_(), "unconfirmed list", 0),
        (second.value_(), "unconfirmed list", 1),
    ]
    (dying,) = for_each_dying(kernel.prog)
    assert (dying.address, dying.where, dying.cpu) == (third.value_(), "dying list", 1)
    assert dying.net == kernel.prog["init_net"].address_


def test_a_list_that_is_a_cycle_ends() -> None:
    kernel = kernel_with_lists()
    first, second = entry(kernel, 0), entry(kernel, 0)
    link(kernel, list_head(0, "unconfirmed"), node(first, 0), first, second)
    with pytest.raises(Unavailable) as caught:
        list(for_each_unconfirmed(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED


@pytest.mark.parametrize(
    ("value", "reason"), [(0, Reason.CORRUPTED), (0xFFFF_9999_0000_0000, Reason.NOT_IN_DUMP)]
)
def test_a_list_that_leads_nowhere_is_no_short_list(value: int, reason: Reason) -> None:
    kernel = kernel_with_lists()
    link(kernel, list_head(0, "dying"), value, entry(kernel))
    with pytest.raises(Unavailable) as caught:
        list(for_each_dying(kernel.prog))
    assert caught.value.reason is reason


def test_a_missing_cpu_makes_the_answer_unknown() -> None:
    kernel = kernel_with_lists()
    kernel.drop(list_head(0, "dying") + STRIDE)
    with pytest.raises(Unavailable) as caught:
        list(for_each_unconfirmed(kernel.prog))
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_a_direction_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with_lists()
    bad = entry(kernel, 0)
    kernel.set(bad, {"tuplehash[0].tuple.dst.dir": 7})
    link(kernel, list_head(0, "unconfirmed"), UNCONFIRMED_END, bad)
    with pytest.raises(Unavailable) as caught:
        list(for_each_unconfirmed(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED


def test_slab_objects_without_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with_ecache()
    waiting, lost = entry(kernel, 0), entry(kernel, CONFIRMED | DYING)
    hashed, new = entry(kernel), entry(kernel, 0, use=0)
    freed = entry(kernel, 0)
    put_in_table(kernel, hashed)
    slabs(monkeypatch, waiting, lost, hashed, new, freed, free=(freed,))
    assert [one.address for one in for_each_unconfirmed(kernel.prog)] == [waiting.value_()]
    (dying,) = for_each_dying(kernel.prog)
    assert (dying.address, dying.where, dying.cpu) == (lost.value_(), "slab", None)
    assert dying.dying


def test_undelivered_events_come_from_their_list_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with_ecache()
    undelivered, lost = (entry(kernel, CONFIRMED | DYING) for _ in range(2))
    head = int(kernel.prog["init_net"].gen.ptr[2].value_()) + 24
    link(kernel, head, DYING_END, undelivered)
    slabs(monkeypatch, undelivered, lost)
    found = [(one.address, one.where) for one in for_each_dying(kernel.prog)]
    assert found == [(undelivered.value_(), "ecache list"), (lost.value_(), "slab")]


def test_table_tells_which_directions_are_linked() -> None:
    kernel = kernel_with_ecache()
    whole, clashed = entry(kernel), entry(kernel)
    put_in_table(kernel, whole)
    chain(kernel, TABLE, 9, node(clashed, 1))
    found = hashed_conntracks(kernel.prog)
    assert found.linked == {whole.value_(): True, clashed.value_(): False}
    assert found.masters == {}


def broken(kernel: Kernel) -> None:
    kernel.put(TABLE, (0xFFFF_9999_0000_0000).to_bytes(8, "little"))


def test_a_broken_chain_makes_every_answer_about_the_table_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = kernel_with_ecache()
    slabs(monkeypatch, entry(kernel, CONFIRMED | DYING))
    broken(kernel)
    with pytest.raises(Unavailable):
        hashed_conntracks(kernel.prog)
    with pytest.raises(Unavailable):
        list(for_each_dying(kernel.prog))


def test_objects_too_small_for_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_with_ecache()
    small = FakeSlabs([])
    small.size = 64
    monkeypatch.setattr("crashkit.decode.conntrack_lists.conntrack_slabs", lambda _prog: (small,))
    with pytest.raises(Unavailable) as caught:
        list(for_each_unconfirmed(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED
