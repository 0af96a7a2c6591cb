"""What is found of one task's sleep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from crashkit.crash.panics.places import Place
from crashkit.decode.locks import Lock
from crashkit.errors import Unavailable
from crashkit.value import Certainty, facts


@facts
class Wait:
    """What a task sleeps on; None with a reason in ``absent``."""

    kind: str | None
    """``mutex``, ``rwsem``, … (see :class:`Lock`), ``folio``, ``bit``, ``work``, ``thread``,
    ``RCU grace period``, ``I/O``, ``time``, …"""
    address: int | None
    """The lock or other object."""
    lock: Lock | None
    wants: str
    """``read`` or ``write`` of an rwsem."""
    how: str
    """What says so."""
    certainty: Certainty
    """Proved where the lock's own list of waiters has the task, or its argument is proved."""
    owner: int | None
    """The ``struct task_struct`` that it waits for."""
    owner_certainty: Certainty | None
    owner_how: str
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@facts
class Sleeping:
    """Where a task sleeps, and on what."""

    place: Place | None
    """The innermost frame that is not about sleeping."""
    callers: tuple[str, ...]
    wait: Wait
