"""The WAITS block: chains of tasks that wait for each other, and where they end."""

from __future__ import annotations

from collections.abc import Iterator

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.text_places import callers, number, place, seconds, task_name

_SHOWN = 12
"""Chains, and tasks without one, that are printed unless more is asked for."""
_CALLERS = 3
_DEPTH = 16


def block(section: Json, _document: Json, verbose: int) -> list[str]:
    """Render the section: a cause first, under it who waits for it."""
    limit = 10**6 if verbose else _SHOWN
    tasks = {task["task"]: task for task in section["tasks"]}
    waiting = {edge["waiter"]: edge for edge in section["edges"]}
    lines = [_heading(section)]
    told: set[str] = set()
    rows: list[str] = []
    for cycle in section["cycles"]:
        if not all(task in tasks and task in waiting for task in cycle):
            rows.append(f"  DEADLOCK of {len(cycle)} tasks, of which not all are in this report")
            continue
        rows += _cycle(cycle, tasks, waiting, told)
    for cause in section["causes"]:
        rows += _cause(cause, tasks, waiting, told)
    alone = [task for task in section["tasks"] if task["task"] not in told]
    groups = _alike([task for task in alone if task["state"] == "D"])
    for group in groups[:limit]:
        rows += _alone(group)
    if len(groups) > limit:
        rows.append(f"       {len(groups) - limit} more stacks of blocked tasks   (-v)")
    return lines + rows


def _heading(section: Json) -> str:
    said = f"{section['blocked']} blocked"
    if section["not_looked_at"]:
        said += f", {section['not_looked_at']} of them not looked at"
    if len(section["tasks"]) < section["blocked"] - section["not_looked_at"]:
        said += f", the first {len(section['tasks'])} here"
    settings = section["khungtaskd"]
    if settings and settings["timeout_s"] is not None:
        said += f"; khungtaskd: after {settings['timeout_s']} s"
        said += {None: "", 0: ""}.get(settings["panic"], ", panics")
        if settings["warnings_left"] == 0:
            said += ", no warnings left"
    return f"WAITS  {said}"


def _cycle(
    cycle: list[str], tasks: dict[str, Json], waiting: dict[str, Json], told: set[str]
) -> list[str]:
    sure = all(waiting[task]["certainty"] == "proved" for task in cycle)
    names = [task_name(tasks[address]) for address in (*cycle[:_DEPTH], cycle[0])]
    head = f"  DEADLOCK{'' if sure else ' ~'}: {len(cycle)} tasks wait for each other: "
    lines = wrap(head + " -> ".join(names), WIDTH, " " * 6)
    lines[0] = "  " + lines[0].lstrip()
    if len(cycle) == 1:
        lines = ["  DEADLOCK: it waits for what it holds itself"]
    for at, address in enumerate(cycle):
        told.add(address)
        mark = "   <-- cycle" if at == len(cycle) - 1 else ""
        lines += _waiter(tasks[address], tasks, 4, tail=mark)
    for address in cycle:
        lines += _behind(address, tasks, waiting, told, 6)
    return lines


def _cause(
    cause: Json, tasks: dict[str, Json], waiting: dict[str, Json], told: set[str]
) -> list[str]:
    if cause["in_cycle"]:
        return []
    told.add(cause["task"])
    task = tasks.get(cause["task"])
    sure = "" if cause["certainty"] == "proved" else " ~"
    if task is None or not cause["known"]:
        name = number(cause["task"])
        head = [f"  {name}: no task of the dump{sure}; {cause['waiters']} wait for it"]
    else:
        said = f"  {task_name(task)}{sure} {_doing(task)}"
        head = wrap(said, WIDTH, " " * 6)
        head[0] = said[: len(said) - len(said.lstrip())] + head[0].lstrip()
    return head + _behind(cause["task"], tasks, waiting, told, 4)


def _behind(
    owner: str, tasks: dict[str, Json], waiting: dict[str, Json], told: set[str], indent: int
) -> list[str]:
    # Those that wait for it, and below each those that wait for that one.
    lines: list[str] = []
    if indent > 2 * _DEPTH:
        return lines
    mine = [tasks[w] for w, edge in waiting.items()
            if edge["owner"] == owner and w not in told and w in tasks]  # fmt: skip
    for group in _alike(mine):
        told |= {task["task"] for task in group}
        lines += _waiter(group[0], tasks, indent, alike=len(group) - 1)
        for task in group:
            lines += _behind(task["task"], tasks, waiting, told, indent + 2)
    return lines


def _waiter(
    task: Json, tasks: dict[str, Json], indent: int, *, alike: int = 0, tail: str = ""
) -> list[str]:
    wait = task["wait"]
    more = f" and {alike} like it," if alike else ""
    said = f"{task_name(task)}{more} {task['state']} {seconds(task['seconds'])}  {_on(wait)}"
    if wait["owner"] is not None:
        owner = tasks.get(wait["owner"])
        name = f"task {number(wait['owner'])}" if owner is None else task_name(owner)
        inferred = "" if wait["owner_certainty"] == "proved" else "~"
        said += f" {_holds(wait)} {name}{inferred}"
    said += f"  in {place(task['place'])}{tail}"
    return wrap(said, WIDTH, " " * (indent + 4), " " * indent)


def _holds(wait: Json) -> str:
    if wait["lock"] is None:
        return "of" if wait["kind"] in ("thread", "vfork child") else "run by"
    held = wait["lock"]["held"]
    return f"held for {held} by" if held in ("read", "write") else "held by"


def _on(wait: Json) -> str:
    if wait["kind"] is None:
        return "on what: not known"
    said = str(wait["kind"])
    if wait["wants"]:
        said += f" ({wait['wants']})"
    if wait["address"] is not None and wait["kind"] != "time":
        said += f" {number(wait['address'])}{'' if wait['certainty'] == 'proved' else '~'}"
    lock = wait["lock"]
    if lock is not None and lock["name"]:
        said += f" ({lock['name']})"
    return said


def _doing(task: Json) -> str:
    where = place(task["place"]) + callers(task["callers"][:_CALLERS])
    if task["running"]:
        return f"runs on CPU {task['cpu']}: {where}"
    if task["state"] == "R":
        return f"could run, CPU {task['cpu']} does not: {where}"
    wait = task["wait"]
    on = "" if wait is None else f" on {_on(wait)}" if wait["kind"] else ""
    return f"{task['state']} {seconds(task['seconds'])}{on}: {where}"


def _alone(group: list[Json]) -> list[str]:
    task = group[0]
    more = f" and {len(group) - 1} like it," if len(group) > 1 else ""
    said = f"{task_name(task)}{more} {_doing(task)}"
    return wrap(said, WIDTH, " " * 6, "  ")


def _alike(tasks: list[Json]) -> list[list[Json]]:
    groups: dict[tuple[object, ...], list[Json]] = {}
    for task in tasks:
        groups.setdefault(tuple(_key(task)), []).append(task)
    return list(groups.values())


def _key(task: Json) -> Iterator[object]:
    wait = task["wait"] or {"kind": None, "address": None, "owner": None}
    yield from (task["state"], wait["kind"], wait["owner"], place(task["place"]))
    yield wait["address"] if wait.get("lock") else None
