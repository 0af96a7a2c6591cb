"""Variables by the register that holds them: names and types that debug files have.

drgn finds a variable for a frame with given registers. Asked with a number of its own in
each register, the variable's value tells which register it is in, and how far from it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from drgn import BadDataError, FaultError, Object, Program, StackFrame, Type

from crashkit.dataflow.terms import signed64
from crashkit.layout import COMPOUND, pointee, size_of, strip
from crashkit.value import facts

# Members of struct pt_regs (arch/x86/include/asm/ptrace.h) and the registers in them.
_MEMBERS = {
    "r15": "r15", "r14": "r14", "r13": "r13", "r12": "r12", "bp": "rbp", "bx": "rbx",
    "r11": "r11", "r10": "r10", "r9": "r9", "r8": "r8", "ax": "rax", "cx": "rcx", "dx": "rdx",
    "si": "rsi", "di": "rdi",
}  # fmt: skip
_MARKS = {
    register: 0x4B17_A000_4B00_0000 | n << 32 | n << 16
    for n, register in enumerate(_MEMBERS.values(), 1)
}
# Apart by 64 KiB in the low half as well, for variables of four bytes.
_NEAR = 0x8000
_MOST_INLINED = 16
_MOST_VARIABLES = 200


@facts
class Variable:
    """A local variable or parameter that is a register's value at one instruction."""

    name: str
    type: Type
    register: str
    addend: int
    """The variable is the register plus this."""
    inlined: int
    """Calls that were inlined around the function it belongs to: 0 for the outermost."""


@facts
class Local:
    """A local variable in memory."""

    name: str
    type: Type
    address: int
    size: int


@facts
class Scope:
    """What a debug file says of the variables in sight of one instruction."""

    variables: tuple[Variable, ...] = ()
    """Those that are in registers; the outermost function's first."""
    locals: tuple[Local, ...] = ()
    """Those that are in the frame."""
    structures: tuple[Type, ...] = ()
    """The structures that any variable is of or points at, whether or not it is anywhere."""


def scope_at(prog: Program, pc: int, sp: int) -> Scope:
    """Look at the variables before the instruction at ``pc``; empty without a debug file.

    :param sp: the stack pointer there
    """
    key = ("crashkit.scope", pc)
    if key not in prog.cache:
        drgn_log = logging.getLogger("drgn")
        level = drgn_log.level
        drgn_log.setLevel(logging.CRITICAL)  # a variable it cannot read is no news
        try:
            prog.cache[key] = _read(prog, pc, sp)
        except (LookupError, FaultError, BadDataError, TypeError, ValueError):
            prog.cache[key] = Scope()  # no types, or none that drgn reads: there are no names
        finally:
            drgn_log.setLevel(level)
    found: Scope = prog.cache[key]
    return found


def _read(prog: Program, pc: int, sp: int) -> Scope:
    values = {member: _MARKS[register] for member, register in _MEMBERS.items()}
    registers = {**values, "ip": pc, "sp": sp, "cs": 0x10}
    trace = prog.stack_trace(Object(prog, "struct pt_regs", registers))
    frames: list[StackFrame] = []
    for frame in list(trace)[:_MOST_INLINED]:
        frames.append(frame)
        if not frame.is_inline:
            break
    variables: list[Variable] = []
    structures: dict[str, Type] = {}
    in_memory: list[Local] = []
    for inlined, frame in enumerate(reversed(frames)):
        for name in frame.locals()[:_MOST_VARIABLES]:
            held = _object(frame, name)
            if held is None:
                continue
            for type_ in _structures(held.type_):
                structures.setdefault(type_.type_name(), type_)
            found = _variable(held, name, inlined)
            if found is not None:
                variables.append(found)
            elif held.address_ is not None and (size := size_of(held.type_)):
                local = Local(name=name, type=held.type_, address=held.address_, size=size)
                in_memory.append(local)
    return Scope(
        variables=tuple(variables),
        locals=tuple(in_memory),
        structures=tuple(structures.values()),
    )


def _object(frame: StackFrame, name: str) -> Object | None:
    try:
        return frame[name]
    except (LookupError, FaultError, BadDataError, TypeError, ValueError):
        return None  # drgn cannot read this one


def _structures(type_: Type) -> Iterator[Type]:
    bare = strip(type_)
    for _ in range(3):
        target = pointee(bare)
        if target is None:
            break
        bare = strip(target)
    if bare.kind in COMPOUND and bare.is_complete():
        yield bare


def _variable(held: Object, name: str, inlined: int) -> Variable | None:
    if held.absent_ or held.address_ is not None:
        return None
    size = size_of(held.type_)
    try:
        value = held.value_()
    except (FaultError, TypeError, ValueError):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or size not in (4, 8):
        return None
    for register, mark in _MARKS.items():
        shift = 64 - 8 * size
        distance = signed64(value - mark << shift) >> shift
        if abs(distance) < _NEAR:
            return Variable(
                name=name,
                type=held.type_,
                register=register,
                addend=distance,
                inlined=inlined,
            )
    return None
