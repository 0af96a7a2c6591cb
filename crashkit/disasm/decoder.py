"""Machine code to :class:`Instruction`: the one place that talks to capstone."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

from crashkit.disasm.effects import effects_of
from crashkit.disasm.instruction import (
    Flow,
    ImmediateOperand,
    Instruction,
    MemoryOperand,
    Operand,
    RegisterOperand,
)
from crashkit.registers import FULL_REGISTER, GENERAL

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_REGISTER, _IMMEDIATE = 1, 2  # capstone's X86_OP_REG, X86_OP_IMM

Decoded: TypeAlias = Any
"""An object of capstone, which has no types: an instruction, an operand, the engine."""

FLOWS = {
    "jmp": Flow.JUMP, "ljmp": Flow.JUMP, "call": Flow.CALL, "lcall": Flow.CALL,
    "loop": Flow.BRANCH, "loope": Flow.BRANCH, "loopne": Flow.BRANCH, "xbegin": Flow.BRANCH,
    "ret": Flow.RETURN, "retf": Flow.RETURN, "retfq": Flow.RETURN, "iret": Flow.RETURN,
    "iretd": Flow.RETURN, "iretq": Flow.RETURN, "sysret": Flow.RETURN, "sysretq": Flow.RETURN,
    "sysexit": Flow.RETURN, "sysexitq": Flow.RETURN, "uiret": Flow.RETURN,
    "ud0": Flow.STOP, "ud1": Flow.STOP, "ud2": Flow.STOP, "int3": Flow.STOP,
}  # fmt: skip
"""Operation to where it goes; every other ``j…`` is a branch and the rest fall through."""


def decode(code: bytes, address: int, syntax: str) -> list[Instruction]:
    """Decode ``code`` from its first byte to its last.

    A byte that starts no known instruction becomes ``(bad)``, which stops and may
    have written any register; decoding goes on at the next byte.
    """
    engine = _engine()
    result: list[Instruction] = []
    done = 0
    while done < len(code):
        for raw in engine.disasm(code[done:], address + done):
            result.append(_convert(raw, syntax))
            done += raw.size
        if done < len(code):
            strange = _undecoded(code[done:], address + done)
            result.append(strange)
            done += strange.size
    return result


def decode_first(code: bytes, address: int, syntax: str) -> Instruction | None:
    """Decode the first instruction of ``code``; None when it starts none."""
    for raw in _engine().disasm(code, address, 1):
        return _convert(raw, syntax)
    return None


@functools.cache
def _engine() -> Decoded:
    # Imported here: it costs 50 ms, and opening a dump does not need it.
    import capstone

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


def _convert(raw: Decoded, syntax: str) -> Instruction:
    *prefixes, operation = raw.mnemonic.split()
    # Not raw.operands: for them capstone copies all that it knows of an instruction, which
    # costs half of the decoding. These are the structures that it copies from.
    details = raw._raw.detail.contents.arch.x86
    arguments = tuple([_operand(each) for each in details.operands[: details.op_count]])
    repeats = any(prefix.startswith("rep") for prefix in prefixes)
    effects = effects_of(operation, repeats, arguments, lambda: _reported(raw))
    flow = _flow(operation)
    target, via = _destination(flow, arguments)
    return Instruction(
        address=raw.address,
        size=raw.size,
        data=bytes(raw.bytes),
        operation=operation,
        arguments=arguments,
        prefixes=tuple(prefixes),
        flow=flow,
        target=target,
        via=via,
        reads=effects.reads,
        writes=effects.writes,
        accesses=effects.accesses,
        exact=effects.exact,
        displacement_size=details.encoding.disp_size,
        printed=(raw.mnemonic, raw.op_str) if syntax == "intel" else None,
    )


def _operand(raw: Decoded) -> Operand:
    if raw.type == _REGISTER:
        return _register_operand(raw.reg, raw.size)
    if raw.type == _IMMEDIATE:
        return ImmediateOperand(raw.imm, raw.size)
    memory = raw.mem
    return MemoryOperand(
        base=_register_name(memory.base) or None,
        index=_index_name(memory.index),
        scale=memory.scale,
        displacement=memory.disp,
        segment=_segment_name(memory.segment),
        size=raw.size,
    )


@functools.cache
def _register_operand(number: int, size: int) -> RegisterOperand:
    name = _register_name(number)
    return RegisterOperand(name, size, FULL_REGISTER.get(name))


@functools.cache
def _register_name(number: int) -> str:
    return str(_engine().reg_name(number)) if number else ""


@functools.cache
def _index_name(number: int) -> str | None:
    name = _register_name(number)
    return None if name in ("", "riz", "eiz") else name


@functools.cache
def _segment_name(number: int) -> str | None:
    name = _register_name(number)
    return name if name in ("fs", "gs") else None


def _reported(raw: Decoded) -> tuple[set[str], set[str]]:
    read, written = raw.regs_access()
    return _full_names(read), _full_names(written)


def _full_names(numbers: list[int]) -> set[str]:
    names = (FULL_REGISTER.get(_register_name(number)) for number in numbers)
    return {name for name in names if name is not None}


def _flow(operation: str) -> Flow:
    known = FLOWS.get(operation)
    if known is not None:
        return known
    return Flow.BRANCH if operation.startswith("j") else Flow.NEXT


def _destination(flow: Flow, arguments: tuple[Operand, ...]) -> tuple[int | None, str | None]:
    if flow not in (Flow.JUMP, Flow.BRANCH, Flow.CALL) or len(arguments) != 1:
        return None, None
    place = arguments[0]
    if isinstance(place, ImmediateOperand):
        return place.value & _U64, None
    if isinstance(place, RegisterOperand):
        return None, place.full
    return None, None


# Instructions of kernels that capstone 5 does not decode; they touch no register.
_NEWER = {b"\x0f\x01\xe8": "serialize"}


def _undecoded(code: bytes, address: int) -> Instruction:
    for data, operation in _NEWER.items():
        if code.startswith(data):
            return _without_operands(address, data, operation)
    return _bad(code[:1], address)


def _without_operands(address: int, data: bytes, operation: str) -> Instruction:
    none: frozenset[str] = frozenset()
    return Instruction(
        address=address,
        size=len(data),
        data=data,
        operation=operation,
        arguments=(),
        prefixes=(),
        flow=Flow.NEXT,
        target=None,
        via=None,
        reads=none,
        writes=none,
        accesses=(),
        exact=True,
    )


def _bad(data: bytes, address: int) -> Instruction:
    return Instruction(
        address=address,
        size=1,
        data=data,
        operation="(bad)",
        arguments=(),
        prefixes=(),
        flow=Flow.STOP,
        target=None,
        via=None,
        reads=frozenset(),
        writes=frozenset(GENERAL),
        accesses=(),
        exact=False,
    )
