"""``stack``: an exhausted or overwritten stack: where it ended, what filled it, its guards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.canary import Canary, read_canary
from crashkit.crash.panics.printed import registers_of
from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_pieces, read_u64
from crashkit.symbols import in_kernel_text, symbol_at
from crashkit.unwind import Frame, Segment
from crashkit.value import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashkit.crash.core import Crash

STACK_END_MAGIC = 0x57AC6E9D
"""include/uapi/linux/magic.h; on the lowest word of every task's stack."""
_GUARD = 4096
_MAX_PERIOD = 16
_LEAST_ROUNDS = 3
_LARGEST = 5
_FEW = 3
# Frames up to which the walk is taken to have got stuck.
_MANY = 10
# Distances of one size that are no chance.


@facts
class Cycle:
    """Functions that called each other again and again."""

    functions: tuple[str, ...]
    """One round, the caller last."""
    rounds: int
    bytes_per_round: int | None
    origin: str
    """``frames``, or ``words``: one return address that lies on the stack again and again at
    the same distance, where its frames could not be walked (inferred)."""


@facts
class FrameSize:
    """The largest frame of one function."""

    function: str
    module: str | None
    bytes: int
    calls: int
    """How often the function is on the stack."""
    total: int
    """Bytes of all these frames together."""


