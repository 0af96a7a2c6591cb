"""One sentence about a hang: who holds it up, from the sections of ``panic.facts``."""

from __future__ import annotations

from crashkit.report.columns import bare
from crashkit.report.parts import Json
from crashkit.report.text_places import place, seconds, task_name

_HALF = 0.5
_SAY_ALL = ("init", "mce")
"""Sections after which nothing of the kernel is left to explain."""


def hang_sentence(document: Json) -> str | None:
    """Say who holds the hang up; None where no section tells anything."""
    facts, kind = document["panic"]["facts"], document["panic"]["kind"]
    if kind == "hung-task":
        return _waits(facts.get("waits"))
    if kind in ("soft-lockup", "hard-lockup", "rcu-stall"):
        return _spins(facts.get("spin")) or _stalled(facts.get("stall"))
    return _spins(facts.get("spin")) if kind == "nmi" else None


def is_explained(document: Json) -> bool:
    """Whether a section names what the kernel died of: a circle, an owner, a consumer."""
    facts, kind = document["panic"]["facts"], document["panic"]["kind"]
    if kind == "hung-task":
        waits = facts.get("waits")
        return waits is not None and bool(waits["cycles"] or _cause(waits))
    if kind in ("soft-lockup", "hard-lockup", "rcu-stall"):
        return _spins(facts.get("spin")) is not None
    if kind == "oom":
        return _one_has_most(facts.get("oom"))
    return any(facts.get(key) is not None for key in _SAY_ALL)


def _waits(waits: Json | None) -> str | None:
    if waits is None:
        return None
    tasks = {task["task"]: task for task in waits["tasks"]}
    for cycle in waits["cycles"]:
        names = [task_name(tasks[task]) for task in cycle if task in tasks]
        sure = all(e["certainty"] == "proved" for e in waits["edges"] if e["waiter"] in cycle)
        circle = f"{' and '.join(names)} wait in a circle{'' if sure else ' ~'}"
        return f"{circle}: each for a lock that the next one has."
    cause = _cause(waits)
    if cause is not None:
        return _owner(waits, tasks, cause)
    blocked = [task for task in waits["tasks"] if task["state"] == "D" and task["wait"]]
    if not blocked:
        return None
    first = max(blocked, key=lambda task: task["seconds"] or 0.0)
    kind = first["wait"]["kind"] or "something that is not known"
    slept = f"{task_name(first)} has slept for {seconds(first['seconds'])}"
    return f"{slept} in {place(first['place'])}, waiting for: {kind}; nothing says who ends that."


def _cause(waits: Json) -> Json | None:
    known = (x for x in waits["causes"] if x["known"] and not x["in_cycle"])
    return next(known, None)


def _owner(waits: Json, tasks: dict[str, Json], cause: Json) -> str | None:
    owner = tasks.get(cause["task"])
    edge = next((edge for edge in waits["edges"] if edge["owner"] == cause["task"]), None)
    if owner is None or edge is None or edge["waiter"] not in tasks:
        return None
    sure = "has" if edge["certainty"] == "proved" else "seems to have (~)"
    does = "runs" if owner["running"] else "sleeps"
    waiter = tasks[edge["waiter"]]
    more = cause["waiters"] - 1
    also = f", and {more} more task{'s' * (more > 1)} with it," if more else ""
    return (
        f"{task_name(waiter)}{also} waits for the {edge['kind']} that {task_name(owner)} {sure};"
        f" that one {does} in {place(owner['place'])}."
    )


def _spins(spin: Json | None) -> str | None:
    for lock in [] if spin is None else spin["locks"]:
        if not lock["holders"]:
            continue
        holder = lock["holders"][0]
        sure = "has" if holder["certainty"] == "proved" else "seems to have (~)"
        *most, last = [f"CPU {one['cpu']}" for one in lock["spinners"]] or ["a CPU"]
        cpus = f"{', '.join(most)} and {last}" if most else last
        verb = "spins" if len(lock["spinners"]) == 1 else "spin"
        if holder["spins_itself"]:
            return f"{cpus} {verb} for a {lock['kind']} that it {sure} itself."
        who = f"CPU {holder['cpu']}, {task_name(holder)}, {sure}"
        where = f"that one was in {place(holder['place'])}"
        return f"{cpus} {verb} for a {lock['kind']} that {who}; {where}."
    return None


def _stalled(stall: Json | None) -> str | None:
    cpus = [] if stall is None else [one["line"] for one in stall["cpus"]]
    line = next((one for one in cpus if one["place"] is not None), None)
    if stall is None or line is None:
        return None
    state = {True: ", with interrupts on", False: ", with interrupts off", None: ""}
    where = f"{task_name(line)} in {place(line['place'])}{state[line['interrupts']]}"
    said = f"CPU {line['cpu']} did not get on: it was running {where}."
    polls = next((one.get("polls") for one in stall["cpus"] if one["line"] is line), None)
    return f"{said} {_polled(polls)}" if polls else said


def _polled(polls: Json) -> str:
    count = f"{polls['size']} byte{'s' * (polls['size'] > 1)}"
    ends = {"changes": "change", "is": "are"}
    verb, _, number = polls["ends"].partition(" ")
    until = f"{ends[verb]} {number}".rstrip()
    where = f"{bare(polls['address'])} ({polls['words']})"
    return f"It loops until the {count} at {where} {until}: now {int(str(polls['value']), 0)}."


def _one_has_most(oom: Json | None) -> bool:
    use = None if oom is None else oom.get("use")
    if not use or not use["total_pages"]:
        return False
    pages = [row["pages"] or 0 for row in use["consumers"]]
    return max(pages, default=0) > _HALF * float(use["total_pages"])
