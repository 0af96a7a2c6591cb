"""The counter of a namespace against the entries found."""

from __future__ import annotations

import pytest

from crashkit.decode import NamespaceAccount, account, account_of, conntrack_count_place
from crashkit.decode.conntrack_crowding import seems_unlisted
from crashkit.errors import Reason, Unavailable
from tests.unit.accounting_doubles import (
    CONFIRMED,
    DYING,
    DYING_END,
    TABLE,
    UNCONFIRMED_END,
    entry,
    kernel_with_ecache,
    kernel_with_lists,
    link,
    list_head,
    node,
    put_in_table,
    set_count,
)
from tests.unit.kernel_doubles import Kernel, chain


def only(kernel: Kernel) -> NamespaceAccount:
    (found,) = account(kernel.prog)
    return found


def full_kernel(count: int) -> Kernel:
    """Three hashed entries, one of them expired and one reply-only; 2 unconfirmed, 1 dying."""
    kernel = kernel_with_lists()
    put_in_table(kernel, entry(kernel), entry(kernel, expires=999_999))
    chain(kernel, TABLE, 9, node(entry(kernel), 1))
    link(kernel, list_head(1, "unconfirmed"), UNCONFIRMED_END, entry(kernel, 0), entry(kernel, 0))
    link(kernel, list_head(0, "dying"), DYING_END, entry(kernel, CONFIRMED | DYING))
    set_count(kernel, count)
    return kernel


def test_sum_of_all_kinds() -> None:
    found = only(full_kernel(6))
    assert (found.counter, found.maximum, found.accounted) == (6, 100, 6)
    assert (found.hashed, found.expired, found.reply_only) == (3, 1, 1)
    assert (found.unconfirmed, found.dying, found.live) == (2, 1, 2)
    assert (found.listed, found.unlisted) == (1, 5)
    assert found.balanced
    assert "3 in the table (1 of them expired, 1 in the reply chain only)" in found.explain()


@pytest.mark.parametrize(
    ("count", "balanced", "words"),
    [
        (7, True, "+ 1 in flight"),
        (8, True, "+ 2 in flight"),
        (9, False, "3 counted entries are nowhere"),
        (4, False, "2 more than are counted"),
    ],
)
def test_difference_is_named(count: int, balanced: bool, words: str) -> None:
    found = only(full_kernel(count))
    assert found.difference == count - 6
    assert found.balanced is balanced
    assert found.explain().endswith(words)


def test_an_expired_entry_that_is_dying_is_not_collected_again() -> None:
    kernel = kernel_with_lists()
    put_in_table(kernel, entry(kernel, CONFIRMED | DYING, expires=1))
    set_count(kernel, 1)
    found = only(kernel)
    assert (found.expired, found.unusual, found.listed) == (0, 1, 1)


def test_an_entry_of_no_namespace_makes_everything_unknown() -> None:
    kernel = full_kernel(6)
    stray = entry(kernel, 0)
    kernel.set(stray, {"ct_net": 0xFFFF_8880_DEAD_0000})
    link(kernel, list_head(0, "unconfirmed"), UNCONFIRMED_END, stray)
    with pytest.raises(Unavailable):
        account(kernel.prog)


def test_a_missing_list_gives_no_numbers() -> None:
    kernel = full_kernel(6)
    kernel.drop(list_head(0, "dying"))
    with pytest.raises(Unavailable) as caught:
        account(kernel.prog)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_account_of_what_is_no_namespace() -> None:
    kernel = full_kernel(6)
    net = int(kernel.prog["init_net"].address_of_())
    assert account_of(kernel.prog, net).counter == 6
    with pytest.raises(Unavailable) as caught:
        account_of(kernel.prog, net + 64)
    assert caught.value.reason is Reason.NOT_APPLICABLE


@pytest.mark.parametrize("make", [kernel_with_lists, kernel_with_ecache])
def test_place_of_the_counter(make: type[Kernel]) -> None:
    kernel = make()
    set_count(kernel, 77)
    place = conntrack_count_place(kernel.prog["init_net"].address_of_())
    assert kernel.prog.read_u32(place) == 77


def test_an_almost_empty_table_of_many_counted_entries_is_noticed() -> None:
    kernel = kernel_with_ecache()
    net = kernel.prog["init_net"].address_of_()
    put_in_table(kernel, entry(kernel))
    set_count(kernel, 60)
    assert seems_unlisted(net)
    set_count(kernel, 20)
    assert not seems_unlisted(net), "less than a quarter of the limit"
    set_count(kernel, 30)
    put_in_table(kernel, *(entry(kernel) for _ in range(8)))
    assert not seems_unlisted(net)
