"""Who holds the references of a ``struct nf_conn``.

``ct_general.use`` is "1 for hash table, 1 per skb, plus 1 for any connection(s) we are
`master' for" (include/net/netfilter/nf_conntrack.h), and 1 for a destroy event that waits to be
delivered. A socket buffer that no queue holds is lost, or some CPU works on it.

Not looked at: flow tables, whose entries have IPS_OFFLOAD, and what out-of-tree code keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from drgn import Object, Program, offsetof, sizeof

from crashkit.decode.conntrack_fast import read_record
from crashkit.decode.conntrack_hashed import hashed_conntracks
from crashkit.decode.conntrack_lists import (
    UnhashedConntrack,
    for_each_dying,
    for_each_unconfirmed,
)
from crashkit.decode.conntrack_places import SkbPlaces
from crashkit.decode.conntrack_slab import CacheSlabs, skb_slabs
from crashkit.decode.fields import has_member, naming
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

NFCT_PTRMASK = ~7
"""Lower bits of ``sk_buff._nfct`` are the ctinfo (include/linux/skbuff.h)."""


@facts
class HeldBy:
    """One reference to an entry."""

    kind: str
    """``hash table``, ``undelivered event``, ``skb`` or ``child connection``."""
    address: int
    """The ``struct sk_buff`` or ``struct nf_conn`` that refers; else the entry itself."""
    where: str | None = None
    """Queue that holds the skb; None for the other kinds, and when no queue does."""

    @property
    def lost(self) -> bool:
        """Whether it is a socket buffer in no queue that was found."""
        return self.kind == "skb" and self.where is None


@facts
class Holders:
    """The references of one entry."""

    use: int
    """``ct_general.use``."""
    found: tuple[HeldBy, ...]

    @property
    def missing(self) -> int:
        """References that were not found; negative: more were found than are counted."""
        return self.use - len(self.found)

    @property
    def leaked(self) -> bool:
        """Whether not one reference has a holder that could still give it back."""
        return self.use > 0 and all(held.lost for held in self.found)

    def explain(self) -> str:
        """Say in one line who holds the entry."""
        words = [held.where or f"an {held.kind} in no queue" if held.kind == "skb" else held.kind
                 for held in self.found]  # fmt: skip
        if self.missing > 0:
            words.append(f"{self.missing} by nothing that was found")
        return f"use {self.use}: {', '.join(words) or 'nothing'}"


def holders_of(prog: Program, addresses: Collection[int]) -> Mapping[int, Holders]:
    """Find who refers to entries, in one pass over the table, the lists and all skbs.

    :param addresses: of ``struct nf_conn``
    :raises Unavailable: something that may hold a reference cannot be read whole
    """
    wanted = frozenset(addresses)
    found: dict[int, list[HeldBy]] = {address: [] for address in addresses}
    for target, held in (*_in_tables(prog, wanted), *_by_skbs(prog, wanted)):
        found[target].append(held)
    return {
        address: Holders(use=read_record(prog, address).row.use, found=tuple(held))
        for address, held in found.items()
    }


def _in_tables(prog: Program, wanted: frozenset[int]) -> Iterator[tuple[int, HeldBy]]:
    hashed = hashed_conntracks(prog)
    for address in wanted:
        if address in hashed.linked:
            yield address, HeldBy(kind="hash table", address=address)
    for child, master in hashed.masters.items():
        if master in wanted:
            yield master, HeldBy(kind="child connection", address=child)
    for entry in (*for_each_unconfirmed(prog), *for_each_dying(prog)):
        if entry.address in wanted and _waits_for_event(prog, entry):
            yield entry.address, HeldBy(kind="undelivered event", address=entry.address)
        if entry.row.master in wanted:
            yield entry.row.master, HeldBy(kind="child connection", address=entry.address)


def _waits_for_event(prog: Program, entry: UnhashedConntrack) -> bool:
    # A CPU's dying list mixes entries whose event was not delivered, which keep the table's
    # reference, with others (nf_ct_delete() up to v5.18). There are none of the former while no
    # delivery is pending; where that is not known, each entry is taken for one.
    if entry.where != "dying list":
        return entry.where == "ecache list"
    net = Object(prog, "struct net *", entry.net)
    with naming("net->ct.ecache_dwork_pending"):
        if not has_member(net.ct, "ecache_dwork_pending"):
            return True
        return bool(net.ct.ecache_dwork_pending.value_())


def _by_skbs(prog: Program, wanted: frozenset[int]) -> Iterator[tuple[int, HeldBy]]:
    places = SkbPlaces(prog)
    for target, skb in _skbs_of(prog, wanted):
        yield target, HeldBy(kind="skb", address=skb, where=places.of(skb))
    if places.unread:
        first = places.unread[0]
        raise Unavailable(f"{len(places.unread)} packet queues", first.reason, first.detail)


def _skbs_of(prog: Program, wanted: frozenset[int]) -> Iterator[tuple[int, int]]:
    # Allocated skbs whose conntrack is wanted. The second cache holds pairs: struct
    # sk_buff_fclones, whose second skb counts only while fclone_ref is 2.
    plain, pairs = skb_slabs(prog)
    with naming("struct sk_buff_fclones"):
        kind = prog.type("struct sk_buff_fclones")
        starts = (0, offsetof(kind, "skb2"))
        reference = offsetof(kind, "fclone_ref")
    for slabs, offsets in ((plain, starts[:1]), (pairs, starts)):
        yield from _in_cache(prog, slabs, offsets, reference, wanted)


def _in_cache(
    prog: Program,
    slabs: CacheSlabs,
    starts: tuple[int, ...],
    reference: int,
    wanted: frozenset[int],
) -> Iterator[tuple[int, int]]:
    with naming("sk_buff._nfct"):
        kind = prog.type("struct sk_buff")
        member = "_nfct" if kind.has_member("_nfct") else "nfct"
        nfct, users = offsetof(kind, member), offsetof(kind, "users")
        if slabs.size < starts[-1] + sizeof(kind):
            raise Unavailable("struct sk_buff", Reason.CORRUPTED, f"{slabs.size}-byte objects")
    for address, data in slabs.objects():
        for start in starts:
            word = int.from_bytes(data[start + nfct : start + nfct + 8], "little")
            target = word & NFCT_PTRMASK
            if target not in wanted or slabs.is_free(address):
                continue
            if len(starts) > 1 and not _is_used(data, start, users, reference):
                continue
            yield target, address + start


def _is_used(data: bytes, start: int, users: int, reference: int) -> bool:
    # One of a pair may be free while the other is not: the count of the pair is then 1, and
    # a freed skb has no users (kfree_skbmem()).
    pair = int.from_bytes(data[reference : reference + 4], "little")
    own = int.from_bytes(data[start + users : start + users + 4], "little")
    return own > 0 and (start == 0 or pair > 1)
