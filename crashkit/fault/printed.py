"""The fault as the kernel printed it, where the dump itself cannot tell it.

Without types or unwind tables there is still the log: registers, the place and the
bytes of the ``Code:`` line. Nothing in it says what the code was evaluating.
"""

from __future__ import annotations

from dataclasses import replace

from crashkit.disasm import Instruction
from crashkit.errors import Reason, Unavailable
from crashkit.fault.access import FaultingAccess, find_faulting_access
from crashkit.fault.diagnosis import PAGE, BadValue, diagnose
from crashkit.fault.model import Diagnosis, Fault, Step
from crashkit.fault.printed_code import PrintedCode, disassemble_printed, find_definition
from crashkit.oops import CodeBytes, Oops
from crashkit.value import Certainty, facts

_U64 = (1 << 64) - 1
_KASAN_SHADOW = 0xDFFF_FC00_0000_0000
"""KASAN_SHADOW_OFFSET of x86-64 (arch/x86/Kconfig): address >> 3 is added to it."""
_SHADOW = "the instruction is KASAN's check of the address before it is used"
_WHY = "only the kernel's log tells of the fault; types or the stack are not to be had"


@facts
class _Reading:
    # What registers and code say together.
    code: PrintedCode | None = None
    instruction: Instruction | None = None
    access: FaultingAccess | None = None
    conflict: str | None = None


def printed_fault(oops: Oops) -> Fault | None:
    """Make what the log says of the fault; None when it printed no interrupted instruction."""
    if oops.ip is None or not oops.registers:
        return None
    reading = _read(oops)
    register = reading.access.bad_register if reading.access else None
    ip = oops.registers.get("rip", oops.ip.address)
    address = _address(oops, reading)
    unknown = ["expression", "null_or_bad", "memory_disagrees", "source"]
    absent = dict.fromkeys(unknown, Reason.NO_DEBUGINFO)
    if register is None:
        absent["bad_register"] = Reason.NO_DEBUGINFO
    if ip is None:
        absent["ip"] = Reason.NOT_IN_DUMP
    if reading.instruction is None:
        absent["instruction"] = Reason.NOT_IN_DUMP
    return Fault(
        ip=ip,
        symbol=oops.ip.function,
        offset=oops.ip.offset,
        size=oops.ip.size,
        module=oops.ip.module,
        source=None,
        instruction=reading.instruction.text if reading.instruction else None,
        access=oops.access or (reading.access.kind if reading.access else None),
        address=address,
        bad_register=register,
        expression=None,
        null_or_bad=None,
        alternatives=(),
        certainty=Certainty.INFERRED,
        diagnosis=_diagnosis(oops, reading),
        chain=(),
        steps=_steps(oops, reading),
        memory_disagrees=None,
        registers=dict(oops.registers),
        conflict=reading.conflict,
        absent=absent,
        why=dict.fromkeys(absent, _WHY),
    )


def _read(oops: Oops) -> _Reading:
    if oops.trapping_byte is None or oops.arch not in ("x86_64", None):
        return _Reading()
    place = oops.ip.address if oops.ip else None
    bytes_ = CodeBytes(data=oops.code, trapping=oops.trapping_byte)
    code = disassemble_printed(bytes_, place or 0)
    instruction = code.trapping
    if instruction is None:
        return _Reading(code=code)
    if place is None and (instruction.target is not None or _is_relative(instruction)):
        return _Reading(code=code)
    if oops.access == "exec" or oops.kind not in _BY_ADDRESS:
        return _Reading(code=code, instruction=instruction)
    try:
        access = find_faulting_access(instruction, oops.registers, {}, oops.fault_address)
    except Unavailable as why:
        conflict = why.detail if why.reason is Reason.CORRUPTED else None
        return _Reading(code=code, instruction=instruction, conflict=conflict)
    return _Reading(code=code, instruction=instruction, access=access)


_BY_ADDRESS = ("null-pointer-dereference", "page-fault", "write-protect", "general-protection")


def _is_relative(instruction: Instruction) -> bool:
    # Such an operand needs the address, which newer kernels do not print.
    return any(access.memory.base == "rip" for access in instruction.accesses)


def _address(oops: Oops, reading: _Reading) -> int | None:
    if oops.fault_address is not None:
        return oops.fault_address
    return reading.access.address if reading.access else None


def _steps(oops: Oops, reading: _Reading) -> tuple[Step, ...]:
    register = reading.access.bad_register if reading.access else None
    code = reading.code
    if register is None or code is None or code.trapping is None or oops.ip is None:
        return ()
    made = find_definition(code, register)
    if made is None or _is_relative(made):
        return ()
    start = oops.ip.offset
    found = [(made, oops.registers.get(register)), (code.trapping, None)]
    return tuple(
        Step(
            address=None if oops.ip.address is None else instruction.address,
            offset=None if start is None else start + _distance(instruction, code.trapping),
            instruction=instruction.text,
            expression=None,
            value=value,
            trapping=instruction is code.trapping,
        )
        for instruction, value in found
    )


def _distance(instruction: Instruction, trapping: Instruction) -> int:
    half = 1 << 63
    return (instruction.address - trapping.address + half) % (1 << 64) - half


def _diagnosis(oops: Oops, reading: _Reading) -> Diagnosis:
    access, address = reading.access, _address(oops, reading)
    if reading.conflict is not None:
        return Diagnosis(kind="other", statement=reading.conflict)
    if access is not None and access.bad_register in oops.registers:
        return _of_register(oops, access)
    if address is None:
        return Diagnosis(kind="other", statement=oops.message)
    if address < PAGE:
        return Diagnosis(kind="null", statement=f"access to {address:#x}: an offset from NULL")
    return Diagnosis(kind="other", statement=f"access to {address:#x}")


def _of_register(oops: Oops, access: FaultingAccess) -> Diagnosis:
    name = access.bad_register or ""
    value = oops.registers[name]
    shadow = [oops.registers.get(register) for register in access.access.memory.registers]
    if _KASAN_SHADOW in shadow and value != _KASAN_SHADOW:
        name, value = f"{name} << 3", value << 3 & _U64
        found = diagnose(BadValue(name=name, value=value))
        return replace(found, evidence=(*found.evidence, _SHADOW))
    addend = 0 if access.address is None else access.address - value
    bad = BadValue(
        name=name,
        value=value,
        addend=addend if abs(addend) < PAGE else 0,
        faulted_at=oops.fault_address if oops.kind != "general-protection" else None,
    )
    return diagnose(bad)
