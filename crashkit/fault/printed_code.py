"""The ``Code:`` bytes of a report, disassembled as far as their boundaries are certain."""

from __future__ import annotations

from collections.abc import Sequence

from crashkit.disasm import Flow, Instruction, disassemble
from crashkit.oops import CodeBytes, Oops
from crashkit.value import facts

_LONGEST = 15  # bytes of an x86 instruction (SDM vol. 2, 2.3.11)


@facts
class PrintedCode:
    """What the bytes of a ``Code:`` line are as instructions."""

    before: tuple[Instruction, ...]
    """Those before the trapping one whose boundaries are certain, in order."""
    ambiguous: bool
    """Several readings of the bytes before fit, and not even their last instruction agrees."""
    trapping: Instruction | None
    """None where the kernel marked no byte, or the bytes are no instruction."""
    after: tuple[Instruction, ...]


def disassemble_printed(code: CodeBytes, address: int = 0) -> PrintedCode:
    """Disassemble x86-64 code around a marked byte.

    Forward it starts at the mark. Backward no start is known: the kernel prints a fixed
    number of bytes. The true one is within the first fifteen bytes, so that every start
    there is tried and those count that arrive at the mark; what they have in common at
    the end is certain.

    :param address: of the trapping instruction; 0 where it is not known
    """
    forward = disassemble(code.from_trap, address) if code.from_trap else []
    if not forward or _is_bad(forward[0]):
        return PrintedCode(before=(), ambiguous=False, trapping=None, after=())
    readings = _readings(code.before, address - len(code.before))
    before = _common_end(readings)
    return PrintedCode(
        before=before,
        ambiguous=bool(readings) and not before,
        trapping=forward[0],
        after=tuple(forward[1:]),
    )


def _readings(before: bytes, start: int) -> list[list[Instruction]]:
    # Fewer bytes may all belong to one instruction.
    if len(before) < _LONGEST:
        return []
    tried = (
        disassemble(before[skipped:], (start + skipped) & (1 << 64) - 1)
        for skipped in range(_LONGEST)
    )
    return [found for found in tried if not any(map(_is_bad, found))]


def _is_bad(instruction: Instruction) -> bool:
    return instruction.operation == "(bad)"


def _common_end(readings: Sequence[Sequence[Instruction]]) -> tuple[Instruction, ...]:
    if not readings:
        return ()
    common: list[Instruction] = []
    for last in zip(*(reversed(reading) for reading in readings), strict=False):
        if any(one.address != last[0].address for one in last):
            break
        common.insert(0, last[0])
    return tuple(common)


def find_definition(code: PrintedCode, register: str) -> Instruction | None:
    """Find the instruction before the trap that set a register; None where none is certain.

    A jump from elsewhere may have led past it: what it says is an inference.
    """
    for instruction in reversed(code.before):
        if instruction.flow not in (Flow.NEXT, Flow.BRANCH):
            return None
        if register in instruction.writes:
            return instruction
    return None


@facts
class PrintedInstruction:
    """One instruction around the trapping one."""

    offset: int | None
    """Into its function; None where the report does not say where it trapped."""
    text: str
    """In AT&T syntax; a target whose address is not known is ``?``."""
    trapping: bool


def printed_listing(oops: Oops) -> tuple[PrintedInstruction, ...]:
    """List the instructions of a report's ``Code:`` line whose boundaries are certain.

    :returns: empty for other machines than x86-64, and where no byte is marked
    """
    if oops.trapping_byte is None or oops.arch not in ("x86_64", None):
        return ()
    code = disassemble_printed(CodeBytes(data=oops.code, trapping=oops.trapping_byte))
    if code.trapping is None:
        return ()
    after = [one for one in code.after if not _is_bad(one)]
    if len(after) == len(code.after):
        after = after[:-1]  # the kernel cuts its bytes anywhere: the last may be a piece
    rows = [_listed(one, code.trapping, oops) for one in (*code.before, code.trapping, *after)]
    return tuple(row for row in rows if _is_within(row, oops))


def _is_within(row: PrintedInstruction, oops: Oops) -> bool:
    # Beyond its ends stand other functions, and the filling between them.
    size = oops.ip.size if oops.ip is not None else None
    return row.offset is None or 0 <= row.offset < (size or 1 << 32)


def _listed(one: Instruction, trapping: Instruction, oops: Oops) -> PrintedInstruction:
    start = oops.ip.offset if oops.ip is not None else None
    return PrintedInstruction(
        offset=None if start is None else start + _distance(one.address, trapping.address),
        text=_text(one, trapping, oops),
        trapping=one is trapping,
    )


def _text(one: Instruction, trapping: Instruction, oops: Oops) -> str:
    # Newer kernels print no address: a target is known as a place in the function, or not.
    if one.target is None:
        return one.text
    place = oops.ip
    if place is not None and place.offset is not None and place.size and place.function:
        target = place.offset + _distance(one.target, trapping.address)
        if 0 <= target < place.size:
            return f"{one.operation} {place.function}+{target:#x}"
    return f"{one.operation} ?"


def _distance(one: int, other: int) -> int:
    half = 1 << 63
    return (one - other + half) % (1 << 64) - half
