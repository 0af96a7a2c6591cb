"""What is wrong with the text of a report: cut, mixed with others, or its beginning lost."""

from __future__ import annotations

from dataclasses import dataclass

from crashkit.oops.fields import Body
from crashkit.oops.kind import Blame
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine
from crashkit.oops.report import Section, SectionLines
from crashkit.oops.skips import compiled

_COMPLETE = (  # where a stack begins
    "entry_SYSCALL", "entry_INT80", "entry_SYSENTER", "system_call", "ret_from_", "do_syscall_64",
    "start_kernel", "start_secondary", "secondary_startup", "x86_64_start", "kernel_thread",
    "ret_fast_syscall", "el0_", "el0t_", "tracesys", "sysenter", "kthread", "rest_init",
    "cpu_startup_entry", "syscall_", "handle_sys", "cpu_idle",
)  # fmt: skip
_DROPPED = LazyPattern(r"\*\* \d{1,9} printk messages dropped|printk: \d{1,9} messages suppressed")
_ENDED = LazyPattern(
    r"---\[ end |^Modules linked in:|^Code: |Kernel panic|={20}|Kernel Offset:|"
    r"^Last Breaking-Event"
)
_ENDED_EARLY = LazyPattern(r"---\[ end |={20}")
_AFTERMATH = (
    r"^(?:Fatal exception|panic_on_warn set|Aiee, killing|Oops|"
    r"hung_task: |softlockup: )"
)
_SHORT = (Blame.NONE, Blame.WORK)
_LEAK = "memory leak"  # a few frames are kept of where it was allocated
_WORDS = {
    "truncated": "the log ends inside the report",
    "no-trace": "no call trace was printed, or it is lost",
    "headless": "the beginning of the report is lost: this line is printed after one",
    "dropped": "the console lost lines",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong with the text of a report."""

    name: str
    """``truncated``, ``no-trace``, ``headless``, ``dropped``, ``interleaved``, ``merged``."""
    statement: str


def find_problems(
    section: Section, text: SectionLines, body: Body, *, ends_log: bool
) -> tuple[Problem, ...]:
    """Name what is wrong with the text of a report.

    :param ends_log: whether the log ends with it
    """
    found: list[Problem] = []
    if ends_log and _cut(section, text.lines, body):
        found.append(_problem("truncated"))
    if section.kind.blame not in _SHORT and not body.trace:
        found.append(_problem("no-trace"))
    if section.panic is not None and not section.also and _is_aftermath(section):
        found.append(_problem("headless"))
    if any(" messages " in line.text and _DROPPED.search(line.text) for line in text.lines):
        found.append(_problem("dropped"))
    if text.foreign:
        statement = f"lines of other tasks or CPUs, told apart by their caller: {text.foreign}"
        found.append(Problem(name="interleaved", statement=statement))
    elif body.strange:
        statement = f"lines inside a call trace that are no part of it: {body.strange}"
        found.append(Problem(name="interleaved", statement=statement))
    if text.merged:
        statement = f"lines that began in the middle of another: {text.merged}"
        found.append(Problem(name="merged", statement=statement))
    return tuple(found)


def _problem(name: str) -> Problem:
    return Problem(name=name, statement=_WORDS[name])


def _is_aftermath(section: Section) -> bool:
    return bool(compiled(_AFTERMATH).search(section.panic or ""))


def _cut(section: Section, lines: list[LogLine], body: Body) -> bool:
    # The end of a stack, or what is printed after it, shows that nothing is missing.
    if section.kind.blame in _SHORT or section.panic is not None or _LEAK in section.kind.title:
        return False
    trace = body.trace
    if trace and any(entry.function.startswith(_COMPLETE) for entry in trace[-3:]):
        return False
    start = body.last_entry if trace else 0
    ended = _ENDED if trace else _ENDED_EARLY
    return not any(ended.search(line.text) for line in lines[start + 1 :])
