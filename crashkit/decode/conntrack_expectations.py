"""Expectations: connections that a helper waits for (``struct nf_conntrack_expect``).

They are not counted with the connections, and hold no reference to their master: a master
takes its expectations with it (nf_ct_remove_expectations()).
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program
from drgn.helpers.linux.list import hlist_for_each_entry

from crashkit.decode.conntrack_tuple import ConntrackTuple, decode_tuple
from crashkit.decode.fields import Absent, Fields, has_member, naming, net_pointer, pointer, text_at
from crashkit.decode.jiffies import jiffies, remaining_ticks, ticks_per_second
from crashkit.decode.netns import namespaces
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_BUCKETS = 1 << 20
MAX_EXPECTATIONS = 1_000_000


@facts
class Expectation:
    """Facts of a ``struct nf_conntrack_expect``. A None field has its reason in ``absent``."""

    address: int
    net: int | None
    """``struct net *``."""
    tuple: ConntrackTuple | None
    """What is expected; parts that ``mask`` leaves open are 0."""
    master: int | None
    """``struct nf_conn *`` of the connection that announced it."""
    expectation_class: int | None
    """Which of the helper's policies it falls under."""
    helper: str | None
    """Name of the helper to be assigned, escaped; empty for none."""
    remaining: float | None
    """Seconds until it expires, negative when it has."""
    absent: Absent


def for_each_expectation(prog: Program) -> Iterator[Expectation]:
    """Yield the expectations of all namespaces.

    :raises Unavailable: the table is unknown, a page of it is missing, or it is too long
    """
    seen: set[int] = set()
    for table, size in _tables(prog):
        for bucket in range(size):
            with naming("nf_ct_expect_hash"):
                head = table[bucket].address_of_()
                walk = hlist_for_each_entry("struct nf_conntrack_expect", head, "hnode")
                for one in bounded(walk, MAX_EXPECTATIONS, "nf_ct_expect_hash"):
                    if one.value_() in seen:
                        raise Unavailable("nf_ct_expect_hash", Reason.CORRUPTED, "a cycle")
                    seen.add(one.value_())
                    yield decode_expectation(one)


def _tables(prog: Program) -> Iterator[tuple[Object, int]]:
    # One table (nf_ct_expect_hash, net/netfilter/nf_conntrack_expect.c); where struct netns_ct
    # has a member for it, one per namespace.
    with naming("nf_ct_expect_hash"):
        size = int(prog["nf_ct_expect_hsize"].value_())
        if not 0 < size <= MAX_BUCKETS:
            raise Unavailable("nf_ct_expect_hash", Reason.CORRUPTED, f"{size} buckets")
        if has_member(Object(prog, "struct net *", 0).ct, "expect_hash"):
            for net in namespaces(prog):
                yield net.ct.expect_hash.read_(), size
            return
        table = prog["nf_ct_expect_hash"].read_()
        pointer(table, "nf_ct_expect_hash")
        yield table, size


def decode_expectation(expectation: Object) -> Expectation:
    """Decode an expectation.

    :param expectation: ``struct nf_conntrack_expect *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(expectation, "struct nf_conntrack_expect")
    fields = Fields(f"struct nf_conntrack_expect {address:#x}")
    return Expectation(
        address=address,
        net=fields.take("net", lambda: _net(expectation)),
        tuple=fields.take("tuple", lambda: decode_tuple(expectation.tuple)),
        master=fields.number("master", expectation, "master"),
        expectation_class=fields.number("expectation_class", expectation, "class"),
        helper=fields.take("helper", lambda: _helper(expectation)),
        remaining=fields.take("remaining", lambda: _remaining(expectation)),
        absent=fields.reasons(),
    )


def _net(expectation: Object) -> int:
    if has_member(expectation, "net"):
        return net_pointer(expectation.net)
    return net_pointer(expectation.master.ct_net)


def _helper(expectation: Object) -> str:
    helper = expectation.helper.read_()
    if not helper:
        return ""
    pointer(helper, "exp->helper")
    return text_at(expectation.prog_, int(helper.name.address_of_().value_()))


def _remaining(expectation: Object) -> float:
    # u32 jiffies in the newest kernels; elsewhere a struct timer_list.
    if has_member(expectation.timeout, "expires"):
        expires, bits = int(expectation.timeout.expires.value_()), 64
    else:
        expires, bits = int(expectation.timeout.value_()), 32
    prog = expectation.prog_
    return remaining_ticks(expires, jiffies(prog), bits) / ticks_per_second(prog)
