"""The ``fault`` object of a document: the faulting instruction explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.parts import Json, Part, address

if TYPE_CHECKING:
    from crashkit.fault import Diagnosis, Fault, Link, Step


def build_fault(fault: Fault) -> Json:
    """Build the ``fault`` object."""
    part = Part(fault.absent)
    part.put_address("ip", fault.ip, Reason.NOT_IN_DUMP)
    part.put("symbol", fault.symbol, Reason.NO_DEBUGINFO)
    part.put("offset", fault.offset, Reason.NO_DEBUGINFO)
    part.put("size", fault.size, Reason.NO_DEBUGINFO)
    part.put_plain("module", fault.module)
    part.put_plain("source", fault.source)
    part.put("instruction", fault.instruction, Reason.NOT_IN_DUMP)
    part.put("access", fault.access, Reason.UNSUPPORTED)
    part.put_address("address", fault.address, Reason.NOT_IN_DUMP)
    part.put("bad_register", fault.bad_register)
    part.put("expression", fault.expression, Reason.UNSUPPORTED)
    part.put("null_or_bad", fault.null_or_bad, Reason.UNSUPPORTED)
    part.put("alternatives", list(fault.alternatives))
    part.put("certainty", fault.certainty.value)
    part.put("diagnosis", _diagnosis(fault.diagnosis))
    part.put("chain", [_link(link) for link in fault.chain])
    part.put("steps", [_step(step) for step in fault.steps])
    part.put("memory_disagrees", fault.memory_disagrees, Reason.NOT_IN_DUMP)
    part.put("registers", {name: address(value) for name, value in fault.registers.items()})
    part.put_plain("conflict", fault.conflict)
    part.put("why", dict(fault.why))
    return part.done()


def _diagnosis(diagnosis: Diagnosis) -> Json:
    return {"kind": diagnosis.kind, "statement": diagnosis.statement}


def _link(link: Link) -> Json:
    part = Part(link.absent)
    part.put("expression", link.expression)
    part.put("ctype", link.ctype, Reason.NO_DEBUGINFO)
    part.put_address("value", link.value, Reason.NOT_SAVED)
    part.put("origin", link.origin and link.origin.value, Reason.NOT_SAVED)
    part.put("certainty", link.certainty.value)
    part.put("register", link.register)
    part.put("identity", link.identity)
    part.put_address("now", link.now)
    part.put("now_identity", link.now_identity)
    return part.done()


def _step(step: Step) -> Json:
    part = Part()
    part.put("offset", step.offset)
    part.put("instruction", step.instruction, Reason.NOT_APPLICABLE)
    part.put("expression", step.expression)
    part.put_address("value", step.value)
    part.put_address("now", step.now)
    part.put("trapping", step.trapping)
    return part.done()
