"""The ``findings`` of a document."""

from __future__ import annotations

from collections.abc import Iterable

from crashkit.errors import Reason
from crashkit.finding import Check, Finding, Fix, Verdict, count_required
from crashkit.report.parts import Json, Part, address
from crashkit.value import Origin, Reread, Value

_ORDER = (Verdict.CONFIRMED, Verdict.INCONCLUSIVE, Verdict.REFUTED)

_REGISTERS = (Origin.REGISTER, Origin.SAVED_REGISTER, Origin.CFI)


def build_findings(findings: Iterable[Finding]) -> list[Json]:
    """Build the ``findings`` list: confirmed first, refuted last, then by name."""
    ordered = sorted(findings, key=lambda f: (_ORDER.index(f.verdict), f.recipe))
    return [build_finding(finding) for finding in ordered]


def build_finding(finding: Finding) -> Json:
    """Build one finding."""
    holding, failing, unread = count_required(finding.checks)
    part = Part()
    part.put("recipe", finding.recipe)
    part.put("verdict", finding.verdict.value)
    part.put("claim", finding.claim)
    part.put("classes", list(finding.classes))
    part.put("required", {"hold": holding, "fail": failing, "not_read": unread})
    part.put("checks", [_check(check) for check in finding.checks])
    part.put("history", list(finding.history))
    part.put("told_apart_from", list(finding.told_apart_from))
    part.put("fix", None if finding.fix is None else build_fix(finding.fix))
    part.put("advice", finding.advice)
    part.put("to_settle", list(finding.to_settle))
    part.put_plain("error", finding.error)
    return part.done()


def _check(check: Check) -> Json:
    part = Part()
    part.put("id", check.id)
    part.put("role", check.role.value)
    part.put("statement", check.statement)
    part.put("holds", check.holds, check.reason or Reason.UNSUPPORTED)
    part.put("values", [_value(value) for value in check.values])
    part.put("note", check.note)
    part.put_plain("why_not", check.why_not)
    return part.done()


def _value(value: Value) -> Json:
    number = value.value
    part = Part()
    part.put("name", value.name)
    if isinstance(number, int) and _is_address(value, number):
        part.put("value", address(number))
    else:
        part.put("value", number)
    part.put("ctype", value.ctype)
    part.put_address("address", value.address)
    part.put("origin", value.origin.value)
    part.put("certainty", value.certainty.value)
    part.put("corroborated_by", [origin.value for origin in value.corroborated_by])
    part.put("identity", value.identity)
    part.put("reread", None if value.reread is None else _reread(value.reread))
    return part.done()


def _is_address(value: Value, number: int) -> bool:
    # Pointers and registers are written as addresses; counts, sizes and bits as integers.
    pointer = value.ctype is not None and value.ctype.rstrip().endswith("*")
    return pointer or value.origin in _REGISTERS or number > 0xFFFF_FFFF


def _reread(reread: Reread) -> Json:
    part = Part()
    part.put("crash", reread.crash)
    part.put("crashkit", reread.crashkit)
    return part.done()


def build_fix(fix: Fix) -> Json:
    """Build a ``fix`` object."""
    part = Part()
    part.put("upstream", fix.upstream)
    part.put("title", fix.title)
    part.put("release", fix.release)
    part.put("stable", list(fix.stable))
    part.put("distributions", list(fix.distributions))
    part.put("in_this_binary", fix.in_this_binary, Reason.UNSUPPORTED)
    part.put("how_seen", fix.how_seen, Reason.UNSUPPORTED)
    return part.done()
