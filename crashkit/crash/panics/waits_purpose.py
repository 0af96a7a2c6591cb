"""What a sleep is for, by the functions further out, and who brings it to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.waits_parts import Wait
from crashkit.crash.panics.waits_places import PURPOSES
from crashkit.decode.fields import naming
from crashkit.decode.locks_work import workers_of
from crashkit.errors import Unavailable
from crashkit.unwind import Frame
from crashkit.value import Certainty

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_WORKERS = "crashkit.workers"


def argument_of(crash: Crash, frame: Frame, parameter: str) -> tuple[int | None, Certainty]:
    """Recover one argument of a frame; None where it cannot be had."""
    for argument in crash.arguments(frame)[0]:
        if argument.name == parameter:
            return argument.value, argument.certainty
    return None, Certainty.INFERRED


def find_purpose(
    crash: Crash,
    frames: Sequence[Frame],
    names: Sequence[str],
    completion: tuple[int, Certainty] | None,
) -> Wait | None:
    """Find the function on a stack that says what a sleep is for.

    :param names: of the frames' functions, plain
    :param completion: the completion that is waited for, if one is
    :returns: None where no function is one that is known
    """
    at = [number for number, name in enumerate(names) if name in PURPOSES]
    if not at:
        return None
    # The outermost of neighbours says most and keeps its arguments best.
    row, frame, name = PURPOSES[names[at[0]]], frames[at[0]], names[at[0]]
    address, sure = argument_of(crash, frame, row.parameter) if row.parameter else (None, None)
    owner, how = _served_by(crash, row.kind, address, completion)
    certain = completion[1] if completion and row.kind == "vfork child" else sure
    return Wait(
        kind=row.kind, address=address, lock=None, wants="", how=f"{name}() on its stack",
        certainty=sure or Certainty.PROVED, owner=owner,
        owner_certainty=None if owner is None else certain, owner_how=how,
    )  # fmt: skip


def _served_by(
    crash: Crash, kind: str, address: int | None, completion: tuple[int, Certainty] | None
) -> tuple[int | None, str]:
    if kind == "vfork child" and completion is not None:
        return _vfork_child(crash, completion[0]), "the child that it gave this completion"
    if address is None:
        return None, ""
    if kind in ("thread", "vfork child"):
        return address, "the task it waits for"
    if kind == "journal commit":
        return _commit_thread(crash, address), "the journal's thread"
    if kind in ("work", "delayed work"):
        # struct delayed_work begins with its work (include/linux/workqueue.h).
        worker = _workers(crash).get(address)
        if worker is not None:
            return worker, "the worker that runs it"
    return None, ""


def _commit_thread(crash: Crash, journal: int) -> int | None:
    # include/linux/jbd2.h: journal_t.j_task
    try:
        with naming("the journal's thread"):
            return int(Object(crash.prog, "struct journal_s *", journal).j_task.value_()) or None
    except Unavailable:
        return None


def _vfork_child(crash: Crash, completion: int) -> int | None:
    for task in crash.tasks():
        try:
            with naming("vfork_done"):
                if int(task.vfork_done.value_()) == completion:
                    return int(task)
        except Unavailable:
            continue
    return None


def _workers(crash: Crash) -> Mapping[int, int]:
    found: Mapping[int, int] | None = crash.prog.cache.get(_WORKERS)
    if found is None:
        found = crash.prog.cache[_WORKERS] = workers_of(crash.tasks())
    return found
