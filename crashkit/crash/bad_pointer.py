"""The pointer a fault went through, with the place it was read from, as recipes show it."""

from __future__ import annotations

from crashkit.crash.core import Crash
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Fault, Link
from crashkit.finding import Observation, seen
from crashkit.memory import read_u64
from crashkit.value import Certainty, Origin, Reread, Value, facts

_WILD = frozenset(
    {"ascii", "freed-object", "non-canonical", "one-bit-off", "other", "user-pointer"}
)


def leads_nowhere(fault: Fault) -> bool:
    """Whether a fault's bad pointer is garbage: not NULL or poison, and nothing is mapped there."""
    found = fault.diagnosis
    is_garbage = found.kind in _WILD and "xarray" not in found.details
    return is_garbage and found.details.get("page") != "mapped"


@facts
class BadPointer:
    """A bad pointer that a register held at the fault."""

    expression: str
    value: int
    """Unsigned 64 bit."""
    register: str
    ctype: str | None
    place: int | None
    """Where in memory it was read from; None: not known."""
    base: Link | None
    """The pointer to the object it was read from, where that is known."""

    def shown(self) -> Value:
        """Make a report's value of it."""
        return register_value(self.expression, self.register, self.value, self.ctype)


def register_value(name: str, register: str, value: int, ctype: str | None = None) -> Value:
    """Make a report's value of what a register held at the fault."""
    return Value(
        name=name,
        value=value,
        origin=Origin.REGISTER,
        ctype=ctype,
        reread=Reread(crash="bt", crashkit=f"crash.fault.registers[{register!r}]"),
    )


def bad_pointer(crash: Crash) -> BadPointer | None:
    """Find the pointer that the fault went through; None: no register is known to have had it."""
    fault = crash.fault
    if fault is None or fault.conflict is not None or not fault.chain:
        return None
    last = fault.chain[-1]
    if last.value is None or last.certainty is not Certainty.PROVED:
        return None
    register = last.register or fault.bad_register
    if register is None or fault.registers.get(register) != last.value:
        return None
    return BadPointer(
        expression=last.expression,
        value=last.value,
        register=register,
        ctype=last.ctype,
        place=last.address if last.address is not None else _given_from(fault, last.value),
        base=fault.chain[-2] if len(fault.chain) > 1 else None,
    )


def _given_from(fault: Fault, value: int) -> int | None:
    # A parameter: the caller that read it from memory.
    for step in fault.origins:
        if step.value != value or step.certainty is not Certainty.PROVED:
            return None
        if step.address is not None:
            return step.address
    return None


def found_bad_pointer(crash: Crash) -> BadPointer:
    """As :func:`bad_pointer`.

    :raises Unavailable: no register is known to have had it
    """
    found = bad_pointer(crash)
    if found is None:
        raise Unavailable("the bad pointer", Reason.NOT_SAVED)
    return found


def place_of(bad: BadPointer) -> int:
    """Give the place a bad pointer was read from.

    :raises Unavailable: it is not known
    """
    if bad.place is None:
        raise Unavailable(f"where {bad.expression} was read from", Reason.NOT_SAVED)
    return bad.place


def word_value(name: str, place: int, value: int, identity: str | None = None) -> Value:
    """Make a report's value of 8 bytes read from memory."""
    return Value(
        name=name,
        value=value,
        origin=Origin.MEMORY,
        address=place,
        identity=identity,
        reread=Reread(crash=f"rd {place:016x}", crashkit=f"prog.read_u64({place:#x})"),
    )


def held_now(crash: Crash, bad: BadPointer) -> Value:
    """Read the place a bad pointer came from again.

    :returns: its value now, which is the pointer's
    :raises Unavailable: the place is not known or not in the dump; ``ambiguous`` where it
        holds something else by now
    """
    place = place_of(bad)
    now = read_u64(crash.prog, place, bad.expression)
    if now != bad.value:
        detail = f"{place:#x} holds {now:#x} by now"
        raise Unavailable(bad.expression, Reason.AMBIGUOUS, detail)
    return word_value(bad.expression, place, now)


def read_from_free_object(crash: Crash, bad: BadPointer) -> Observation:
    """Whether a free list has the slab object that a bad pointer was read from.

    :raises Unavailable: it was read from no slab object, or what decides is not in the dump
    """
    from crashkit.decode.slab import slab_identity
    from crashkit.decode.slab_place import free_place_of

    slab = slab_identity(crash.prog, place_of(bad), aliases=False)
    free = free_place_of(crash.prog, slab)
    state = f"{free.words} has it" if free is not None else "is allocated"
    note = f"the {slab.cache_name or '?'} object it was read from {state}"
    return seen(free is not None, held_now(crash, bad), note=note)
