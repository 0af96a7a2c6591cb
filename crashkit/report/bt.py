"""Stack traces by themselves: the document ``crashkit.bt/1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crashkit.crash.panics.places import stopped_by_panic
from crashkit.decode.cpus import was_online
from crashkit.report.document import build_limits, envelope
from crashkit.report.frames_part import build_frame, registers
from crashkit.report.parts import Json, Part, address, had
from crashkit.report.printed_part import build_printed_frames
from crashkit.report.printed_rest import build_printed_rest
from crashkit.report.target_part import build_target

if TYPE_CHECKING:
    from crashkit.crash import Crash, FoldedStack, Stack, Thread

BT = "crashkit.bt/1"


def build_bt(crash: Crash, stacks: Sequence[FoldedStack], *, raw: bool = False) -> Json:
    """Build the document; ``thread`` and ``frames`` repeat the first stack's.

    :param stacks: at least one; each is shown by its first member
    :param raw: with the words of each frame
    """
    crashed = len(stacks) == 1 and stacks[0].first.thread == crash.thread
    entries = [_stack(crash, folded, raw=raw) for folded in stacks]
    return {
        **envelope(BT),
        "target": build_target(crash),
        "thread": entries[0]["thread"],
        "frames": entries[0]["frames"],
        "stacks": entries,
        "printed": build_printed_frames(crash.oops) if crashed and not crash.frames else [],
        "printed_rest": build_printed_rest(crash) if crashed else [],
        "limits": build_limits(crash.limits),
    }


def _stack(crash: Crash, folded: FoldedStack, *, raw: bool) -> Json:
    first = folded.first
    part = Part()
    part.put("thread", _thread(first.thread))
    part.put("running", first.running)
    part.put("cpu_online", *had(lambda: _was_online(crash, first)))
    part.put("count", folded.count)
    part.put("threads", [_thread(stack.thread) for stack in folded.stacks])
    part.put("frames", _frames(crash, first, raw=raw))
    part.put("end", first.end)
    part.put("complete", first.complete)
    part.put("reason", first.reason.value if first.reason else None)
    part.put("damage", first.damage)
    return part.done()


def _was_online(crash: Crash, stack: Stack) -> bool | None:
    # A CPU that was offline has its idle task, and a stack that nobody stopped.
    if not stack.running or stack.thread.cpu is None:
        return None
    if stack.thread == crash.thread or stopped_by_panic(stack.frames):
        return True
    return was_online(crash.prog, stack.thread.cpu)


def _thread(thread: Thread) -> Json:
    part = Part(thread.absent)
    part.put("pid", thread.pid)
    part.put("comm", thread.comm)
    part.put_address("task", thread.task)
    part.put("cpu", thread.cpu)
    part.put("context", thread.context)
    return part.done()


def _frames(crash: Crash, stack: Stack, *, raw: bool) -> list[Json]:
    entries = []
    for position, frame in enumerate(stack.frames):
        entry = build_frame(crash, frame)
        entry["registers"] = registers(frame) if frame.interrupted else {}
        entry["new_stack"] = stack.starts_another(position)
        words = crash.stack_words(stack, position) if raw else ()
        entry["words"] = [
            {"address": address(at), "value": None if word is None else address(word)}
            | ({"absent": {"value": "not-in-dump"}} if word is None else {})
            for at, word in words
        ]
        entries.append(entry)
    return entries
