"""Following one value through the frames of every CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from drgn import Program
from drgn.helpers.linux.sched import cpu_curr

from crashkit.arguments import Holder
from crashkit.crash.raw import words_of
from crashkit.crash.scan import words_on_other_stacks
from crashkit.crash.stack import Stack, task_stack
from crashkit.errors import Unavailable
from crashkit.fault import Fault
from crashkit.memory import BROKEN_WALK
from crashkit.unwind import Frame
from crashkit.value import Certainty

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.crash.walked import Walked

MAX_HOLDERS = 1000
MAX_SHOWN = 8


def find_holders(
    prog: Program, walked: Walked, stacks: Iterable[Stack], value: int
) -> tuple[Holder, ...]:
    """Find the frames that have a value: as an argument, in a register, in a slot.

    A slot that no register was saved in may be left over from an earlier call, so it is
    inferred. A register that a frame only hands on is named once.
    """
    found = (holder for stack in stacks for holder in _on_stack(prog, walked, stack, value))
    return tuple(islice(found, MAX_HOLDERS))


def _on_stack(prog: Program, walked: Walked, stack: Stack, value: int) -> Iterator[Holder]:
    thread = stack.thread
    name = f"CPU {thread.cpu}" if stack.running else f"PID {thread.pid}"
    told: set[tuple[str, int | None]] = set()
    slots: set[int] = set()
    for position, frame in enumerate(stack.frames):
        if frame.inlined:
            continue
        places = [
            *_arguments(walked, frame, value),
            *_registers(frame, value, told, slots),
            *_slots(prog, stack, position, value, slots),
        ]
        for place, certainty in places:
            sure = certainty if stack.damage is None else Certainty.INFERRED
            yield Holder(
                stack=name,
                index=frame.index,
                function=frame.function,
                place=place,
                certainty=sure,
            )


def with_holders(crash: Crash, fault: Fault) -> Fault:
    """Say who else has the object whose memory changed between a fault and the dump.

    Only words of the other CPUs' stacks are looked at, so each is inferred: it may be left
    over. :meth:`Crash.who_holds` follows the value through every frame, which takes longer
    than a triage may. At most eight places are given.
    """
    changed = next((link for link in fault.chain if link.disagrees), None)
    if changed is None or changed.address is None or crash.thread.cpu is None:
        return fault
    known = [link.value for link in fault.chain[: fault.chain.index(changed)] if link.value]
    if not known:
        return fault
    return replace(fault, held_by=tuple(islice(_on_others(crash, known[-1]), MAX_SHOWN)))


def _on_others(crash: Crash, value: int) -> Iterator[Holder]:
    prog, here = crash.prog, crash.thread.cpu
    found: dict[int, list[int]] = {}
    try:
        for cpu, slot in words_on_other_stacks(prog, -1 if here is None else here, value):
            found.setdefault(cpu, []).append(slot)
    except (*BROKEN_WALK, Unavailable):
        return
    for cpu, slots in found.items():
        stack = task_stack(prog, cpu_curr(prog, cpu), None)
        for slot in slots:
            holder = _in_frame(prog, stack, slot)
            if holder is not None:
                yield replace(holder, stack=f"CPU {cpu}")


def _in_frame(prog: Program, stack: Stack, slot: int) -> Holder | None:
    # None: it lies below the frames, where nothing is in use.
    for position, frame in enumerate(stack.frames):
        words = words_of(prog, stack, position)
        if words and words[0][0] <= slot <= words[-1][0]:
            return Holder(
                stack="",
                index=frame.index,
                function=frame.function,
                place=f"slot {slot:016x}",
                certainty=Certainty.INFERRED,
            )
    return None


_Places = Iterator[tuple[str, Certainty]]


def _arguments(walked: Walked, frame: Frame, value: int) -> _Places:
    for argument in walked.arguments(frame)[0]:
        if value in (argument.value, argument.current):
            yield f"argument {argument.name}", argument.certainty


def _registers(
    frame: Frame, value: int, told: set[tuple[str, int | None]], slots: set[int]
) -> _Places:
    for name, held in frame.registers.items():
        if held.value != value or (name, held.slot) in told:
            continue
        told.add((name, held.slot))
        if held.slot is not None:
            slots.add(held.slot)
        yield name, held.certainty


def _slots(prog: Program, stack: Stack, position: int, value: int, slots: set[int]) -> _Places:
    for address, word in words_of(prog, stack, position):
        if word == value and address not in slots:
            slots.add(address)
            yield f"slot {address:016x}", Certainty.INFERRED
