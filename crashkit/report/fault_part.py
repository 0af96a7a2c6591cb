"""The ``fault`` object of a document: the faulting instruction explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crashkit.errors import Reason
from crashkit.report.parts import Json, Part, address

if TYPE_CHECKING:
    from crashkit.arguments import Holder
    from crashkit.fault import Diagnosis, Fault, Link, Step
    from crashkit.fault.model import Alternative, Condition, OriginStep, Side


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
    part.put("one_of", [_alternative(one) for one in fault.one_of])
    part.put("origins", [_origin(step) for step in fault.origins])
    part.put("condition", _condition(fault.condition) if fault.condition else None)
    part.put("progress", fault.progress)
    part.put("called_from", fault.called_from)
    part.put("held_by", [_holder(holder) for holder in fault.held_by])
    part.put_plain("conflict", fault.conflict)
    part.put("why", dict(fault.why))
    return part.done()


def _diagnosis(diagnosis: Diagnosis) -> Json:
    return {
        "kind": diagnosis.kind,
        "statement": diagnosis.statement,
        "evidence": list(diagnosis.evidence),
        # What does not apply to this value is not named: it is not unknown.
        "details": {key: value for key, value in diagnosis.details.items() if value is not None},
    }


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


def _alternative(one: Alternative) -> Json:
    part = Part()
    part.put("expression", one.expression, Reason.NO_DEBUGINFO)
    part.put("offset", one.offset)
    part.put_address("address", one.address, Reason.NOT_SAVED)
    part.put_address("now", one.now, Reason.NOT_IN_DUMP)
    return part.done()


def _origin(step: OriginStep) -> Json:
    part = Part()
    part.put("frame", step.frame)
    part.put("function", step.function)
    part.put("parameter", step.parameter)
    part.put("expression", step.expression, Reason.NO_DEBUGINFO)
    part.put("ctype", step.ctype, Reason.NO_DEBUGINFO)
    part.put_address("value", step.value, Reason.NOT_SAVED)
    part.put("certainty", step.certainty.value)
    part.put_address("address", step.address)
    part.put_address("now", step.now)
    part.put("identity", step.identity)
    part.put("one_of", list(step.one_of))
    part.put("through", list(step.through))
    part.put("returned_by", list(step.returned_by))
    return part.done()


def _condition(condition: Condition) -> Json:
    part = Part()
    part.put("text", condition.text)
    part.put("operator", condition.operator)
    part.put("left", _side(condition.left))
    part.put("right", _side(condition.right))
    part.put("offset", condition.offset)
    part.put("statement", condition.statement)
    part.put("certainty", condition.certainty.value)
    return part.done()


def _side(side: Side) -> Json:
    part = Part()
    part.put("expression", side.expression, Reason.UNSUPPORTED)
    part.put("value", side.value, Reason.NOT_SAVED)
    part.put("certainty", side.certainty.value)
    return part.done()


def _holder(holder: Holder) -> Json:
    return {
        "stack": holder.stack,
        "frame": holder.index,
        "function": holder.function or "?",
        "place": holder.place,
        "certainty": holder.certainty.value,
    }


def _step(step: Step) -> Json:
    part = Part()
    part.put("offset", step.offset)
    part.put("instruction", step.instruction, Reason.NOT_APPLICABLE)
    part.put("expression", step.expression)
    part.put_address("value", step.value)
    part.put_address("now", step.now)
    part.put("trapping", step.trapping)
    return part.done()
