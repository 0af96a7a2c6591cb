"""The entries of a namespace that no hash chain holds, by what keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from drgn import Object, Program

from crashkit.decode.conntrack import decode_nf_conn
from crashkit.decode.conntrack_holders import Holders, holders_of
from crashkit.decode.conntrack_lists import UnhashedConntrack, for_each_dying, for_each_unconfirmed
from crashkit.decode.conntrack_status import OFFLOAD_BIT
from crashkit.value import facts

PINNED = "unconfirmed-pinned"
BACKLOG = "event-backlog"
LEAK = "leak"
HELD = "dying, and held"
"""Confirmed, deleted, and something that was found still refers to it."""

MAX_FLOWS = 10_000
"""Entries whose flow is looked at."""


@facts
class KeptConntrack:
    """An entry out of the table and its references."""

    entry: UnhashedConntrack
    holders: Holders

    @property
    def kept_by(self) -> str:
        """``unconfirmed-pinned``, ``event-backlog``, ``leak``, or ``dying, and held``."""
        if any(held.kind == "undelivered event" for held in self.holders.found):
            return BACKLOG
        if self.holders.leaked and not self.entry.has_status(OFFLOAD_BIT):
            return LEAK
        return HELD if self.entry.confirmed else PINNED


def unhashed_by_keeper(prog: Program, net: int) -> Mapping[str, Sequence[KeptConntrack]]:
    """Sort the entries of a namespace that no hash chain holds.

    :param net: address of the ``struct net``
    :return: by :attr:`KeptConntrack.kept_by`
    :raises Unavailable: see :func:`for_each_dying` and :func:`holders_of`
    """
    entries = [
        entry for entry in (*for_each_unconfirmed(prog), *for_each_dying(prog)) if entry.net == net
    ]
    held = holders_of(prog, [entry.address for entry in entries])
    found: dict[str, list[KeptConntrack]] = {}
    for entry in entries:
        kept = KeptConntrack(entry=entry, holders=held[entry.address])
        found.setdefault(kept.kept_by, []).append(kept)
    return found


def most_common_flows(prog: Program, entries: Sequence[KeptConntrack]) -> list[tuple[str, int]]:
    """Count entries by protocol, destination and port, the most frequent first.

    :raises Unavailable: an entry cannot be read
    """
    addresses = [kept.entry.address for kept in entries[:MAX_FLOWS]]
    return Counter(_flow(prog, address) for address in addresses).most_common()


def _flow(prog: Program, address: int) -> str:
    flow = decode_nf_conn(Object(prog, "struct nf_conn *", address)).original
    if flow is None:
        return "unreadable"
    port = "" if flow.destination_port is None else f":{flow.destination_port}"
    return f"{flow.protocol_name} to {flow.destination}{port}"
