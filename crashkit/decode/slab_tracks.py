"""Who allocated and who freed a slab object last: slub_debug's tracks."""

from __future__ import annotations

from drgn import FaultError, Object, Program, cast, reinterpret, sizeof

from crashkit.decode.fields import has_member, naming
from crashkit.decode.jiffies import jiffies, ticks_per_second
from crashkit.errors import Reason, Unavailable
from crashkit.symbols import in_kernel_text, symbol_at
from crashkit.value import facts

_MAX_FRAMES = 64
_ALIGN = 4  # DEPOT_STACK_ALIGN, lib/stackdepot.c
_U32 = (1 << 32) - 1


@facts
class Track:
    """One ``struct track``. None: not recorded, or not in the dump."""

    what: str
    """``allocated`` or ``freed``."""
    address: int
    """The caller's."""
    caller: str | None
    """``function+0x… [module]``."""
    cpu: int
    pid: int
    age_s: float | None
    """Seconds before the dump."""
    stack: tuple[str, ...]
    """The callers, innermost first; empty where the stack depot has none."""


def read_tracks(prog: Program, place: int) -> tuple[Track, ...]:
    """Read the two tracks of an object; one that was never written is left out.

    :param place: address of the first, ``struct track``
    :raises Unavailable: the type or the memory is missing
    """
    with naming("tracks of an object"):
        step = sizeof(prog.type("struct track"))
        found = [
            _read(what, Object(prog, "struct track *", place + index * step))
            for index, what in enumerate(("allocated", "freed"))
        ]
    return tuple(track for track in found if track is not None)


def _read(what: str, track: Object) -> Track | None:
    prog = track.prog_
    address = int(track.addr.value_())
    if not address:
        return None
    return Track(
        what=what,
        address=address,
        caller=_name(prog, address),
        cpu=int(track.cpu.value_()),
        pid=int(track.pid.value_()),
        age_s=_age(prog, int(track.when.value_())),
        stack=_stack(track),
    )


def _age(prog: Program, when: int) -> float | None:
    try:
        ticks = (jiffies(prog) - when) & ((1 << 64) - 1)
        return round(ticks / ticks_per_second(prog), 3) if ticks <= _U32 else None
    except Unavailable:
        return None


def _stack(track: Object) -> tuple[str, ...]:
    # A handle into the stack depot since Linux kernel commit 5cf909c553e9 ("mm/slub: use
    # stackdepot to save stack trace in objects") (in v5.19); before, the addresses themselves.
    prog = track.prog_
    try:
        with naming("stack of a track"):
            if has_member(track, "handle"):
                pcs = _from_depot(prog, track.handle) if track.handle.value_() else ()
            elif has_member(track, "addrs"):
                pcs = tuple(int(one.value_()) for one in track.addrs)
            else:
                pcs = ()
    except Unavailable:
        return ()
    names = (_name(prog, pc) for pc in pcs if pc)
    return tuple(name for name in names if name is not None)


def _from_depot(prog: Program, handle: Object) -> tuple[int, ...]:
    parts = reinterpret("union handle_parts", handle)
    for pools in ("stack_pools", "stack_slabs"):
        try:
            place = prog.symbol(pools).address
        except LookupError:
            continue
        index = _index(parts)
        # An array of pointers, or on newer kernels a pointer to one: both are tried, and the
        # record must name its own handle.
        for array in (place, prog.read_u64(place)):
            pcs = _record(prog, array, index, parts, int(handle.value_()))
            if pcs is not None:
                return pcs
    raise Unavailable("stack of a track", Reason.NOT_IN_DUMP, "not in the stack depot")


def _index(parts: Object) -> int:
    # include/linux/stackdepot.h: slabindex, pool_index (v6.3), pool_index_plus_1 (v6.9)
    if has_member(parts, "pool_index_plus_1"):
        return int(parts.pool_index_plus_1.value_()) - 1
    return int((parts.pool_index if has_member(parts, "pool_index") else parts.slabindex).value_())


def _record(
    prog: Program, array: int, index: int, parts: Object, handle: int
) -> tuple[int, ...] | None:
    # None: there is no record with this handle there.
    try:
        pool = prog.read_u64(array + 8 * index)
        place = pool + (int(parts.offset.value_()) << _ALIGN)
        record = Object(prog, "struct stack_record *", place)
        if int(record.handle.handle.value_()) != handle:
            return None
        size = int(record.size.value_())
        if not 0 < size <= _MAX_FRAMES:
            return None
        entries = cast("unsigned long *", record.entries)
        pcs = tuple(int(entries[number].value_()) for number in range(size))
    except (FaultError, OverflowError):
        return None
    return pcs if any(in_kernel_text(prog, pc) for pc in pcs) else None


def _name(prog: Program, address: int) -> str | None:
    found = symbol_at(prog, address)
    if found is None:
        return None
    module = f" [{found.module}]" if found.module else ""
    return f"{found.name}+{address - found.address:#x}{module}"
