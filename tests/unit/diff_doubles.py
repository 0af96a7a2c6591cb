"""Snapshots made by hand: what diff takes of a dump."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crashkit.diff.parts import PARTS
from crashkit.diff.readings import Amount, Listing, Number
from crashkit.diff.snapshot import NAMES, Boot, Snapshot
from crashkit.errors import Reason, Unavailable

NOT_LOADED = Unavailable("conntrack", Reason.NOT_APPLICABLE, "nf_conntrack is not loaded")
LOST = Unavailable("slab caches", Reason.CORRUPTED, "2 caches could not be read")
LAYOUT = (0xFFFF_FFFF_8400_0000, 0xFFFF_9CAC_C000_0000, None)
START = 1_795_000_000


def listing(*amounts: Amount, **more: Any) -> Listing:
    return Listing(amounts=amounts, **more)


def amount(name: str, **numbers: Number) -> Amount:
    return Amount(key=name, name=name, numbers=numbers)


def snapshot(
    parts: Mapping[str, Listing | Unavailable] | None = None,
    *,
    uptime: float | None = 100.0,
    booted: int = START,
    boot_id: str | None = None,
    layout: tuple[int | None, ...] | None = LAYOUT,
    modules: frozenset[str] | Unavailable = frozenset({"nf_conntrack"}),
    is_text: bool = False,
    **facts: str | Unavailable,
) -> Snapshot:
    """A snapshot; parts that are not given are empty."""
    known: dict[str, str | Unavailable] = dict.fromkeys(NAMES, "as before")
    read: dict[str, Listing | Unavailable] = {part.key: Listing(amounts=()) for part in PARTS}
    known |= {"memory": "1000000 KiB", **facts}
    time = None if uptime is None else booted + int(uptime)
    return Snapshot(
        is_text=is_text,
        boot=Boot(boot_id=boot_id, layout=layout, uptime_s=uptime, crash_time=time),
        facts=known,
        modules=modules,
        parts={} if is_text else {**read, **(parts or {})},
    )
