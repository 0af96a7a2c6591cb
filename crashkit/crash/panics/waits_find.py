"""What one task sleeps on: by its stack's arguments, checked against the lock's own list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.places import physical, place_of
from crashkit.crash.panics.waits_parts import Sleeping, Wait
from crashkit.crash.panics.waits_places import (
    BITS,
    LOCKS,
    PAGES,
    Sleeps,
    is_io,
    is_machinery,
)
from crashkit.crash.panics.waits_purpose import argument_of, find_purpose
from crashkit.crash.panics.waits_queue import find_queue
from crashkit.crash.stack import Stack
from crashkit.decode.fields import has_member, naming
from crashkit.decode.locks import LOCK_TYPES, Lock, decode_lock, waits_on
from crashkit.errors import Reason, Unavailable
from crashkit.memory import is_kernel_address
from crashkit.oops import plain_name
from crashkit.unwind import Frame
from crashkit.value import Certainty

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

DEPTH = 24
"""Frames from the innermost one that are looked at."""
NEAR = 8
"""Frames from the innermost one whose words are searched for an entry of a wait queue."""
CALLERS = 5
MAX_WORDS = 256
"""Words of one frame that are tried as a lock's address."""


_HINTS = {"percpu_rwsem": "the writer that waits for its readers to leave"}
_Found = tuple[str, int, str, Certainty]  # kind, address, how, certainty


def find_wait(crash: Crash, task: Object) -> Sleeping:
    """Find what a task that is not on a CPU waits for.

    :param task: ``struct task_struct *``
    """
    stack = crash.stack_of(task)
    frames = physical(stack)[:DEPTH]
    names = tuple(plain_name(frame.function or "") for frame in frames)
    at = next((n for n, name in enumerate(names) if not is_machinery(name)), None)
    return Sleeping(
        place=None if at is None else place_of(frames[at]),
        callers=() if at is None else tuple(name for name in names[at + 1 :] if name)[:CALLERS],
        wait=_wait(crash, task, stack, frames, names),
    )


def _wait(
    crash: Crash, task: Object, stack: Stack, frames: tuple[Frame, ...], names: tuple[str, ...]
) -> Wait:
    found = _noted(task) or _on_stack(crash, task, stack, frames, names)
    completion = (found[1], found[3]) if found is not None and found[0] == "completion" else None
    purpose = find_purpose(crash, frames, names, completion)
    if found is not None and found[0] != "completion":
        return _of_lock(crash, task, found)
    if purpose is not None:
        return purpose
    if found is not None:
        return _of_lock(crash, task, found)
    paged = _page_or_bit(crash, frames, names)
    if paged is not None:
        return paged
    queue = _queue(crash, task, stack, frames)
    if queue is not None:
        return _of_lock(crash, task, queue)
    if is_io(names):
        return _plain("I/O", "io_schedule() on its stack")
    why = Unavailable("what it waits for", Reason.UNSUPPORTED, "no frame is one that is known")
    if not frames:
        why = Unavailable("what it waits for", stack.reason or Reason.NOT_SAVED, stack.end)
    return _plain(None, "", absent={"kind": why})


def _plain(kind: str | None, how: str, absent: Mapping[str, Unavailable] | None = None) -> Wait:
    nothing = Unavailable("address", Reason.NOT_APPLICABLE, "it is no object")
    return Wait(
        kind=kind, address=None, lock=None, wants="", how=how, certainty=Certainty.PROVED,
        owner=None, owner_certainty=None, owner_how="",
        absent={"address": nothing, **(absent or {})},
    )  # fmt: skip


def _noted(task: Object) -> _Found | None:
    try:
        return _as_it_says(task)
    except Unavailable:
        return None  # its stack is asked then


def _as_it_says(task: Object) -> _Found | None:
    # The task says it itself: pi_blocked_on for an rt_mutex; blocked_on where the kernel
    # has a struct mutex there (v6.18 on; before, with CONFIG_DEBUG_MUTEXES, a waiter without
    # the lock); blocker with the kind in its low bits (CONFIG_DETECT_HUNG_TASK_BLOCKER).
    with naming("what a task notes of its wait"):
        if has_member(task, "pi_blocked_on") and int(task.pi_blocked_on):
            lock = int(task.pi_blocked_on.lock)
            return "rt_mutex", lock, "task_struct.pi_blocked_on", Certainty.PROVED
        if has_member(task, "blocked_on") and "struct mutex *" in _ctype(task.blocked_on):
            lock = int(task.blocked_on)
            if lock:
                return "mutex", lock, "task_struct.blocked_on", Certainty.PROVED
        if has_member(task, "blocker"):
            return _blocker(int(task.blocker))
    return None


# include/linux/hung_task.h
_BLOCKERS = {0: "mutex", 1: "semaphore", 2: "rwsem", 3: "rwsem"}


def _blocker(word: int) -> _Found | None:
    if not word:
        return None
    return _BLOCKERS[word & 3], word & ~3, "task_struct.blocker", Certainty.PROVED


