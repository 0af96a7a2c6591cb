"""An error pointer was followed as if it were an address.

Functions that return a pointer say what failed by ERR_PTR(-errno), an address in the last
page (include/linux/err.h). Who does not look with IS_ERR() follows it.

Recognised by: the pointer is the negative of an error number, and memory holds it where it
was read. NULL taken as a member of its container gives such addresses too: there the link
itself is NULL.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from functools import cached_property

from crashkit.crash import Crash
from crashkit.crash.bad_pointer import (
    BadPointer,
    bad_pointer,
    found_bad_pointer,
    held_now,
    read_from_free_object,
)
from crashkit.finding import Check, CheckSpec, Observation, excluding, necessary, seen
from crashkit.recipe import Meta

META = Meta(
    id="unchecked-error-pointer",
    claim="an error pointer was stored and followed as an address",
    references=("include/linux/err.h: IS_ERR(), MAX_ERRNO",),
    matches=("kind-errptr", "kind-errptrlow"),
    rejects=("kind-containerof",),
    told_apart_from=("container_of() of a NULL link: memory holds NULL, not an error",),
    advice="look who stores it there: the function it called failed, and nobody asked IS_ERR()",
)

_U64 = 1 << 64
_KERNELS_OWN = {  # include/linux/errno.h
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK", 517: "EPROBE_DEFER", 518: "EOPENSTALE", 519: "ENOPARAM",
    521: "EBADHANDLE", 522: "ENOTSYNC", 523: "EBADCOOKIE", 524: "ENOTSUPP", 525: "ETOOSMALL",
    526: "ESERVERFAULT", 527: "EBADTYPE", 528: "EJUKEBOX", 529: "EIOCBQUEUED",
    530: "ERECALLCONFLICT", 531: "ENOGRACE",
}  # fmt: skip


def applies(crash: Crash) -> bool:
    """Whether the pointer was in the last page, or became so by a subtraction."""
    if crash.fault is None or crash.fault.diagnosis.kind not in ("err-ptr", "container-of-null"):
        return False
    return bad_pointer(crash) is not None


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("error", "the pointer is an error number", lambda: _is_error(scene))
    yield necessary("held", "memory holds it where it was read", lambda: _is_held(scene))
    yield excluding(
        "free",
        "memory that was freed",
        lambda: read_from_free_object(crash, scene.bad),
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def bad(self) -> BadPointer:
        return found_bad_pointer(self.crash)


def _name(bad: BadPointer) -> str | None:
    number = _U64 - bad.value
    return errno.errorcode.get(number) or _KERNELS_OWN.get(number)


def _is_error(scene: _Scene) -> Observation:
    bad = scene.bad
    number = _U64 - bad.value
    name = _name(bad)
    note = f"-{number} ({name})" if name else "it is none"
    return seen(name is not None, bad.shown(), note=note)


def _is_held(scene: _Scene) -> Observation:
    return seen(True, held_now(scene.crash, scene.bad))


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the error and what holds it."""
    bad = bad_pointer(crash)
    if META.advice is None or bad is None or found[0].holds is not True:
        return ()
    return (f"{bad.expression} is {_name(bad)}: {META.advice}",)
