"""A function that a structure should name was NULL, and was called.

Tables of operations are filled in part; the caller has to look. The CPU then fetches at
address 0 and the report has no function at all.

Recognised by: RIP is 0; the call before the return address on the stack took its target from
a structure's member of function type, by its instruction and the types; and that member is
NULL in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.panics.evidence import fact, holds, jumped_wild, section_of, word_value
from crashkit.crash.scenes import JumpScene
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin

if TYPE_CHECKING:
    from crashkit.crash.panics.exec import Exec
    from crashkit.fault.model import Link

META = Meta(
    id="null-ops-call",
    claim="a function pointer in a structure was NULL when it was called, and is NULL where the"
    " code reads it (read again ~)",
    references=("arch/x86/mm/fault.c: show_fault_oops(), supervisor instruction fetch",),
    matches=("kind-nullcall",),
    rejects=("kind-wildcall", "kind-nxjump", "kind-unloaded"),
    told_apart_from=(
        "a wild or stale pointer: what was called is not NULL",
        "a structure that is gone: its member is no longer NULL, or cannot be read",
    ),
)


def applies(crash: Crash) -> bool:
    """Whether the CPU was sent to where no code is."""
    return jumped_wild(crash)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("null", "address 0 was called", lambda: _is_zero(scene))
    yield necessary("call", "a call through a pointer led there", lambda: _is_call(scene))
    yield necessary("member", "the pointer is a structure's function", lambda: _is_member(scene))
    yield necessary("held", "that member is NULL in memory", lambda: _is_held(scene))
    yield supporting("table", "the structure is a constant table", lambda: _is_table(scene))


class _Scene(JumpScene):
    @cached_property
    def jump(self) -> Exec:
        from crashkit.crash.panics.exec import Exec

        return section_of(self.crash, "exec", Exec)

    @cached_property
    def link(self) -> Link:
        """The pointer that was called."""
        fault = self.fault
        for link in fault.chain:
            if link.expression == fault.null_or_bad:
                if fault.certainty is not Certainty.PROVED:
                    raise Unavailable("the pointer", Reason.AMBIGUOUS, "several readings fit")
                return link
        reason = fault.absent.get("null_or_bad", Reason.NO_DEBUGINFO)
        raise Unavailable("the pointer", reason, "no type tells what was called")

    @cached_property
    def base(self) -> Link | None:
        """The pointer to its structure."""
        chain = self.fault.chain
        at = chain.index(self.link)
        return chain[at - 1] if at else None


def _is_zero(scene: _Scene) -> Observation:
    return seen(scene.target == 0, scene.rip())


def _is_call(scene: _Scene) -> Observation:
    jump = scene.jump
    if jump.return_address is None or jump.call is None:
        why = jump.absent.get("return_address") or jump.absent.get("call") or Reason.NOT_SAVED
        raise Unavailable("the call", why, "no return address on top of the stack")
    frame = scene.crash.fault_frame
    slot = 0 if frame is None else frame.sp
    back = word_value("return address", slot, jump.return_address, identity=jump.caller)
    return seen(bool(jump.call_is_indirect), back, note=f"{jump.call} at {scene.fault.called_from}")


def _is_member(scene: _Scene) -> Observation:
    link = scene.link
    # The CPU went where the pointer said: RIP is its value, also where no register kept it.
    more = {"origin": Origin.REGISTER, "ctype": link.ctype}
    value = fact(link.expression, scene.fault.ip or 0, "bt", "crash.fault.chain", **more)
    member = "->" in link.expression or "." in link.expression
    return seen(member and "(*)" in (link.ctype or ""), value, note=link.ctype or "")


def _is_held(scene: _Scene) -> Observation:
    link = scene.link
    if link.now is None or link.address is None:
        reason = link.absent.get("now", Reason.NOT_IN_DUMP)
        raise Unavailable(link.expression, reason, "where it was read from is not known")
    more = {"certainty": link.now_certainty or Certainty.INFERRED, "ctype": link.ctype}
    return seen(link.now == 0, word_value(link.expression, link.address, link.now, **more))


def _is_table(scene: _Scene) -> Observation:
    base = scene.base
    if base is None or base.value is None:
        raise Unavailable("the structure", Reason.NOT_SAVED)
    more = {"certainty": base.certainty, "ctype": base.ctype, "identity": base.identity}
    show = f"sym {base.value:016x}"
    value = fact(base.expression, base.value, show, "crash.fault.chain", **more)
    named = base.identity is not None and base.identity.isidentifier()
    return seen(named, value, note=base.identity or "")


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the member, the table and the caller."""
    if not holds(found, "held"):
        return ()
    scene = _Scene(crash)
    base = scene.base
    table = "" if base is None or not base.identity else f" ({base.expression} is {base.identity})"
    calls = f"{scene.fault.called_from} calls {scene.link.expression} without a look{table}"
    return (f"{calls}: fill the member in, or test it there",)
