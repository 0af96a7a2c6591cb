"""All socket buffers of a dump: those on the stacks of the CPUs, and those in queues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crashkit.crash.skbs import find_skbs
from crashkit.decode.skb_queues import QueuedSkb, UnreadQueue, queued_skbs
from crashkit.errors import Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash


@facts
class StackPlace:
    """A place on a stack that leads to an skb."""

    stack: str
    """``CPU 1``, with ``crashed`` for the thread that crashed."""
    found_by: str
    """Register or slot in words."""


@dataclass(kw_only=True)
class FoundSkb:
    """An skb, and every place that leads to it."""

    address: int
    queues: list[QueuedSkb] = field(default_factory=list)
    stacks: list[StackPlace] = field(default_factory=list)

    @property
    def found_by(self) -> tuple[str, ...]:
        """The places in words; none for an address that was given."""
        stacks = [f"{place.found_by} ({place.stack})" for place in self.stacks]
        return (*(queued.found_by for queued in self.queues), *stacks)


@facts
class FoundSkbs:
    """What was found, and where nothing could be looked for."""

    skbs: tuple[FoundSkb, ...]
    """Those on the stacks first."""
    unread: tuple[UnreadQueue, ...]


def find_all_skbs(crash: Crash) -> FoundSkbs:
    """Find the skbs on the stack of what runs on each CPU, and those in queues."""
    found: dict[int, FoundSkb] = {}
    for address, place in _on_stacks(crash):
        found.setdefault(address, FoundSkb(address=address)).stacks.append(place)
    queues = queued_skbs(crash.prog)
    for queued in queues.skbs:
        found.setdefault(queued.address, FoundSkb(address=queued.address)).queues.append(queued)
    return FoundSkbs(skbs=tuple(found.values()), unread=queues.unread)


def _on_stacks(crash: Crash) -> list[tuple[int, StackPlace]]:
    places: list[tuple[int, StackPlace]] = []
    crashed = crash.thread
    for candidate in crash.skbs:
        name = f"CPU {crashed.cpu}, crashed"
        places += [
            (candidate.address, StackPlace(stack=name, found_by=words))
            for words in (candidate.found_by, *candidate.also)
        ]
    try:
        stacks = crash.cpu_stacks()
    except Unavailable:
        return places  # the crashed stack is all there is; why is among crash.limits
    for stack in stacks:
        if stack.thread.task == crashed.task:
            continue
        for candidate in find_skbs(crash.prog, stack.frames):
            place = StackPlace(stack=f"CPU {stack.thread.cpu}", found_by=candidate.found_by)
            places.append((candidate.address, place))
    return places
