"""The stack protector's canary: what a frame should hold and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.panics.call_sites import function_at
from crashkit.decode.fields import has_member, naming
from crashkit.disasm import Instruction, MemoryOperand, RegisterOperand
from crashkit.errors import Reason, Unavailable
from crashkit.memory import read_bytes
from crashkit.value import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashkit.crash.core import Crash

_FAIL = "__stack_chk_fail"
_WORD = 8
_AROUND = 64


@facts
class Canary:
    """A damaged frame. A None field has its reason in ``absent``."""

    function: str | None
    """Whose frame was found damaged when it returned."""
    expected: int | None
    """``task->stack_canary``."""
    slot: int | None
    """Stack address the function keeps its copy at, by its own first instructions."""
    found: int | None
    """What is there now."""
    damaged: bool | None
    """None: not both are known."""
    around: str | None
    """The 64 bytes that end with the copy, as hex: what was written too far."""
    absent: Mapping[str, Reason]


def read_canary(crash: Crash, task: Object) -> Canary | None:
    """Read the canary of the frame whose check failed; None: no check failed.

    :param task: ``struct task_struct *``
    """
    frames = [frame for frame in crash.frames if not frame.inlined]
    position = next((n for n, frame in enumerate(frames) if frame.function == _FAIL), None)
    if position is None or position + 1 >= len(frames):
        return None
    frame = frames[position + 1]
    absent: dict[str, Reason] = {}
    expected = slot = found = around = None
    try:
        with naming("the canary"):
            expected = _expected(task)
    except Unavailable as missing:
        absent["expected"] = missing.reason
    try:
        code = function_at(crash.prog, frame.pc - 1)
        slot = frame.sp + canary_offset(code)
        data = read_bytes(crash.prog, slot - _AROUND + _WORD, _AROUND, "the damaged frame")
        found, around = int.from_bytes(data[-_WORD:], "little"), data.hex()
    except Unavailable as missing:
        absent |= dict.fromkeys(("slot", "found", "around"), missing.reason)
    known = expected is not None and found is not None
    return Canary(
        function=frame.function,
        expected=expected,
        slot=slot,
        found=found,
        damaged=found != expected if known else None,
        around=around,
        absent=absent,
    )


def _expected(task: Object) -> int:
    if not has_member(task, "stack_canary"):
        raise Unavailable("the canary", Reason.NOT_APPLICABLE, "without CONFIG_STACKPROTECTOR")
    return int(task.stack_canary.value_())


def canary_offset(code: Sequence[Instruction]) -> int:
    """Find where a function keeps its copy, in bytes from its stack pointer.

    It loads a per-CPU word and stores it to its frame, and on the way out compares the two
    (GCC -fstack-protector, with ``%gs:`` as -mstack-protector-guard-reg).

    :raises Unavailable: it does not do so
    """
    held: str | None = None
    for instruction in code:
        source = instruction.arguments[-1] if instruction.arguments else None
        target = instruction.arguments[0] if instruction.arguments else None
        if instruction.operation == "mov" and isinstance(target, RegisterOperand):
            from_gs = isinstance(source, MemoryOperand) and source.segment == "gs"
            held = target.full if from_gs and target.size == _WORD else held
            continue
        if (
            instruction.operation == "mov"
            and isinstance(target, MemoryOperand)
            and isinstance(source, RegisterOperand)
            and target.base == "rsp"
            and target.index is None
            and held is not None
            and source.full == held
        ):
            return target.displacement
    raise Unavailable("the canary's place", Reason.UNSUPPORTED, "no copy of it is stored")
