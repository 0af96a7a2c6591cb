"""Kernel log text to :class:`Oops`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType

from crashkit.oops.blame import find_interrupted_trace
from crashkit.oops.context import find_context
from crashkit.oops.fields import Body, read_body
from crashkit.oops.key import key_functions, stack_key
from crashkit.oops.kinds import EXCEPTION, SYSRQ, Kind, Weight
from crashkit.oops.lines import LogText
from crashkit.oops.pasted import complete_from_bt
from crashkit.oops.problems import Problem, find_problems
from crashkit.oops.report import Section, find_sections, section_lines
from crashkit.oops.title import library_check, make_title
from crashkit.oops.trace import CodeLocation, TraceEntry
from crashkit.oops.who import LinkedModule
from crashkit.value import facts

MAX_REPORTS = 64
"""Reports of one log that are parsed in full; of more, the last ones."""

_BURST_S = 10.0
_BURST_LINES = 600
# One fault after the other within this is the consequence of the first.
_DAMAGE = ("slab-corruption", "list-corruption", "refcount", "bad-page", "usercopy")
_HANGS = ("soft-lockup", "hung-task", "rcu-stall")
_X86 = ("x86_64", "i386", None)


@facts
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
    """Kernel registers, by the names the architecture gives them (x86: the widest)."""
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
    later: tuple[Oops, ...] = ()
    """Reports printed after this one, oldest first."""
    arch: str | None = None
    """``x86_64 i386 arm arm64 powerpc s390x riscv mips …``, by the registers printed."""
    uid: int | None = None
    build: str | None = None
    """``#1``, the number that the kernel's build gave itself."""
    hardware: str | None = None
    """The line ``Hardware name:``, not escaped."""
    modules: tuple[LinkedModule, ...] | None = None
    """``Modules linked in:`` in the order printed."""
    last_unloaded: str | None = None
    """The module unloaded last."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the text: truncated, interleaved, …"""

    @property
    def stack_key(self) -> str | None:
        """The key of the printed call trace (:mod:`crashkit.oops.key`)."""
        return stack_key(key_functions(self.ip if self.arch in _X86 else None, self.trace))


def parse_reports(text: str) -> list[Oops]:
    """Parse all reports of a kernel log in the order printed: the first cause comes first."""
    log = LogText(text)
    sections = find_sections(log)
    last = sections[-1] if sections else None
    return [_parse_section(log, s, is_last=s is last) for s in sections[-MAX_REPORTS:]]


def parse_oops(text: str, *, first_cause: bool = False) -> Oops | None:
    """Parse the report that ended the kernel; the others are its ``earlier`` and ``later``.

    That is the last one that a panic followed, else the last fatal one, else the last one
    about a hang; a log with warnings alone gives the last warning. None: no report.

    :param first_cause: where one fault followed the other at once, give the first of them:
        for a log alone. A dump shows the one that ended the kernel.
    """
    reports = parse_reports(text)
    if not reports:
        return None
    last = ended_by(reports)
    chosen = _first_of_burst(reports, last) if first_cause else last
    panic = reports[chosen].panic or reports[last].panic
    return replace(
        reports[chosen],
        panic=panic,
        earlier=tuple(reports[:chosen]),
        later=tuple(reports[chosen + 1 :]),
    )


def ended_by(reports: Sequence[Oops]) -> int:
    """Choose the report that ended the kernel, or that came nearest to it: its number.

    :param reports: at least one, in the order printed
    """
    return max(range(len(reports)), key=lambda index: (_rank(reports[index]), index))


def first_cause_of(reports: Sequence[Oops]) -> int:
    """Choose the first of the faults that followed one another to the end: its number.

    :param reports: at least one, in the order printed
    """
    return _first_of_burst(reports, ended_by(reports))


def _rank(oops: Oops) -> int:
    if oops.panic is not None:
        return 3
    return 2 if oops.fatal else int(oops.kind in _HANGS)


def _first_of_burst(reports: Sequence[Oops], last: int) -> int:
    if not reports[last].fatal and reports[last].panic is None:
        # Nothing ended: the first of the reports of its weight.
        rank = _rank(reports[last])
        return next(n for n, report in enumerate(reports) if _rank(report) == rank)
    first = last
    hang = reports[last].kind in _HANGS
    for index in range(last - 1, -1, -1):
        report, after = reports[index], reports[first]
        if not _follows(report, after):
            break
        hung = hang and report.kind in _HANGS and bool(report.trace)
        if report.fatal or report.kind in _DAMAGE or hung:
            first = index
    return first


def _follows(report: Oops, after: Oops) -> bool:
    if report.time is not None and after.time is not None:
        return 0 <= after.time - report.time <= _BURST_S
    return 0 <= after.line - report.line <= _BURST_LINES


def _parse_section(log: LogText, section: Section, *, is_last: bool) -> Oops:
    text = section_lines(log, section)
    body = read_body(text.lines)
    if section.panic is not None and "in interrupt" in section.panic:
        body.who.in_interrupt = True
    kind = _kind_of(section, body)
    if section.kind is EXCEPTION:
        body, kind = complete_from_bt(log, section.start, body, kind)
    title, function = make_title(kind, section.found, body, text.lines[1:])
    row = library_check(kind, section.found, body)
    trace = find_interrupted_trace(body) if kind.kind == "rcu-stall" else None
    trace = body.trace if trace is None else trace
    who = body.who
    opening = text.lines[0]
    return Oops(
        kind=row.kind if row else _refined(kind, body),
        title=title,
        message=opening.text.strip(),
        function=function,
        fatal=section.weight is Weight.FATAL,
        line=log.given_line(section.start),
        time=opening.time,
        fault_address=body.fault_address,
        access=body.access,
        error_code=body.error_code,
        ip=body.ip,
        cpu=who.cpu,
        pid=who.pid,
        comm=who.comm,
        release=who.release,
        taint=who.taint,
        registers=MappingProxyType(body.registers),
        code=body.code.data if body.code else b"",
        trapping_byte=body.code.trapping if body.code else None,
        count=body.count,
        trace=tuple(trace),
        panic=section.panic,
        intentional=kind is SYSRQ or SYSRQ in section.also or kind.kind == "sysrq",
        context=find_context(body, trace),
        facts=MappingProxyType(_facts(section)),
        arch=body.arch,
        uid=who.uid,
        build=who.build,
        hardware=who.hardware,
        modules=who.modules,
        last_unloaded=who.last_unloaded,
        problems=find_problems(section, text, body, ends_log=is_last and section.end >= len(log)),
    )


def _kind_of(section: Section, body: Body) -> Kind:
    if body.ip is not None and body.ip.function == "sysrq_handle_crash":
        return SYSRQ
    return section.kind


def _refined(kind: Kind, body: Body) -> str:
    # Page-fault error code of x86: 1 the page was there, 2 write, 0x10 instruction fetch.
    if kind.kind != "page-fault" or body.arch not in _X86 or body.error_code is None:
        return kind.kind
    if body.error_code & 0x10:
        return "exec-fault"
    kernel = (body.fault_address or 0) >= (1 << 63 if body.arch == "x86_64" else 0xC000_0000)
    return "write-protect" if kernel and body.error_code & 3 == 3 else kind.kind


def _facts(section: Section) -> dict[str, str]:
    named = ("comm", "pid", "seconds", "where")
    groups = section.found.groupdict()
    return {key: groups[key] for key in named if groups.get(key)}
