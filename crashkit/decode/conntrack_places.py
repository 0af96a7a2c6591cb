"""Which queue a socket buffer waits in, known or not.

Where no queue of :mod:`crashkit.decode.skb_queues` holds it, it may still be on the ring of an
``sk_buff_head`` nobody thought of. The ring is followed backwards to its head, and what the
head lies in is named.
"""

from __future__ import annotations

from drgn import Program, offsetof

from crashkit.decode.conntrack_slab import CacheSlabs, skb_slabs
from crashkit.decode.fields import naming
from crashkit.decode.identity import identify
from crashkit.decode.skb_queues import QueuedSkb, queued_skbs
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address, read_u64

MAX_RING = 65536


class SkbPlaces:
    """Where socket buffers wait, looked up once for all of them.

    :ivar unread: queues that could not be followed; what waits there is not known
    """

    def __init__(self, prog: Program) -> None:
        queues = queued_skbs(prog)
        self.prog = prog
        self.unread = [
            Unavailable(f"{queue.place} {queue.queue}", queue.reason, queue.detail)
            for queue in queues.unread
        ]
        self._slabs: tuple[CacheSlabs, ...] = skb_slabs(prog)
        self._queued = {skb.address: _words(skb) for skb in queues.skbs}
        self._heads: dict[int, str] = {}
        with naming("struct sk_buff"):
            kind = prog.type("struct sk_buff")
            self._next, self._prev = offsetof(kind, "next"), offsetof(kind, "prev")

    def of(self, skb: int) -> str | None:
        """Name the queue that holds a socket buffer; None when none was found.

        :param skb: address of the ``struct sk_buff``
        """
        if skb in self._queued:
            return self._queued[skb]
        try:
            head = self._ring_head(skb)
        except Unavailable as missing:
            self.unread.append(missing)
            return None
        if head is None:
            return None
        if head not in self._heads:
            what = identify(self.prog, head) or f"memory at {head:#x}"
            self._heads[head] = f"a queue in {what}"
        return self._heads[head]

    def _ring_head(self, skb: int) -> int | None:
        # Backwards to the first address that is no skb, whose next leads back into the ring.
        here = skb
        for _ in range(MAX_RING):
            before = read_u64(self.prog, here + self._prev, "sk_buff.prev")
            if not is_kernel_address(before):
                return None
            if read_u64(self.prog, before + self._next, "sk_buff.next") != here:
                return None
            if not any(slabs.holds(before) for slabs in self._slabs):
                return before
            here = before
        raise Unavailable("sk_buff ring", Reason.BUDGET, f"more than {MAX_RING} at {skb:#x}")


def _words(skb: QueuedSkb) -> str:
    # Without the packet's own number, so that packets of one queue are described alike.
    owner = skb.owner_name.partition(", ")[0]
    return owner if skb.place == "nfqueue" else f"{skb.queue} of {owner}"
