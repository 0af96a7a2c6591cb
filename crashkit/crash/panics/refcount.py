"""``refcount``: the counter a check complained of, its value, and the object it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.call_sites import argument
from crashkit.crash.panics.containing import Containing, containing
from crashkit.crash.panics.printed import find_printed
from crashkit.decode.fields import counter, naming
from crashkit.decode.identity import identify
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_CHECKS = ("refcount_warn_saturate",)
_SATURATED = -(1 << 30)  # REFCOUNT_SATURATED, include/linux/refcount.h
_BAND = 1 << 29


@facts
class Refcount:
    """A reference counter. A None field has its reason in ``absent``."""

    message: str | None
    """What the kernel printed of it."""
    check: str | None
    """Name in ``enum refcount_saturation_type``."""
    address: int | None
    """``refcount_t *``."""
    value: int | None
    """What it holds now, signed."""
    state: str | None
    """``0``, ``saturated`` or ``in use``."""
    identity: str | None
    """The slab object or variable it lies in."""
    containing: tuple[Containing, ...]
    """Arguments on the stack whose objects it is a member of."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> Refcount | None:
    """Read the counter; None where no check of a counter is what the report is about."""
    found = find_printed(crash, r"refcount_t: (?P<what>.{1,80})", before=10, after=20)
    if found is None and not any(map(crash.has_frame, _CHECKS)):
        return None
    absent: dict[str, Reason] = {}
    address = value = identity = check = None
    try:
        address = argument(crash, "refcount_warn_saturate", "r")
    except Unavailable as missing:
        absent |= dict.fromkeys(("address", "value", "state", "identity"), missing.reason)
    try:
        check = _check(crash)
    except Unavailable as missing:
        absent["check"] = missing.reason
    if address is not None:
        identity = identify(crash.prog, address)
        try:
            with naming("the counter"):
                value = counter(Object(crash.prog, "refcount_t", address=address))
        except Unavailable as missing:
            absent |= dict.fromkeys(("value", "state"), missing.reason)
    return Refcount(
        message=found["what"] if found else None,
        check=check,
        address=address,
        value=value,
        state=None if value is None else state(value),
        identity=identity,
        containing=containing(crash, address) if address is not None else (),
        absent=absent,
    )


def _check(crash: Crash) -> str:
    value = argument(crash, "refcount_warn_saturate", "t")
    with naming("the check"):
        type_ = crash.prog.type("enum refcount_saturation_type")
    for enumerator in type_.enumerators or ():
        if enumerator.value == value:
            return str(enumerator.name)
    raise Unavailable("the check", Reason.CORRUPTED, f"{value} has no name")


def state(value: int) -> str:
    """Say what a counter's value means (include/linux/refcount.h).

    After a check failed the counter is set to ``REFCOUNT_SATURATED`` and stays near it.
    """
    if value == 0:
        return "0"
    return "saturated" if abs(value - _SATURATED) < _BAND else "in use"
