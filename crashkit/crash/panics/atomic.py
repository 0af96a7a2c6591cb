"""A sleep where none is allowed: the preempt count that forbade it, and who slept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from crashkit.crash.panics.places import Place, physical, place_of
from crashkit.crash.panics.spin_holders import Taken, taken_by
from crashkit.crash.panics.waits_places import is_machinery
from crashkit.decode.cpus import PreemptCount, split_preempt_count
from crashkit.decode.fields import printable
from crashkit.errors import Reason, Unavailable
from crashkit.oops import plain_name
from crashkit.unwind import Frame
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

CALLERS = 6
MAX_LINES = 40
_SCHEDULED = re.compile(  # kernel/sched/core.c: __schedule_bug()
    r"scheduling while atomic: (?P<comm>.{0,40})/(?P<pid>\d{1,9})/(?P<count>0x[0-9a-f]{1,8})"
)
_MIGHT_SLEEP = re.compile(  # __might_resched()
    r"in_atomic\(\): (?P<atomic>\d), irqs_disabled\(\): (?P<irqs>\d)"
)
_COUNT = re.compile(r"preempt_count: (?P<count>[0-9a-f]{1,8}), expected: (?P<expected>[0-9a-f]+)")
_BUGS = ("__schedule_bug", "__might_sleep", "__might_resched", "___might_sleep")


@facts
class HeldSpinlock:
    """A spinlock that a function on the stack took and had not let go (inferred)."""

    address: int
    function: str
    offset: int
    """Of the call."""
    called: str


@facts
class Atomic:
    """A sleep in atomic context; None with a reason in ``absent``."""

    comm: str | None
    pid: int | None
    count: PreemptCount | None
    """As printed."""
    own: int
    """What of its preempt field is schedule()'s own."""
    interrupts_off: bool | None
    place: Place | None
    """The function that slept: the innermost frame that is not about sleeping."""
    callers: tuple[str, ...]
    spinlocks: tuple[HeldSpinlock, ...]
    """What on the stack may have raised the count."""
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


def read(crash: Crash) -> Atomic:
    """Read who slept and what forbade it.

    :raises Unavailable: the log does not say that anybody did
    """
    oops = crash.oops
    if oops is None:
        raise Unavailable("the sleep", Reason.NOT_IN_DUMP, "the log has no report of it")
    lines = [oops.message, *crash.log.split("\n")[oops.line + 1 : oops.line + MAX_LINES]]
    scheduled = _SCHEDULED.search(oops.message)
    counted = scheduled or _first(_COUNT, lines)
    irqs = _first(_MIGHT_SLEEP, lines)
    frames, absent = _frames(crash)
    if counted is None:
        detail = "the log does not say it"
        absent["count"] = Unavailable("preempt_count", Reason.NOT_IN_DUMP, detail)
    if irqs is None:
        detail = "the report does not say it"
        absent["interrupts_off"] = Unavailable("interrupts", Reason.NOT_IN_DUMP, detail)
    return Atomic(
        comm=_comm(scheduled["comm"]) if scheduled else oops.comm and _comm(oops.comm),
        pid=int(scheduled["pid"]) if scheduled else oops.pid,
        count=split_preempt_count(int(counted["count"], 16)) if counted else None,
        # __schedule_bug() prints it inside schedule(), which has disabled preemption once.
        own=1 if scheduled else 0,
        interrupts_off=None if irqs is None else irqs["irqs"] == "1",
        place=place_of(frames[0]) if frames else None,
        callers=tuple(f.function for f in frames[1:] if f.function)[:CALLERS],
        spinlocks=tuple(_held(taken) for taken in taken_by(crash.prog, frames)),
        absent=absent,
    )


def _comm(text: str) -> str:
    return printable(text.encode(errors="surrogateescape"))


def _first(pattern: re.Pattern[str], lines: list[str]) -> re.Match[str] | None:
    return next((found for line in lines if (found := pattern.search(line))), None)


def _frames(crash: Crash) -> tuple[tuple[Frame, ...], dict[str, Unavailable]]:
    # Only while the report's own stack is the one that panicked.
    frames = physical(crash.crashed_stack)
    names = [plain_name(frame.function or "") for frame in frames]
    at = max((n for n, name in enumerate(names) if name in _BUGS), default=None)
    if at is None:
        detail = "the stack that panicked is not that of the sleep"
        return (), {"place": Unavailable("place", Reason.NOT_APPLICABLE, detail)}
    outside = next((n for n in range(at + 1, len(names)) if not is_machinery(names[n])), len(names))
    return frames[outside:], {}


def _held(taken: Taken) -> HeldSpinlock:
    return HeldSpinlock(
        address=taken.value, function=taken.function, offset=taken.offset, called=taken.called
    )
