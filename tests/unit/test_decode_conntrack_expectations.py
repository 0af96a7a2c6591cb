"""Expectations: the table of all namespaces, and what damage does to it."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode import for_each_expectation
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace
from tests.unit.netfilter_doubles import modern_kernel

TABLE = 0xFFFF_8883_0000_0000
SIZE = 4
NODE = 16


@pytest.fixture
def kernel() -> Kernel:
    made = modern_kernel()
    made.struct("nf_conntrack_helper", 32, ("name", "char [16]", 8))
    made.struct(
        "nf_conntrack_expect",
        160,
        ("hnode", "struct hlist_node", NODE),
        ("net", "possible_net_t", 32),
        ("tuple", "struct nf_conntrack_tuple", 40),
        ("class", "u32", 120),
        ("helper", "struct nf_conntrack_helper *", 128),
        ("master", "struct nf_conn *", 136),
        ("timeout", "u32", 144),
    )
    add_namespace(made)
    made.put(TABLE, bytes(8 * SIZE))
    made.variable("nf_ct_expect_hash", "struct hlist_head *", TABLE)
    made.variable("nf_ct_expect_hsize", "unsigned int", SIZE)
    made.variable("jiffies", "unsigned long", 0x1_0000_0000 + 500)
    made.variable("tick_nsec", "unsigned long", 4_000_000)
    return made


def hang(kernel: Kernel, bucket: int, *expectations: Object) -> None:
    before = TABLE + 8 * bucket
    for one in expectations:
        kernel.put(before, (one.value_() + NODE).to_bytes(8, "little"))
        before = one.value_() + NODE


def expectation(kernel: Kernel, **values: int) -> Object:
    net = kernel.prog["init_net"].address_
    assert net is not None
    given = {
        "net.net": net,
        "tuple.src.l3num": 2,
        "tuple.dst.protonum": 6,
        "tuple.dst.u3.all": bytes.fromhex("0a000001"),
        "tuple.dst.u.all": (40000).to_bytes(2, "big"),
        **values,
    }
    return kernel.allocate("struct nf_conntrack_expect", **given)


def test_every_bucket_is_walked(kernel: Kernel) -> None:
    helper = kernel.allocate("struct nf_conntrack_helper", name=b"ftp\x1b")
    master = kernel.allocate("struct nf_conn")
    full = expectation(
        kernel, helper=helper.value_(), master=master.value_(), timeout=1500, **{"class": 1}
    )
    late, other = expectation(kernel, timeout=250), expectation(kernel)
    hang(kernel, 0, late)
    hang(kernel, 3, full, other)
    found = {one.address: one for one in for_each_expectation(kernel.prog)}
    assert set(found) == {full.value_(), late.value_(), other.value_()}
    first = found[full.value_()]
    assert first.tuple is not None
    assert (first.tuple.destination, first.tuple.destination_port) == ("10.0.0.1", 40000)
    assert (first.helper, first.expectation_class) == ("ftp\\x1b", 1)
    assert (first.master, first.net) == (master.value_(), kernel.prog["init_net"].address_)
    assert first.remaining == 4.0
    assert found[late.value_()].remaining == -1.0
    assert found[other.value_()].helper == ""
    assert not first.absent


def test_a_helper_that_is_gone_leaves_the_rest(kernel: Kernel) -> None:
    hang(kernel, 1, expectation(kernel, helper=0xFFFF_9999_0000_0000))
    (found,) = for_each_expectation(kernel.prog)
    assert found.helper is None
    assert found.absent["helper"].reason is Reason.NOT_IN_DUMP
    assert found.tuple is not None


def test_a_cycle_ends(kernel: Kernel) -> None:
    first, second = expectation(kernel), expectation(kernel)
    hang(kernel, 2, first, second, first)
    with pytest.raises(Unavailable) as caught:
        list(for_each_expectation(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED


@pytest.mark.parametrize("size", [0, 1 << 24])
def test_an_impossible_table(kernel: Kernel, size: int) -> None:
    kernel.variable("nf_ct_expect_hsize", "unsigned int", size)
    with pytest.raises(Unavailable) as caught:
        list(for_each_expectation(kernel.prog))
    assert caught.value.reason is Reason.CORRUPTED


def test_a_missing_table(kernel: Kernel) -> None:
    kernel.drop(TABLE)
    with pytest.raises(Unavailable) as caught:
        list(for_each_expectation(kernel.prog))
    assert caught.value.reason is Reason.NOT_IN_DUMP
