"""The CPUS block: what each CPU did, one line each, the idle and the offline ones in one."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.text_places import callers, place, task_name

_TASK = 24
_CALLERS = 3


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render the section: the CPU that panicked is marked with ``>``."""
    lines = [_heading(section)]
    for entry in section["lines"]:
        is_folded = entry["online"] is False or (entry["idle"] and entry["online"])
        if verbose or entry["panicked"] or not is_folded:
            lines += _line(entry)
    if section["not_shown"]:
        lines.append(f"       {section['not_shown']} more without a line")
    return lines


def _heading(section: Json) -> str:
    said = f"CPUS   {section['present']}"
    for key in ("idle", "offline"):
        count = sum(last - first + 1 for first, last in section[key])
        spans = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in section[key])
        said += f"; {count} {key}: CPU {spans}" if count else ""
    return said[:WIDTH]


def _line(entry: Json) -> list[str]:
    mark = ">" if entry["panicked"] else " "
    head = f"  {entry['cpu']:>3} {mark}{task_name(entry):<{_TASK}}  {_context(entry)}"
    where = "not known" if entry["place"] is None else place(entry["place"])
    if entry["place"] is not None:
        where += callers(entry["callers"][:_CALLERS])
    tail = [where]
    if entry["online"] is False:
        tail.append("offline")
    if entry["online"] is None and entry["idle"]:
        tail.append("perhaps offline")
    if (entry["nr_running"] or 0) > 1:
        tail.append(f"({entry['nr_running']} runnable)")
    return wrap("  ".join(tail), WIDTH, " " * 12, f"{head}  ")


def _context(entry: Json) -> str:
    flags = {True: "", False: " irqs-off", None: ""}[entry["interrupts"]]
    return (entry["context"] or "?") + flags + _preempt(entry)


def _preempt(entry: Json) -> str:
    # Of the CPU that panicked only what the panic did not add; the others were only stopped.
    count = entry["preempt_count"]
    if count is None:
        return ""
    bottom_halves = count["softirq"] >> 1
    said = f" bh-off:{bottom_halves}" if bottom_halves else ""
    if entry["panicked"] is False and count["preempt"] and not entry["idle"]:
        said += f" preempt-off:{count['preempt']}"
    if entry.get("preempt_off") and entry["pid"]:  # an idle task runs so
        said += f" preempt-off:{entry['preempt_off']}"
    return said
