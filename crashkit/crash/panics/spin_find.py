"""CPUs that spin for a lock, and the lock: by the arguments on their stacks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crashkit.errors import Unavailable
from crashkit.memory import is_kernel_address
from crashkit.oops import plain_name
from crashkit.unwind import Frame
from crashkit.value import Certainty, facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

# kernel/locking/{qspinlock,qrwlock,spinlock}.c, arch/x86/kernel/kvm.c; el7's ticket locks
# spin in the lock function itself.
_SPINLOCK = re.compile(
    r"(?:native_|__pv_)?queued_spin_lock_slowpath|_raw_spin_lock(?:_irqsave|_irq|_bh|_nested)?"
    r"|do_raw_spin_lock|kvm_wait|pv_wait_head_or_lock|pv_wait_node|__raw_spin_lock"
    r"|__raw_callee_save___pv_queued_spin_lock_slowpath|virt_spin_lock"
)
_RWLOCK = re.compile(
    r"queued_(?:read|write)_lock_slowpath|_raw_(?:read|write)_lock(?:_irqsave|_irq|_bh)?"
)
_SLOW = re.compile(r"(?:native_|__pv_)?queued_\w+_slowpath|kvm_wait|pv_wait_\w+")


@facts
class Spinning:
    """A CPU that spins."""

    kind: str
    """``spinlock`` or ``rwlock``."""
    lock: int | None
    """The lock's address; None: nothing on the stack tells."""
    certainty: Certainty
    how: str
    first: int
    """Position of its innermost frame of a lock function."""
    caller: int
    """Position of the frame that wants the lock."""


def find_spinning(crash: Crash, frames: Sequence[Frame], start: int) -> Spinning | None:
    """Tell what a stack spins for; None: its innermost function is none that spins.

    :param frames: those of the stack that are not inlined
    :param start: where it was before the panic came
    """
    here = start
    while here < len(frames) and _kind(frames[here]) is not None:
        here += 1
    if here == start or here >= len(frames):
        return None
    if not any(_is_slow(frame) for frame in frames[start:here]) and frames[start].offset == 0:
        return None  # just entered
    kind = next(found for f in frames[start:here] if (found := _kind(f)) is not None)
    lock, certainty, how = _lock(crash, frames[start:here])
    return Spinning(
        kind=kind, lock=lock, certainty=certainty, how=how, first=start, caller=here
    )  # fmt: skip


def spins_at(frame: Frame) -> bool:
    """Whether a frame is of a function that spins for a lock."""
    return _kind(frame) is not None


def _kind(frame: Frame) -> str | None:
    name = plain_name(frame.function or "")
    if _SPINLOCK.fullmatch(name):
        return "spinlock"
    return "rwlock" if _RWLOCK.fullmatch(name) else None


def _is_slow(frame: Frame) -> bool:
    return _SLOW.fullmatch(plain_name(frame.function or "")) is not None


def _lock(crash: Crash, frames: Sequence[Frame]) -> tuple[int | None, Certainty, str]:
    best: tuple[int | None, Certainty, str] = (None, Certainty.INFERRED, "")
    for frame in frames:
        name = plain_name(frame.function or "")
        for argument in crash.arguments(frame)[0]:
            if argument.name == "lock" and is_kernel_address(argument.value):
                found = (argument.value, argument.certainty, f"argument lock of {name}()")
                if argument.certainty is Certainty.PROVED:
                    return found
                best = found if best[0] is None else best
        if best[0] is None:
            best = _at_entry(crash, frame, name)
    return best


def _at_entry(crash: Crash, frame: Frame, name: str) -> tuple[int | None, Certainty, str]:
    try:
        answer = crash.register_at_entry(frame, "rdi")
    except Unavailable:
        return None, Certainty.INFERRED, ""
    sure = Certainty.PROVED if answer.proved else Certainty.INFERRED
    return answer.value, sure, f"rdi at entry of {name}(): {answer.how}"
