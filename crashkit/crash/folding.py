"""Many stacks as few: those that are in the same functions at the same places."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from crashkit.crash.stack import Stack
from crashkit.value import facts


@facts
class FoldedStack:
    """Stacks with the same functions and offsets."""

    stacks: tuple[Stack, ...]
    """At least one, as they came."""

    @property
    def first(self) -> Stack:
        """The one that is shown for all."""
        return self.stacks[0]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.stacks)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """The PID of each; None where it cannot be read."""
        return tuple(stack.thread.pid for stack in self.stacks)


def fold(stacks: Iterable[Stack]) -> tuple[FoldedStack, ...]:
    """Fold identical stacks; the most frequent first, else in the order they came."""
    groups: dict[Hashable, list[Stack]] = {}
    for stack in stacks:
        groups.setdefault(_key(stack), []).append(stack)
    folded = [FoldedStack(stacks=tuple(group)) for group in groups.values()]
    return tuple(sorted(folded, key=lambda group: -group.count))


def _key(stack: Stack) -> Hashable:
    places = tuple(
        (frame.function or frame.pc, frame.offset, frame.module, frame.interrupted)
        for frame in stack.frames
        if not frame.inlined
    )
    return places, stack.reason, stack.damage is not None
