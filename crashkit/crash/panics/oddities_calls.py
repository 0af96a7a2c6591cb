"""Return addresses on the crashed stack that are not behind a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crashkit.crash.panics.oddities import Oddity
from crashkit.dataflow import analyse_function
from crashkit.errors import Unavailable
from crashkit.symbols import symbol_at
from crashkit.value import Certainty, Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.unwind import Frame


def odd_returns(crash: Crash) -> Iterator[Oddity]:
    """Find frames whose return address no call of its function returns to."""
    # The outermost was entered by no call: its address was put there by hand.
    for frame in crash.outer_frames[:-1]:
        if frame.inlined or frame.interrupted or frame.function is None:
            continue
        odd = _odd(crash, frame)
        if odd is not None:
            yield odd


def _odd(crash: Crash, frame: Frame) -> Oddity | None:
    function = symbol_at(crash.prog, frame.pc - 1)
    if function is None:
        return None
    try:
        flow = analyse_function(crash.prog, function)
    except Unavailable:
        return None
    # Code that is not all known may hold the call; so may bytes that no path reaches.
    if not flow.complete or flow.call_before(frame.pc) is not None:
        return None
    if frame.pc == function.address or frame.pc not in flow.instructions:
        return None
    return Oddity(
        kind="return-address",
        statement=f"{frame.function}+{frame.pc - function.address:#x} is on the stack as a return"
        " address, but no call stands before it",
        values=(
            Value(
                name="return address",
                value=frame.pc,
                origin=Origin.MEMORY,
                certainty=Certainty.PROVED,
                address=frame.slot,
                reread=Reread(crash=f"dis -r {frame.pc:016x}"),
            ),
        ),
        certainty=Certainty.INFERRED,
    )
