"""At which netfilter hook the crashed thread was, by its own frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.parts import FoundObject
from crashkit.decode.hook_point import HookPoint, hook_of_list, hook_of_state
from crashkit.errors import Unavailable
from crashkit.registers import CALLEE_SAVED
from crashkit.unwind import Frame
from crashkit.value import Certainty

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_WITH_STATE = ("nf_hook_slow", "nf_iterate", "nf_hook_slow_list")
_WITH_ENTRY = ("nf_reinject", "nfqnl_reinject", "nf_queue", "nfqnl_enqueue_packet")
_ON_THE_WAY = (*_WITH_STATE, *_WITH_ENTRY)


def found_hook(crash: Crash) -> FoundObject | None:
    """Find the innermost hook point; None where no frame tells, or two disagree."""
    found: dict[HookPoint, tuple[int, str, bool]] = {}
    for frame in crash.outer_frames:
        if frame.inlined:
            continue
        for point, address, how, proved in _of_frame(crash, frame):
            if point not in found or proved > found[point][2]:
                found[point] = (address, how, proved)
        if found and frame.function in _ON_THE_WAY:
            break
    best = [point for point in found if found[point][2]] or list(found)
    if len(best) != 1:
        return None
    (point,) = best
    address, how, proved = found[point]
    facts = {
        "family": point.family_name,
        "hook": point.hook_name,
        "certainty": (Certainty.PROVED if proved else Certainty.INFERRED).value,
    }
    return FoundObject(kind="nf_hook", address=address, found_by=how, facts=facts)


_Found = tuple[HookPoint, int, str, bool]


def _of_frame(crash: Crash, frame: Frame) -> Iterator[_Found]:
    if frame.function in _ON_THE_WAY:
        yield from _of_arguments(crash, frame)
    for name in CALLEE_SAVED:
        held = frame.registers.get(name)
        if held is None:
            continue
        try:
            point = hook_of_list(crash.prog, held.value)
        except Unavailable:
            continue  # no hook list: most values are something else
        # A register may be left over from a caller: what it held says where, not whose.
        yield point, held.value, f"{name.upper()} of {frame.function}", False


def _of_arguments(crash: Crash, frame: Frame) -> Iterator[_Found]:
    found, _missing = crash.arguments(frame)
    for argument in found:
        proved = argument.certainty is Certainty.PROVED and argument.conflict is None
        try:
            if argument.name == "state":
                state = Object(crash.prog, "struct nf_hook_state *", argument.value)
            elif argument.name == "entry" and frame.function in _WITH_ENTRY:
                entry = Object(crash.prog, "struct nf_queue_entry *", argument.value)
                state = entry.state.address_of_()
            else:
                continue
            yield hook_of_state(state), int(state), argument.how, proved
        except Unavailable:
            continue  # the argument's object is not in the dump; another frame may tell
