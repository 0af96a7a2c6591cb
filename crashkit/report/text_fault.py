"""The FAULT block: the instructions that made the bad address, with the values they used."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, bare, wrap
from crashkit.report.parts import Json
from crashkit.report.text_access import came_from, held_by, is_check
from crashkit.report.text_places import source_line


def place(symbol: str | None, offset: int | None, module: str | None, size: int | None) -> str:
    """Write ``symbol+0xoff/0xsize [module]``."""
    if symbol is None:
        return "?"
    text = symbol
    if offset is not None:
        text += f"+{offset:#x}" + (f"/{size:#x}" if size else "")
    return text + (f" [{module}]" if module else "")


def fault_block(fault: Json) -> list[str]:
    """The block with its heading."""
    where = place(fault["symbol"], fault["offset"], fault["module"], fault["size"])
    if fault["symbol"] is None:
        where = bare(fault["ip"])
    source = f"   {source_line(fault['source'])}" if fault["source"] else ""
    lines = [f"FAULT  {where}{source}", *step_lines(fault)]
    if fault.get("conflict"):
        lines += wrap(f"CONFLICT: {fault['conflict']}", WIDTH, " " * 7)
    statement = fault["diagnosis"]["statement"]
    if fault["diagnosis"]["kind"] != "null" or not fault["null_or_bad"]:
        lines += wrap(statement, WIDTH, " " * 7)
    lines += _evidence(fault)
    for line in (*came_from(fault), *held_by(fault)):
        lines += wrap(line, WIDTH, " " * 9, " " * 7)
    if fault["alternatives"]:
        lines += wrap("or: " + "; ".join(fault["alternatives"]), WIDTH, " " * 7)
    return lines


def evidence(fault: Json) -> list[str]:
    """Sentences that say what the diagnosis rests on; none where it speaks for itself."""
    diagnosis = fault["diagnosis"]
    if diagnosis["kind"] in _ALONE and not diagnosis.get("details", {}).get("free_list"):
        return []
    return list(diagnosis.get("evidence", ()))


_ALONE = ("null", "err-ptr", "container-of-null")
"""Kinds that need no evidence but that the memory they came from was free."""


def _evidence(fault: Json) -> list[str]:
    return [
        line
        for sentence in evidence(fault)
        for line in wrap(sentence, WIDTH, " " * 9, " " * 7 + "- ")
    ]


def step_lines(fault: Json) -> list[str]:
    """The defining instructions and the trapping one, in columns."""
    steps = fault["steps"]
    if not any(step["trapping"] for step in steps):
        trapping = {key: fault[key] for key in ("offset", "instruction", "expression")}
        steps = [*steps, {**trapping, "trapping": True}]
    rows = [_row(step, fault) for step in steps]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for at, instruction, expression, value in rows:
        place_ = f"{at:>{max(widths[0], 8)}}  {instruction:<{widths[1]}}"
        lines.append(f"{place_}  {expression:<{widths[2]}}  {value}".rstrip())
    return lines


def _row(step: Json, fault: Json) -> tuple[str, str, str, str]:
    at = "" if step["offset"] is None else f"{step['offset']:+#x}"
    value = _trap(fault) if step["trapping"] else _values(step)
    expression = step["expression"]
    if step["trapping"] and is_check(fault) and fault.get("condition"):
        expression = fault["condition"]["text"]
    unknown = "" if step["trapping"] and is_check(fault) else "?"
    return at, step["instruction"] or _held(step, fault), expression or unknown, value


def _held(step: Json, fault: Json) -> str:
    # No instruction of this function made the value: it came in a register.
    if step["trapping"]:
        return "(not in the dump)"
    for link in fault["chain"]:
        if link["expression"] == step["expression"] and link["register"]:
            return f"(in %{link['register']})"
    return ""


def _values(step: Json) -> str:
    then, now = step["value"], step["now"]
    text = "?" if then is None else bare(then)
    return text if now is None or now == then else f"{text}  now {bare(now)}"


def _trap(fault: Json) -> str:
    marker = "<-- trapping"
    if fault["address"] is None:
        return marker
    # The CPU reports no address that is not canonical; below, four levels are assumed.
    canonical = int(fault["address"], 16) >> 47 in (0, (1 << 17) - 1)
    name = "CR2" if canonical and fault["diagnosis"]["kind"] != "non-canonical" else "address"
    return f"{marker}, {name} = {fault['address']}"