@facts
class TaskStack:
    """The stack of the crashed task. A None field has its reason in ``absent``."""

    low: int
    high: int
    """Address after its last byte."""
    sp: int | None
    """Stack pointer at the fault, else of the innermost frame."""
    place: str
    """Where it is: ``the task's stack``, ``its guard page``, ``another stack``, ``no stack``."""
    left: int | None
    """Bytes below the stack pointer; below 0 beyond the end."""
    used: int | None
    """Bytes from the stack pointer to the top."""
    end_magic: int | None
    """The word at the end of the stack."""
    end_intact: bool | None
    depth: int
    """Frames that could be walked on it."""
    complete: bool
    """They were walked to the first."""
    cycle: Cycle | None
    largest: tuple[FrameSize, ...]
    """The functions with the most bytes of stack."""
    canary: Canary | None
    """Where the stack protector found a damaged frame."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> TaskStack:
    """Read the crashed task's stack.

    :raises Unavailable: the task is not known or not in the dump
    """
    if crash.thread.task is None:
        reason = crash.thread.absent.get("task", Reason.NOT_IN_DUMP)
        raise Unavailable("the crashed task's stack", reason, "the task is not known")
    absent: dict[str, Reason] = {}
    task = Object(crash.prog, "struct task_struct *", crash.thread.task)
    with naming("the crashed task's stack"):
        low = int(task.stack.value_())
        high = low + int(crash.prog["THREAD_SIZE"].value_())
    frames = [frame for frame in crash.frames if not frame.inlined and low <= frame.sp < high]
    sp = _stack_pointer(crash)
    if sp is None:
        absent |= dict.fromkeys(("sp", "left", "used"), Reason.NOT_SAVED)
    magic = _end_word(crash, low, absent)
    near = sp is not None and low - _GUARD <= sp <= high
    return TaskStack(
        low=low,
        high=high,
        sp=sp,
        place=_place(crash, sp, low, high),
        left=sp - low if sp is not None and near else None,
        used=high - sp if sp is not None and near else None,
        end_magic=magic,
        end_intact=None if magic is None else magic == STACK_END_MAGIC,
        depth=len(frames),
        complete=crash.crashed_stack.complete,
        cycle=find_cycle(frames) or _among_words(crash, low, high, frames),
        largest=largest_frames(frames),
        canary=read_canary(crash, task),
        absent=absent,
    )


def _stack_pointer(crash: Crash) -> int | None:
    if crash.fault_frame is not None:
        return crash.fault_frame.sp
    printed = registers_of(crash).get("rsp")
    return printed if printed is not None else (crash.frames[0].sp if crash.frames else None)


def _end_word(crash: Crash, low: int, absent: dict[str, Reason]) -> int | None:
    try:
        return read_u64(crash.prog, low, "the end of the stack")
    except Unavailable as missing:
        absent |= dict.fromkeys(("end_magic", "end_intact"), missing.reason)
        return None


def _place(crash: Crash, sp: int | None, low: int, high: int) -> str:
    if sp is None:
        return "unknown"
    if low <= sp <= high:
        return "the task's stack"
    if low - _GUARD <= sp < low:
        # CONFIG_VMAP_STACK: the page below each stack is not mapped.
        return "its guard page"
    for start, end, segment in crash.crashed_stack.ranges:
        if start <= sp <= end:
            return f"the {'NMI' if segment is Segment.NMI else segment.value} stack"
    return "no stack"


def find_cycle(frames: Sequence[Frame]) -> Cycle | None:
    """Find the functions that repeat most: at least three rounds of at most 16 functions."""
    names = [frame.function or "?" for frame in frames]
    best: tuple[int, int, int] | None = None
    for period in range(1, _MAX_PERIOD + 1):
        start, count = _longest_run(names, period)
        rounds = count // period
        # A longer period covers what a shorter one does only by repeating it.
        if rounds >= _LEAST_ROUNDS and (best is None or count > best[1] * best[2]):
            best = (start, period, rounds)
    if best is None:
        return None
    start, period, rounds = best
    last = start + period
    size = frames[last].sp - frames[start].sp if last < len(frames) else None
    return Cycle(
        functions=tuple(names[start:last]),
        rounds=rounds,
        bytes_per_round=size if size is not None and size > 0 else None,
        origin="frames",
    )


def _among_words(crash: Crash, low: int, high: int, frames: Sequence[Frame]) -> Cycle | None:
    if len(frames) > _FEW:
        return None
    words = [
        (address + position, int.from_bytes(data[position : position + 8], "little"))
        for address, data in read_pieces(crash.prog, low, high - low)
        for position in range(-address % 8, len(data) - 7, 8)
    ]
    names = {
        value: found.name
        for value in {value for _address, value in words}
        if in_kernel_text(crash.prog, value) and (found := symbol_at(crash.prog, value)) is not None
    }
    return repeated_word([(address, names[value]) for address, value in words if value in names])


def repeated_word(words: Sequence[tuple[int, str]]) -> Cycle | None:
    """Find the return address that lies on a stack most often at one distance.

    :param words: address on the stack and the function returned to, in order of address
    """
    best: Cycle | None = None
    for name in {name for _address, name in words}:
        places = [address for address, one in words if one == name]
        distances = Counter(after - before for before, after in pairwise(places))
        if not distances:
            continue
        distance, count = distances.most_common(1)[0]
        if count >= _MANY and (best is None or count > best.rounds):
            best = Cycle(functions=(name,), rounds=count, bytes_per_round=distance, origin="words")
    return best


def _longest_run(names: Sequence[str], period: int) -> tuple[int, int]:
    # The longest stretch in which each name is that of one period before: start and length.
    best = (0, 0)
    run = 0
    for index in range(period, len(names)):
        run = run + 1 if names[index] == names[index - period] else 0
        if run + period > best[1] and run:
            best = (index - run - period + 1, run + period)
    return best


def largest_frames(frames: Sequence[Frame]) -> tuple[FrameSize, ...]:
    """Add up the stack that each function's frames take, most bytes first."""
    found: dict[tuple[str, str | None], list[int]] = {}
    for inner, outer in pairwise(frames):
        size = outer.sp - inner.sp
        if size > 0 and inner.function:
            found.setdefault((inner.function, inner.module), []).append(size)
    rows = [
        FrameSize(function=name, module=module, bytes=max(sizes), calls=len(sizes),
                  total=sum(sizes))
        for (name, module), sizes in found.items()
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: (-row.total, row.function))[:_LARGEST])
