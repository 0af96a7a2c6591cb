"""Every socket buffer that waits somewhere, and where.

Read are: nfnetlink queues; sockets of TCP, UDP and packet sockets; qdiscs; the per-CPU
input queues; neighbours that do not answer; fragments without the rest; GRO. Not read are
what drivers hold in their rings, tun and tap, raw sockets, SCTP, and other protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from drgn import Object, Program

from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK
from crashkit.value import facts

T = TypeVar("T")

MAX_SKBS = 2_000_000


@facts
class QueuedSkb:
    """An skb in a queue."""

    address: int
    """``struct sk_buff *``."""
    place: str
    """nfqueue, socket, qdisc, softnet, neighbour, fragments, gro."""
    queue: str
    """Which list of the owner: ``sk_receive_queue``, ``band 2``, …"""
    owner_type: str
    """C type of the owner, e.g. ``struct nf_queue_entry``."""
    owner: int
    """Its address."""
    owner_name: str
    """The owner in words, e.g. ``queue 1 of init_net, packet 3``."""
    net: int | None
    """``struct net *``; None: the queue is not of one namespace."""

    @property
    def found_by(self) -> str:
        """The place in one phrase."""
        return f"{self.queue} of {self.owner_name} ({self.owner_type} {self.owner:#x})"


@facts
class UnreadQueue:
    """A queue, or a kind of queue, that could not be read, or not to its end."""

    place: str
    queue: str
    reason: Reason
    detail: str


@facts
class QueuedSkbs:
    """What the queues hold."""

    skbs: tuple[QueuedSkb, ...]
    unread: tuple[UnreadQueue, ...]


class Reading:
    """Collects what could not be read while the rest is.

    :ivar unread: so far
    """

    def __init__(self) -> None:
        self.unread: list[UnreadQueue] = []

    def walk(self, place: str, queue: str, items: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Yield what a walk gives; when it ends early, note why."""
        try:
            with naming(queue):
                yield from items()
        except Unavailable as missing:
            self.note(place, queue, missing.reason, missing.detail)
        except BROKEN_WALK as broken:
            self.note(place, queue, Reason.CORRUPTED, str(broken))

    def note(self, place: str, queue: str, reason: Reason, detail: str) -> None:
        """Note a queue that was not read."""
        if reason is not Reason.NOT_APPLICABLE:
            self.unread.append(UnreadQueue(place=place, queue=queue, reason=reason, detail=detail))


Source = Callable[[Program, Reading], Iterator[QueuedSkb]]


def for_each_queued_skb(prog: Program) -> Iterator[QueuedSkb]:
    """Yield the skbs that wait in queues; what could not be read, :func:`queued_skbs` says."""
    yield from queued_skbs(prog).skbs


def queued_skbs(prog: Program) -> QueuedSkbs:
    """Find the skbs that wait in queues; once per program, since a dump does not change."""
    cached: QueuedSkbs | None = prog.cache.get("crashkit.queued_skbs")
    if cached is None:
        cached = prog.cache["crashkit.queued_skbs"] = _collect(prog)
    return cached


def _collect(prog: Program) -> QueuedSkbs:
    from crashkit.decode.skb_queues_device import from_gro, from_neighbours, from_softnet
    from crashkit.decode.skb_queues_fragment import from_fragments
    from crashkit.decode.skb_queues_netfilter import from_nfqueue
    from crashkit.decode.skb_queues_qdisc import from_qdiscs
    from crashkit.decode.skb_queues_socket import from_sockets

    sources: dict[str, Source] = {
        "nfqueue": from_nfqueue,
        "socket": from_sockets,
        "qdisc": from_qdiscs,
        "softnet": from_softnet,
        "neighbour": from_neighbours,
        "fragments": from_fragments,
        "gro": from_gro,
    }
    reading = Reading()
    found: dict[tuple[int, int, str], QueuedSkb] = {}
    for place, source in sources.items():
        for skb in reading.walk(place, f"all of {place}", partial(source, prog, reading)):
            if len(found) >= MAX_SKBS:
                reading.note(place, "all", Reason.BUDGET, f"more than {MAX_SKBS} skbs")
                break
            found.setdefault((skb.address, skb.owner, skb.queue), skb)
    return QueuedSkbs(skbs=tuple(found.values()), unread=tuple(reading.unread))


def skb_addresses(items: Iterator[Object]) -> Iterator[int]:
    """Give the addresses of a walk's ``struct sk_buff *``."""
    return (int(item.value_()) for item in items)
