"""skbs that wait for a verdict in an nfnetlink queue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from drgn import Object, Program

from crashkit.decode.netns import namespaces
from crashkit.decode.nfqueue import (
    HOOK_NAMES,
    decode_queue_entry,
    for_each_queue,
    for_each_queue_entry,
)
from crashkit.decode.skb_queues import QueuedSkb, Reading


def from_nfqueue(prog: Program, reading: Reading) -> Iterator[QueuedSkb]:
    """Yield the skbs of every namespace's queues."""
    for net in namespaces(prog):
        queues = partial(for_each_queue, prog, net)
        for queue in reading.walk("nfqueue", f"queues of net {net.value_():#x}", queues):
            yield from _queue(reading, net, queue)


def _queue(reading: Reading, net: Object, queue: Object) -> Iterator[QueuedSkb]:
    number = int(queue.queue_num.value_())
    name = f"nfnetlink queue {number}"
    for entry in reading.walk("nfqueue", name, partial(for_each_queue_entry, queue)):
        facts = decode_queue_entry(entry)
        if facts.skb:
            hook = HOOK_NAMES.get(facts.hook if facts.hook is not None else -1, "unknown hook")
            yield QueuedSkb(
                address=facts.skb,
                place="nfqueue",
                queue=f"queue {number}",
                owner_type="struct nf_queue_entry",
                owner=facts.address,
                owner_name=f"{name}, packet {facts.id}, at {hook}",
                net=int(net.value_()),
            )
