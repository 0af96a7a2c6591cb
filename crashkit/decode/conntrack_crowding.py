"""Whether a connection table is worth a closer look: counters and limits, no entry read."""

from __future__ import annotations

import math
import struct

from drgn import Object, Program

from crashkit.decode.conntrack_hash import hash_table
from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.fields import has_member, member, naming
from crashkit.decode.netns import net_generic
from crashkit.memory import read_bytes

_ROOMY = 4
_WORD = 8


def conntrack_max(prog: Program) -> int:
    """Read ``nf_conntrack_max``; 0 is no limit.

    :raises Unavailable: conntrack is not loaded, or the page is missing
    """
    with naming("nf_conntrack_max"):
        return int(prog["nf_conntrack_max"].value_())


def conntrack_count_place(net: Object) -> int:
    """Give the address of the counter that :func:`conntrack_count` reads.

    :param net: ``struct net *``
    :raises Unavailable: see there
    """
    with naming("conntrack count"):
        if has_member(net.ct, "count"):
            return int(net.ct.count.address_of_().value_())
        data = net_generic(net, "nf_conntrack_net_id", "struct nf_conntrack_net")
        return int(member(data, "count").address_of_().value_())


def is_worth_listing(net: Object) -> bool:
    """Whether a namespace holds so many entries that unlisted ones may become an outage.

    From a quarter of the limit on, by choice.

    :param net: ``struct net *``
    :raises Unavailable: its counter or the limit cannot be had
    """
    limit = conntrack_max(net.prog_)
    return limit > 0 and conntrack_count(net) >= limit // _ROOMY


def seems_unlisted(net: Object) -> bool:
    """Guess, without following a chain, whether much of what is counted is in no chain.

    Two nodes for each of n entries fill about s * (1 - exp(-2n / s)) of s buckets.

    :param net: ``struct net *``
    :raises Unavailable: its counter, the limit or the table's heads cannot be had
    """
    if not is_worth_listing(net):
        return False
    table = hash_table(net.prog_, net)
    heads = read_bytes(net.prog_, table.address, table.size * _WORD, "hash buckets")
    used = sum(1 for (first,) in struct.iter_unpack("<Q", heads) if not first & 1)
    expected = table.size * (1 - math.exp(-2 * conntrack_count(net) / table.size))
    return used < expected / 2
