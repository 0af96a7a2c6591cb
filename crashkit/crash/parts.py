"""Small results that a Crash carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from crashkit.errors import Reason
from crashkit.value import facts


@facts
class Thread:
    """The thread that crashed; None with a reason in ``absent`` where unknown."""

    cpu: int | None
    pid: int | None
    comm: str | None
    """Command name, escaped."""
    task: int | None
    """Address of its ``struct task_struct``."""
    context: str | None
    """``process``, ``softirq``, ``hardirq`` or ``nmi``."""
    absent: Mapping[str, Reason] = field(default_factory=dict)


@facts
class Banner:
    """What crash prints above its prompt; None with a reason in ``absent`` where unknown."""

    kernel: str | None
    """The vmlinux file, or None when names and types come from the dump."""
    dumpfile: str
    cpus: int | None
    crash_time: int | None
    """Seconds since 1970, UTC."""
    uptime_s: float | None
    nodename: str | None
    release: str | None
    version: str | None
    taint: tuple[str, ...] | None
    """Letters of the set flags, as the kernel prints them."""
    absent: Mapping[str, Reason] = field(default_factory=dict)


@facts
class Limit:
    """Something the report lacks, and what would supply it."""

    what: str
    reason: Reason
    remedy: str


@facts
class FoundObject:
    """A kernel object found on the way, with its decoded facts."""

    kind: str
    address: int
    found_by: str
    facts: Mapping[str, object]


@facts
class DebugInfo:
    """Where names and types of the kernel or one module came from."""

    module: str
    status: str
    path: str | None
