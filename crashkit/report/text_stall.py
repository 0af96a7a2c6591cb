"""The STALL block: which CPU or reader does not get on, since when, and where it is."""

from __future__ import annotations

from crashkit.report.columns import WIDTH, wrap
from crashkit.report.parts import Json
from crashkit.report.text_places import callers, place, seconds, task_name

_CALLERS = 3


def block(section: Json, _document: Json, _verbose: int) -> list[str]:
    """Render the section."""
    lines = wrap(_heading(section), WIDTH, " " * 7, "STALL  ")
    for entry in section["cpus"]:
        lines += _cpu(entry, section)
    for reader in section["readers"]:
        lines += wrap(f"reader {_task(reader)}", WIDTH, " " * 9, " " * 4)
    thread = section["gp_kthread"]
    if thread is not None:
        lines += wrap(f"RCU's thread {_task(thread)}{_starved(section)}", WIDTH, " " * 9, " " * 4)
    return lines


def _heading(section: Json) -> str:
    rcu, settings, lockup = section["rcu"], section["settings"], section["lockup"]
    said = section["kind"]
    if lockup is not None and lockup["seconds"] is not None:
        said += f": CPU {lockup['cpu']} for {lockup['seconds']} s"
    elif lockup is not None:
        said += f": CPU {lockup['cpu']}"
    if rcu is not None and rcu["running_s"] is not None:
        running = "grace period runs for" if rcu["in_progress"] else "last grace period began"
        said += f": {rcu['name'] or 'RCU'}, {running} {seconds(rcu['running_s'])}"
        said += "" if rcu["in_progress"] else " ago"
        if rcu["timeout_s"] is not None:
            said += f" (reported after {rcu['timeout_s']} s)"
    if rcu is None and settings is not None and settings["watchdog_thresh_s"] is not None:
        said += f"; watchdog_thresh {settings['watchdog_thresh_s']} s"
    return str(said)


def _cpu(entry: Json, section: Json) -> list[str]:
    line = entry["line"]
    said = f"CPU {line['cpu']} {task_name(line)} {line['context'] or '?'}"
    said += {True: ", interrupts on", False: ", INTERRUPTS OFF", None: ""}[line["interrupts"]]
    count = line["preempt_count"]
    if count is not None and count["preempt"] and line["panicked"] is False:
        said += f", preempt {count['preempt']}"
    if entry["since_s"] is not None and section["rcu"] is None:
        said += f", watchdog last ran {seconds(entry['since_s'])} ago"
    said += f": {place(line['place'])}{callers(line['callers'][:_CALLERS])}"
    if entry["rcu"] is not None:
        said += _rcu(entry["rcu"])
    return wrap(said, WIDTH, " " * 9, " " * 4)


def _rcu(rcu: Json) -> str:
    facts = [] if rcu["holds_up"] else ["no longer held up"]
    if rcu["ticks"] is not None:
        facts.append(f"{rcu['ticks']} ticks in this period")
    if rcu["sees_period"] is False:
        facts.append("has not noted it")
    return f"  ({', '.join(facts)})" if facts else ""


def _task(task: Json) -> str:
    where = place(task["place"]) + callers(task["callers"][:_CALLERS])
    state = "runs" if task["running"] else f"{task['state'] or '?'} {seconds(task['seconds'])}"
    return f"{task_name(task)} CPU {task['cpu']} {state}: {where}"


def _starved(section: Json) -> str:
    printed = section["printed"]
    ticks = None if printed is None else printed["starved_ticks"]
    return "" if ticks is None else f"  STARVED for {ticks} jiffies"
