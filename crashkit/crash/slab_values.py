"""Values of a slab object as recipes show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drgn import Program

from crashkit.finding import Observation, seen
from crashkit.memory import read_bytes
from crashkit.value import Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.decode.slab import SlabIdentity
    from crashkit.decode.slab_place import FreePlace


def on_free_list(slab: SlabIdentity, free: FreePlace | None) -> Observation:
    """Observe whether a free list has an object.

    :param free: the list that has it
    """
    start = slab.object_start
    value = Value(
        name="on a free list",
        value=int(free is not None),
        origin=Origin.MEMORY,
        address=start,
        identity=slab.cache_name,
        reread=Reread(
            crash=f"kmem -S {start:016x}",
            crashkit=f"int(slab_identity(prog, {start:#x}).allocated is False)",
        ),
    )
    return seen(free is not None, value, note=free.words if free is not None else "")


def bytes_value(prog: Program, name: str, place: int, size: int, identity: str) -> Value:
    """Read bytes as a report's value, in hex.

    :raises Unavailable: they are not in the dump
    """
    held = read_bytes(prog, place, size, name)
    return Value(
        name=name,
        value=held.hex(),
        origin=Origin.MEMORY,
        address=place,
        identity=identity,
        reread=Reread(
            crash=f"rd -8 {place:016x} {size}", crashkit=f"prog.read({place:#x}, {size}).hex()"
        ),
    )
