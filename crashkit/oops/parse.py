"""Kernel log text to :class:`Oops`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from crashkit.oops.fields import Body, read_body
from crashkit.oops.key import key_functions, stack_key
from crashkit.oops.kinds import SYSRQ, Weight
from crashkit.oops.lines import LogText
from crashkit.oops.report import Section, find_sections
from crashkit.oops.title import make_title
from crashkit.oops.trace import CodeLocation, TraceEntry

MAX_REPORTS = 64
"""Reports of one log that are parsed in full; of more, the last ones."""

_SOFTIRQ = re.compile(r"^(?:__do_softirq|handle_softirqs|do_softirq|net_rx_action|tasklet_action)")


@dataclass(frozen=True, kw_only=True)
class Oops:
    """One report of the kernel about itself, as far as its text says. None: not printed."""

    kind: str
    """``panic.kind`` of the report document."""
    title: str
    """The title in syzkaller's grammar."""
    message: str
    """The opening line as printed, prefix stripped, not escaped."""
    function: str | None
    """The function the title names."""
    fatal: bool
    """Whether the task or the kernel ends with it, not a mere warning."""
    line: int
    """Number of the opening line in the log, from 0."""
    time: float | None
    """Seconds since boot."""
    fault_address: int | None
    access: str | None
    """``read``, ``write`` or ``exec``."""
    error_code: int | None
    """The CPU's page-fault error code."""
    ip: CodeLocation | None
    """The interrupted kernel instruction."""
    cpu: int | None
    pid: int | None
    comm: str | None
    """Not escaped."""
    release: str | None
    taint: tuple[str, ...] | None
    """Letters without ``G``; empty: not tainted."""
    registers: Mapping[str, int]
    """Kernel registers by full 64-bit name."""
    code: bytes
    """The bytes of the ``Code:`` line; may be empty."""
    trapping_byte: int | None
    """Index in ``code`` of the faulting instruction."""
    count: int | None
    """``[#1]``: number of this oops since boot."""
    trace: tuple[TraceEntry, ...]
    """The printed call trace, innermost first."""
    panic: str | None
    """The reason of the panic that ended the kernel with this report."""
    intentional: bool
    """A person asked for the crash (sysrq)."""
    context: str | None
    """``process``, ``softirq``, ``hardirq`` or ``nmi``; None without a trace."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What the opening line names besides: ``comm``, ``pid``, ``seconds``, ``where``."""
    earlier: tuple[Oops, ...] = ()
    """Reports printed before this one, oldest first."""

    @property
    def stack_key(self) -> str | None:
        """The key of the printed call trace (:mod:`crashkit.oops.key`)."""
        return stack_key(key_functions(self.ip, self.trace))


def parse_reports(text: str) -> list[Oops]:
    """Parse all reports of a kernel log in the order printed."""
    log = LogText(text)
    return [_parse_section(log, section) for section in find_sections(log)[-MAX_REPORTS:]]


def parse_oops(text: str) -> Oops | None:
    """Parse the report that ended the kernel; the others are its ``earlier``.

    That is the last one that a panic followed, else the last fatal one, else the last one
    about a hang; a log with warnings alone gives the last warning. None: no report.
    """
    reports = parse_reports(text)
    if not reports:
        return None
    last = max(range(len(reports)), key=lambda index: (_rank(reports[index]), index))
    return replace(reports[last], earlier=tuple(reports[:last]))


def _rank(oops: Oops) -> int:
    if oops.panic is not None:
        return 3
    return 2 if oops.fatal else int(oops.kind in ("soft-lockup", "hung-task", "rcu-stall"))


def _parse_section(log: LogText, section: Section) -> Oops:
    lines = log.lines(section.start, section.end)
    body = read_body(lines)
    kind = section.kind
    if body.ip is not None and body.ip.function == "sysrq_handle_crash":
        kind = SYSRQ
    title, function = make_title(kind, section.found, body, lines[1:])
    facts = {
        key: value
        for key, value in section.found.groupdict().items()
        if value and key not in ("function", "what", "trap")
    }
    return Oops(
        kind=kind.kind,
        title=title,
        message=lines[0].text,
        function=function,
        fatal=section.weight is Weight.FATAL,
        line=section.start,
        time=lines[0].time,
        fault_address=body.fault_address,
        access=body.access,
        error_code=body.error_code,
        ip=body.ip,
        cpu=body.cpu,
        pid=body.pid,
        comm=body.comm,
        release=body.release,
        taint=body.taint,
        registers=MappingProxyType(body.registers),
        code=body.code,
        trapping_byte=body.trapping_byte,
        count=body.count,
        trace=tuple(body.trace),
        panic=section.panic,
        intentional=kind is SYSRQ or SYSRQ in section.also or kind.kind == "sysrq",
        context=_context(body),
        facts=MappingProxyType(facts),
    )


def _context(body: Body) -> str | None:
    if not body.trace:
        return None
    segment = body.trace[0].segment
    if segment == "nmi":
        return "nmi"
    if segment == "irq":
        in_irq = (entry for entry in body.trace if entry.segment == "irq")
        soft = any(_SOFTIRQ.match(entry.function) for entry in in_irq)
        return "softirq" if soft else "hardirq"
    return "process"
