"""The SPIN block: the spinlocks that CPUs wait for, and who seems to have them."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.text_places import callers, number, place, task_name

_CALLERS = 2
_SHOWN = 8


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render the section: each lock, under it the CPU that has it and those that want it."""
    lines: list[str] = []
    for lock in section["locks"]:
        head = f"{lock['kind']} {number(lock['address'])}{_name(lock)}{_word(lock['lock'])}"
        lines += wrap(head, WIDTH, " " * 9, "       " if lines else "SPIN   ")
        for holder in lock["holders"]:
            lines += _line(holder, "held", f"  ({holder['how']})")
        if not lock["holders"]:
            lines.append("    held   by whom: not known (no CPU's stack shows the call)")
        shown = lock["spinners"] if verbose else lock["spinners"][:_SHOWN]
        for spinner in shown:
            lines += _line(spinner, "wanted", "")
        if len(lock["spinners"]) > len(shown):
            lines.append(f"           {len(lock['spinners']) - len(shown)} more CPUs")
    for cycle in section["cycles"]:
        lines += _cycle(cycle)
    return lines


def _name(lock: Json) -> str:
    name = lock["lock"]["name"] if lock["lock"] else None
    return f" ({name})" if name else ""


def _word(lock: Json | None) -> str:
    if lock is None or lock["value"] is None:
        return ""
    said = f"  value {lock['value']:#x}: " + ("locked" if lock["locked"] else "not locked")
    if lock["pending"]:
        said += ", pending"
    if lock["readers"]:
        said += f", {lock['readers']} readers"
    if lock["tail_cpu"] is not None:
        cpus = ", ".join(str(node["cpu"]) for node in lock["queue"])
        said += f", queue: CPU {cpus}"
    return said


def _line(task: Json, word: str, tail: str) -> list[str]:
    sure = "" if task["certainty"] == "proved" else "~"
    where = place(task["place"]) + callers(task["callers"][:_CALLERS])
    said = f"CPU {task['cpu']} {task_name(task)}: {where}{tail}"
    return wrap(said, WIDTH, " " * 13, f"    {word + sure:<7}")


def _cycle(cycle: list[int]) -> list[str]:
    if len(cycle) == 1:
        return [f"       DEADLOCK ~: CPU {cycle[0]} wants what it has itself"]
    ring = " -> ".join(f"CPU {cpu}" for cpu in [*cycle, cycle[0]])
    return [f"       DEADLOCK ~: {ring}"]
