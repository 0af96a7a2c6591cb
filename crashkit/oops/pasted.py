"""A stack pasted from crash(8): its ``bt`` prints frames in a form of its own."""

from __future__ import annotations

import re
from dataclasses import replace

from crashkit.oops.fields import Body, Trace
from crashkit.oops.kind import Kind
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogText
from crashkit.oops.trace import CodeLocation, TraceEntry

_FRAME = LazyPattern(
    r"^\s{0,4}#\s{0,2}\d{1,3} \[[0-9a-f]{6,16}\] (?P<function>[A-Za-z_.][\w.]{0,127})"
    r"(?:\+(?P<offset>\d{1,9}))? at (?P<address>[0-9a-f]{6,16})(?: \[(?P<module>[\w-]{1,64})\])?"
)
_EXCEPTION = LazyPattern(
    r"^\s{0,8}\[exception RIP: (?P<function>[A-Za-z_.][\w.]{0,127})(?:\+(?P<offset>\d{1,9}))?\]"
)
_TASK = LazyPattern(
    r"PID: (?P<pid>\d{1,9}) {1,8}TASK: [0-9a-f]{8,16} {1,4}CPU: (?P<cpu>\d{1,5}) {1,4}"
    r'COMMAND: "(?P<comm>.{0,16})"'
)
_REGISTER = LazyPattern(
    r"\b(?P<name>R(?:[A-D]X|[SD]I|[BSI]P|\d\d|FLAGS)): (?P<value>[0-9a-f]{16})\b"
)
_NEAR = 60
_MAX_FRAMES = 256
_KINDS = (  # the function that the exception entered (arch/x86/entry)
    (r"page_fault", "page-fault", "BUG: unable to handle kernel paging request"),
    (r"general_protection", "general-protection", "general protection fault"),
    (r"invalid_op", "invalid-opcode-bug", "kernel BUG"),
    (r"divide_error", "divide-error", "divide error"),
    (r"double_fault", "double-fault", "PANIC: double fault"),
    (r"\bnmi|end_repeat_nmi", "nmi", "NMI"),
    (r"machine_check", "machine-check", "kernel panic: Machine check"),
)  # fmt: skip


def complete_from_bt(log: LogText, line: int, body: Body, kind: Kind) -> tuple[Body, Kind]:
    """Read the ``bt`` around an ``[exception RIP:`` line.

    crash prints the frames of the panic above it and the interrupted ones below.

    :param line: number of that line
    :returns: the facts, and the kind as far as the frame above says it
    """
    body.arch = "x86_64"
    above: str | None = None
    for number in range(line - 1, max(-1, line - _NEAR), -1):
        text = log.line(number).text
        if above is None and (frame := _FRAME.match(text)):
            above = frame["function"]
        if task := _TASK.search(text):
            body.who.pid, body.who.cpu = int(task["pid"]), int(task["cpu"])
            body.who.comm = task["comm"]
            break
    entries = _below(log, line, body)
    body.traces = [Trace("bt", entries)]
    for pattern, name, title in _KINDS:
        if above is not None and re.search(pattern, above):
            return body, replace(kind, kind=name, title=title + " in {function}")
    return body, kind


def _below(log: LogText, line: int, body: Body) -> list[TraceEntry]:
    body.registers.clear()
    entries: list[TraceEntry] = []
    found = _EXCEPTION.match(log.line(line).text)
    if found is not None:
        offset = int(found["offset"]) if found["offset"] else None
        body.ip = CodeLocation(
            function=found["function"], offset=offset, size=None, module=None, address=None
        )
    for number in range(line + 1, min(len(log), line + _MAX_FRAMES)):
        text = log.line(number).text
        frame = _FRAME.match(text)
        if frame is None:
            if entries and text and not text[0].isspace():
                break
            if not entries:
                _registers(text, body)
            continue
        entries.append(_entry(frame))
    if entries and body.ip is not None and entries[0].function == body.ip.function:
        first = entries.pop(0)
        body.ip = replace(body.ip, address=first.address, module=first.module)
    return entries


def _registers(text: str, body: Body) -> None:
    for found in _REGISTER.finditer(text):
        name = found["name"].lower()
        name = "r" + name[2:] if re.fullmatch(r"r0\d", name) else name
        body.registers.setdefault(name, int(found["value"], 16))


def _entry(frame: re.Match[str]) -> TraceEntry:
    return TraceEntry(
        function=frame["function"],
        offset=int(frame["offset"]) if frame["offset"] else None,
        size=None,
        module=frame["module"],
        address=int(frame["address"], 16),
        reliable=True,
        inlined=False,
        segment="task",
    )
