"""A fault in words: what the instruction did, and where its bad value came from."""

from __future__ import annotations

from crashkit.report.columns import bare
from crashkit.report.parts import Json

_VERBS = {"read": "read", "write": "wrote", "exec": "called"}
_NOUNS = {"read": "read of", "write": "write to", "exec": "call of"}
_MOST_ORIGINS = 3


def is_check(fault: Json) -> bool:
    """Whether the instruction is that of a BUG() or WARN()."""
    return (fault["instruction"] or "").split(" ")[0] in ("ud2", "ud1")


def _is_division(fault: Json) -> bool:
    return (fault["instruction"] or "").startswith(("div", "idiv")) and not fault["access"]


def did(fault: Json) -> str:
    """Say what the instruction did, as the rest of a sentence about it."""
    if is_check(fault):
        condition = fault.get("condition")
        return "failed a check of its own" + (f", {condition['text']}" if condition else "")
    if _is_division(fault):
        return f"divided {fault['expression']}" if fault["expression"] else "divided by zero"
    if fault["access"] is None:
        return f"ran {fault['instruction']}" if fault["instruction"] else "stopped"
    verb = _VERBS.get(fault["access"], "touched")
    if fault["expression"]:
        return f"{verb} {fault['expression']}"
    if fault["access"] == "exec":
        return f"jumped to {_where(fault)}"
    by = f" ({fault['instruction']})" if fault["instruction"] else ""
    return f"{verb} {_where(fault)}{by}"


def _where(fault: Json) -> str:
    return f"address {bare(fault['address'])}" if fault["address"] else "an unknown address"


def subject(fault: Json) -> str:
    """Name what the instruction did, as the head of a line."""
    if is_check(fault):
        return str(fault["diagnosis"]["statement"] or "a check in the code failed")
    if _is_division(fault):
        return f"division {fault['expression'] or fault['instruction']}"
    at = f" ({bare(fault['address'])})" if fault["address"] else ""
    if fault["access"] == "exec":
        by = f" by {fault['called_from']}" if fault.get("called_from") else ""
        if not fault["expression"]:
            return f"jump to {_where(fault)}{by}"
        return f"call of {fault['expression']}{at}{by}"
    if fault["access"] is None and fault["instruction"]:
        return f"execution of {fault['instruction']}"
    noun = _NOUNS.get(fault["access"], "access to")
    return f"{noun} {fault['expression'] or fault['instruction'] or 'unknown memory'}{at}"


def came_from(fault: Json) -> list[str]:
    """Say where the chain's first value came from: callers, ways, how far a copy had come."""
    lines = []
    for step in fault.get("origins", ())[:_MOST_ORIGINS]:
        said = step["expression"] or " or ".join(step["one_of"])
        if not said or said == step["parameter"]:
            continue
        value = f" = {bare(step['value'])}" if step["value"] else ""
        unsure = "" if step["certainty"] == "proved" else " ~"
        now = ""
        if step["now"] and step["now"] != step["value"]:
            now = f", {bare(step['now'])} now"
        lines.append(f"{step['function']} (#{step['frame']}) passed {said}{value}{now}{unsure}")
    ways = [one["expression"] or "?" for one in fault.get("one_of", ())]
    if ways:
        lines.append(f"{fault['null_or_bad'] or fault['bad_register']}: one of {', '.join(ways)} ~")
    if fault.get("progress"):
        lines.append(fault["progress"])
    return lines


def held_by(fault: Json) -> list[str]:
    """Name who else has the object that changed."""
    return [
        f"{one['stack']} has the object: {one['function']} (#{one['frame']}), {one['place']}"
        + ("" if one["certainty"] == "proved" else " ~")
        for one in fault.get("held_by", ())
    ]