def _ctype(obj: Object) -> str:
    return str(obj.type_.type_name())


def _on_stack(
    crash: Crash, task: Object, stack: Stack, frames: tuple[Frame, ...], names: tuple[str, ...]
) -> _Found | None:
    # A copy of a function that a compiler made keeps its first parameter's register unless
    # that parameter was a constant. What the lock's own list confirms is proved by that.
    tentative: _Found | None = None
    known: tuple[str, int, str] | None = None
    for number, (frame, name) in enumerate(zip(frames, names, strict=True)):
        row = LOCKS.get(name)
        if row is None:
            if known is not None or tentative is not None:
                break
            continue
        for address, how, certainty in _candidates(crash, stack, frame, row):
            if known is None and _is_listed(task, row.kind, address):
                known = (row.kind, address, f"{how} of {name}(), and its list of waiters")
            elif certainty is not None and tentative is None:
                tentative = (row.kind, address, f"{how} of {name}()", certainty)
            if known is not None:
                return (*known, Certainty.PROVED)
        if number >= DEPTH:
            break
    return tentative


_Candidate = tuple[int, str, Certainty | None]


def _candidates(crash: Crash, stack: Stack, frame: Frame, row: Sleeps) -> Iterator[_Candidate]:
    for argument in crash.arguments(frame)[0]:
        if argument.name == row.parameter and is_kernel_address(argument.value):
            yield argument.value, f"argument {argument.name}", argument.certainty
    try:
        answer = crash.register_at_entry(frame, row.register)
    except Unavailable:
        pass  # the words of the frame are tried next
    else:
        if is_kernel_address(answer.value):
            yield answer.value, f"{row.register} at entry", Certainty.INFERRED
    # Whatever the frame holds: counted only where the lock's list has the task.
    position = stack.frames.index(frame)
    for _slot, word in crash.stack_words(stack, position)[:MAX_WORDS]:
        if word is not None and is_kernel_address(word) and word % 8 == 0:
            yield word, "a word in the frame", None


def _is_listed(task: Object, kind: str, address: int) -> bool:
    lock = Object(task.prog_, LOCK_TYPES[kind].ctype, address)
    try:
        with naming(kind):
            return waits_on(kind, lock, int(task))
    except Unavailable:
        return False


def _of_lock(crash: Crash, task: Object, found: _Found) -> Wait:
    kind, address, how, certainty = found
    lock: Lock | None = None
    absent: dict[str, Unavailable] = {}
    try:
        with naming(kind):
            lock = decode_lock(kind, Object(crash.prog, LOCK_TYPES[kind].ctype, address))
    except Unavailable as missing:
        absent["lock"] = missing
    owner, sure, said = _owner(lock, certainty)
    if owner is None and lock is not None:
        absent["owner"] = lock.absent.get("owner") or Unavailable(
            "owner", Reason.NOT_APPLICABLE, "nobody has it"
        )
    return Wait(
        kind=kind, address=address, lock=lock, wants=_wants(lock, int(task)), how=how,
        certainty=certainty, owner=owner, owner_certainty=sure, owner_how=said, absent=absent,
    )  # fmt: skip


def _owner(lock: Lock | None, certainty: Certainty) -> tuple[int | None, Certainty | None, str]:
    if lock is None:
        return None, None, ""
    if lock.owner is not None:
        return lock.owner, certainty, "the lock's owner"
    if lock.hint is not None:
        said = _HINTS.get(lock.kind, "the last to take it, which may have let go")
        return lock.hint, Certainty.INFERRED, said
    return None, None, ""


def _wants(lock: Lock | None, task: int) -> str:
    waiters = () if lock is None or lock.waiters is None else lock.waiters
    return next((waiter.wants for waiter in waiters if waiter.task == task), "")


def _page_or_bit(crash: Crash, frames: tuple[Frame, ...], names: tuple[str, ...]) -> Wait | None:
    for frame, name in zip(frames, names, strict=True):
        parameter = PAGES.get(name) or BITS.get(name)
        if parameter is None:
            continue
        kind = parameter if name in PAGES else "bit" if parameter == "word" else "buffer"
        detail = "a page does not say who locked it" if name in PAGES else "a bit has no owner"
        why = Unavailable("owner", Reason.NOT_APPLICABLE, detail)
        address, sure = argument_of(crash, frame, parameter)
        return Wait(
            kind=kind, address=address, lock=None, wants="", how=f"argument of {name}()",
            certainty=sure, owner=None, owner_certainty=None, owner_how="", absent={"owner": why},
        )  # fmt: skip
    return None


def _queue(crash: Crash, task: Object, stack: Stack, frames: tuple[Frame, ...]) -> _Found | None:
    for frame in frames[:NEAR]:
        words = crash.stack_words(stack, stack.frames.index(frame))
        head = find_queue(crash.prog, int(task), words[:MAX_WORDS])
        if head is not None:
            how = f"the entry in the frame of {frame.function}(), which the queue lists"
            return "wait queue", head, how, Certainty.PROVED
    return None
