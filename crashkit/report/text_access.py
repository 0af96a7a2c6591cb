"""A fault in words: what the instruction did, and where its bad value came from."""

from __future__ import annotations

import re

from crashkit.report.columns import bare
from crashkit.report.parts import Json
from crashkit.report.text_operand import accessed

_VERBS = {"read": "read", "write": "wrote", "exec": "called"}
_FAILED = "a check in the code failed"
"""How a diagnosis begins that says what was checked."""
_MOST_ORIGINS = 3
_PLAIN = re.compile(r"\*\(u\d+ \*\)(\w+)")
"""What a repeated instruction reads or writes through a parameter without a type."""


def is_check(fault: Json) -> bool:
    """Whether the instruction is that of a BUG() or WARN()."""
    return (fault["instruction"] or "").split(" ")[0] in ("ud2", "ud1")


def is_division(fault: Json) -> bool:
    """Whether a division faulted by its values."""
    return (fault["instruction"] or "").startswith(("div", "idiv")) and not fault["access"]


def did(fault: Json) -> str:
    """Say what the instruction did, as the rest of a sentence about it."""
    if is_check(fault):
        failed = str(fault["diagnosis"]["statement"] or "").removeprefix(_FAILED)
        return f"failed a check of its own{': ' * bool(failed)}{failed.removeprefix(': ')}"
    if is_division(fault):
        return f"divided {fault['expression']}" if fault["expression"] else "divided by zero"
    if fault["access"] is None:
        return f"ran {fault['instruction']}" if fault["instruction"] else "stopped"
    verb = _VERBS.get(fault["access"], "touched")
    if fault["expression"]:
        return f"{verb} {_expression(fault)}"
    if fault["access"] == "exec":
        return f"jumped to {_where(fault)}"
    return f"{verb} {accessed(fault)}"


def _expression(fault: Json) -> str:
    text = str(fault["expression"])
    plain = _PLAIN.fullmatch(text)
    return f"memory at {plain[1]}" if plain and fault.get("progress") else text


def _where(fault: Json) -> str:
    return f"address {bare(fault['address'])}" if fault["address"] else "an unknown address"


def who(fault: Json) -> str:
    """Name what ran: a function; the caller's place, of a call or jump that failed."""
    if fault["access"] == "exec":
        return str(fault.get("called_from") or "It")  # there is no function there
    return f"{fault['symbol']}()" if fault["symbol"] else "It"


def at_address(fault: Json) -> str:
    """Say where that was, behind :func:`did`, which says it itself where it has no expression."""
    if not fault["address"] or is_check(fault) or is_division(fault):
        return ""
    if fault["access"] is None:
        return f", which faulted at {_where(fault)}" if fault["instruction"] else ""
    return f" ({bare(fault['address'])})" if fault["expression"] else ""


def conflicting(fault: Json) -> str | None:
    """Say that the CPU reported another address than the instruction accesses; None if not."""
    if not fault.get("conflict") or not fault["instruction"]:
        return None
    at = _where(fault) if fault["address"] else "what the CPU reported"
    return f"{fault['instruction']}: {at} is not where its registers point (CONFLICT)"


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
        who = f"{step['function']} (#{step['frame']})"
        if step.get("through"):
            who += f", by way of {', '.join(step['through'])} (tail calls),"
        lines.append(f"{who} passed {said}{value}{now}{unsure}")
    ways = [one["expression"] or "?" for one in fault.get("one_of", ())]
    if any(way != "?" for way in ways):
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
