"""The fault as the kernel printed it, where the dump itself cannot tell it.

Without types or unwind tables there is still the log: registers, the place and the
bytes of the ``Code:`` line. Nothing in it says what the code was evaluating.
"""

from __future__ import annotations

from crashkit.disasm import Instruction, disassemble
from crashkit.errors import Reason, Unavailable
from crashkit.fault.model import Diagnosis, Fault
from crashkit.oops import Oops
from crashkit.value import Certainty

_WHY = "only the kernel's log tells of the fault; types or the stack are not to be had"


def printed_fault(oops: Oops) -> Fault | None:
    """Make what the log says of the fault; None when it printed no interrupted instruction."""
    if oops.ip is None or not oops.registers:
        return None
    instruction = _instruction(oops)
    unknown = ("expression", "null_or_bad", "memory_disagrees", "source", "bad_register")
    absent = dict.fromkeys(unknown, Reason.NO_DEBUGINFO)
    ip = oops.registers.get("rip", oops.ip.address)
    if ip is None:
        absent["ip"] = Reason.NOT_IN_DUMP
    if instruction is None:
        absent["instruction"] = Reason.NOT_IN_DUMP
    return Fault(
        ip=ip,
        symbol=oops.ip.function,
        offset=oops.ip.offset,
        size=oops.ip.size,
        module=oops.ip.module,
        source=None,
        instruction=instruction.text if instruction else None,
        access=oops.access,
        address=oops.fault_address,
        bad_register=None,
        expression=None,
        null_or_bad=None,
        alternatives=(),
        certainty=Certainty.INFERRED,
        diagnosis=_diagnosis(oops),
        chain=(),
        steps=(),
        memory_disagrees=None,
        registers=dict(oops.registers),
        conflict=None,
        absent=absent,
        why=dict.fromkeys(absent, _WHY),
    )


def _instruction(oops: Oops) -> Instruction | None:
    # A rip-relative operand needs the address, which the log does not always print.
    if oops.trapping_byte is None:
        return None
    try:
        (first, *_rest) = disassemble(oops.code[oops.trapping_byte :], 0)
    except (Unavailable, ValueError):
        return None
    relative = first.memory is not None and first.memory.base == "rip"
    return None if relative or first.target is not None else first


def _diagnosis(oops: Oops) -> Diagnosis:
    if oops.fault_address is None:
        return Diagnosis(kind="other", statement=oops.message)
    return Diagnosis(kind="other", statement=f"access to {oops.fault_address:#x}")
