"""The code around an address: its function's instructions, its name, the call before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drgn import Program

from crashkit.disasm import Flow, Instruction, disassemble_function
from crashkit.errors import Reason, Unavailable
from crashkit.oops import plain_name
from crashkit.symbols import symbol_at

if TYPE_CHECKING:
    from crashkit.crash.core import Crash


def function_at(prog: Program, pc: int) -> list[Instruction]:
    """Disassemble the function that holds ``pc``.

    :raises Unavailable: no symbol names it, or its bytes are not in the dump
    """
    found = symbol_at(prog, pc)
    if found is None:
        raise Unavailable(f"code at {pc:#x}", Reason.NO_DEBUGINFO, "no symbol names it")
    return disassemble_function(prog, found.address, found.size)


def name_at(prog: Program, pc: int, *, returned: bool = False) -> str | None:
    """Name a place in code: ``function+0x… [module]``.

    :param returned: it is a return address
    """
    # A call that does not return is the last of its function: what follows is another one.
    found = symbol_at(prog, pc) if not returned else symbol_at(prog, pc - 1)
    if found is None:
        return None
    module = f" [{found.module}]" if found.module else ""
    return f"{found.name}+{pc - found.address:#x}{module}"


def call_before(prog: Program, returns: int) -> Instruction:
    """Find the call that returns to an address.

    :raises Unavailable: none does, or the code is not in the dump
    """
    for instruction in function_at(prog, returns - 1):
        if instruction.end == returns:
            if instruction.flow is Flow.CALL:
                return instruction
            break
    raise Unavailable("the call", Reason.CORRUPTED, f"no call ends at {returns:#x}")


def argument(crash: Crash, function: str, name: str) -> int:
    """Give an argument of the innermost call of a function, also of its part that is cold.

    :raises Unavailable: no such frame, or its value was not kept
    """
    why = Unavailable(f"{function}()", Reason.NOT_APPLICABLE, "not on the crashed stack")
    for frame in crash.outer_frames:
        if frame.function is None or plain_name(frame.function) != function:
            continue
        found, missing = crash.arguments(frame)
        for one in found:
            if one.name == name:
                return one.value
        lost = next((one for one in missing if one.name == name), None)
        if lost is not None:
            raise Unavailable(f"{name} of {function}()", lost.reason, lost.detail)
    raise why


def has_frame(crash: Crash, function: str) -> bool:
    """Whether a function, or its part that is cold, is on the crashed stack."""
    return any(
        frame.function is not None and plain_name(frame.function) == function
        for frame in crash.outer_frames
    )
