"""The ATOMIC block: what forbade the sleep, and who slept."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.text_places import callers, number, place, task_name

_FIELDS = (("hardirq", "in a hardirq"), ("nmi", "in an NMI"))


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render the section."""
    lines = wrap(f"{task_name({'task': None, **section})} slept: {_count(section)}", WIDTH,
                 " " * 7, "ATOMIC ")  # fmt: skip
    if section["place"] is not None:
        where = place(section["place"]) + callers(section["callers"])
        lines += wrap(where, WIDTH, " " * 9, " " * 4 + "in  ")
    for lock in section["spinlocks"]:
        said = f"{lock['function']}+{lock['offset']:#x} called {lock['called']}() with"
        lines += wrap(f"{said} {number(lock['address'])}", WIDTH, " " * 9, " " * 4 + "has~ ")
    return lines


def _count(section: Json) -> str:
    count = section["count"]
    if count is None:
        return "preempt_count not known"
    said = [text for key, text in _FIELDS if count[key]]
    depth = count["preempt"] - section["own"]
    if depth > 0:
        said.append(f"preemption disabled {depth} {'time' if depth == 1 else 'times'}")
    if count["softirq"] & 1:
        said.append("in a softirq")
    if count["softirq"] >> 1:
        said.append(f"softirqs disabled {count['softirq'] >> 1} times")
    if section["interrupts_off"]:
        said.append("interrupts off")
    return f"preempt_count {count['value']:#x}: {', '.join(said) or 'nothing forbids it'}"
