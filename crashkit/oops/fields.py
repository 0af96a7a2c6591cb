"""The facts in the body of one report: who ran where, registers, code bytes, addresses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crashkit.oops.arches import (
    ARCHES,
    Arch,
    find_arch,
    find_place,
    read_registers,
    read_row,
)
from crashkit.oops.code import CodeBytes, read_code, read_more_code
from crashkit.oops.lazy import LazyPattern
from crashkit.oops.lines import LogLine
from crashkit.oops.trace import CodeLocation, TraceEntry, TraceReader, find_location
from crashkit.oops.who import Who

MAX_TRACES = 64
"""Traces of one report that are kept (stalls print one for each CPU)."""

_ADDRESS = LazyPattern(
    r"(?:dereference, address: |for address: |dereference at |request at |virtual address |"
    r"user memory at |non-canonical address |user address |maybe for address |for data at address |"
    r"for instruction fetch|data access at |instruction fetch at |Failing address: |badaddr: |"
    r"fault address |on address )"
    r" {0,16}(?:0x)?(?P<address>[0-9a-f]{1,16}\b|\(null\)|<null>|NULL\b)"
)
_ADDRESS_WORDS = ("address", "dereference", "request", "memory at", "access at", "fetch", "badaddr")
_ACCESS = LazyPattern(
    r"#PF: (?P<mode>supervisor|user) (?P<access>read access|write access|instruction fetch)"
)
_ESR = LazyPattern(r"\bWnR = (?P<write>[01])\b|\bEC = 0x[0-9a-f]{2}: (?P<exec>IABT)")
_ERROR_CODE = LazyPattern(r"(?:Oops: |error_code\(0x|page fault: |fault: )(?P<code>[0-9a-f]{4})\b")
_ARM_CODE = LazyPattern(r"Internal error: Oops[^:]{0,60}: (?P<code>[0-9a-f]{1,16}) \[#")
_COUNT = LazyPattern(
    r"(?:Oops|fault|error|opcode|segment|overflow|BUG|code|DIE|[Dd]ie).{0,160}\[#(?P<count>\d{1,4})\]"
)
_RIP = LazyPattern(
    r"\b(?P<name>[RE]?IP): {1,4}(?:(?P<cs>[0-9a-f]{4}):)?"
    r"(?:\[<(?P<old>[0-9a-f]{8,16})>\]|0x(?P<raw>[0-9a-f]{1,16})\b|(?P<null> {0,2}\(null\)))?"
)
_ARM_PC = LazyPattern(
    r"^pc : \[<(?P<address>[0-9a-f]{8,16})>\]|^(?:pc|epc) : (?=[A-Za-z_])|PC is at "
)
_TRACE_START = LazyPattern(
    r"Call [Tt]race:|(?:^|\s)(?:Call [Tt]race|Stack [Tt]race|Backtrace|"
    r"backtrace(?: \(crc [0-9a-f]{1,16}\))?|Stack backtrace)\s?:|^ ?>>EIP; "
)
_LONE_ENTRY = LazyPattern(
    r"^ {1,2}[A-Za-z_][\w.]{0,127}\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}(?:\s|$)|"
    r"^(?: [\w.]{1,128}|\[<[0-9a-f]{8}>\] \([^()]{1,160}\))(?: \[[\w-]{1,64}\])? from "
    r"[\[A-Za-z_(]"
)
_BARE_ENTRY = LazyPattern(r"^\[<[0-9a-f]{8,16}>\] [A-Za-z_][\w.]{0,127}\+0x")
_IMPLICIT = LazyPattern(
    r"^BUG: K(?:FENCE|MSAN|CSAN): |^(?:[A-Z][\w -]{1,40} at|Corrupted memory at) 0x|"
    r"^status: [0-9a-f]{8,16} badaddr: "
)
# Reports whose trace has no heading.
_OTHER_STACKS = (
    "llocated by", "llocated in", "reed by", "reed in", "Allocated:", "Freed:",
    "Uninit was", "page last ", "Local variable", "Last potentially related",
    "Last Breaking-Event", "which became", "created by:", "he existing dependency",
    "state was registered at", "FAULT_INJECTION", "Object allocated", "the dependencies between",
    "returned from:",
)  # fmt: skip
# Headings of stacks that are not the report's own: of an allocation, of another lock.
_NUMBERED = LazyPattern(r"#\d{1,3} \(|-> #\d|====|kfence-#")


def is_other_stack(heading: str) -> bool:
    """Tell whether a line heads a stack that is not the report's own."""
    if heading.startswith(("#", "-> #", "====", "kfence-#")) and _NUMBERED.match(heading):
        return True
    return any(words in heading for words in _OTHER_STACKS)


_AT = LazyPattern(
    r"\bat:? (?:\[<[0-9a-f]{8,16}>\] {0,8})?(?P<function>[A-Za-z_.][\w.]{0,127})(?:\+0x|$)|"
    r"^\[<[0-9a-f]{8,16}>\] (?P<bare>[A-Za-z_.][\w.]{0,127})\+0x"
)
_WORK = LazyPattern(r"last function: (?P<function>[A-Za-z_][\w.]{0,127})")
_INSIDE = LazyPattern(
    r"\s*(?:(?:RIP|EIP|R[A-D]X|R\d\d|R[SB]P|E[A-DS][XP]|ORIG_RAX|Code|[CDEFS]S|CR2|[A-Z]?DR\d):|"
    r"(?:\(?\[<?[0-9a-f]{8,16}>?\]\)? {0,2}){0,2}(?:\? )?0x[0-9a-f]{4,16}\)?(?: \(unreliable\))?$|"
    r"(?:pc|sp|lr|x\d\d?|r\d\d?|pstate) ?: |={5}|Exception stack|[0-9a-f]{4}: |r\d{1,2}:|--- )"
)
# Lines between the entries of one stack: the registers of an interrupted frame.
_USER_RPL = 3
_KERNEL_BIT = 63
"""Set in the kernel's addresses of every 64-bit architecture that keeps user space below."""


@dataclass
class Trace:
    """One printed stack."""

    heading: str
    """The line above it."""
    entries: list[TraceEntry]
    marked: bool = False
    """Whether the kernel marked the stacks it runs through."""
    lone: bool = False
    """Whether nothing above it says that a stack begins."""
    places: dict[int, str] = field(default_factory=dict)
    """Functions that only a register dump inside the trace names, by number of the entry
    they stand before."""


@dataclass
class Body:
    """Facts collected from the lines of one report; None or empty where not printed."""

    who: Who = field(default_factory=Who)
    arch: str | None = None
    fault_address: int | None = None
    access: str | None = None
    user_mode: bool | None = None
    error_code: int | None = None
    ip: CodeLocation | None = None
    registers: dict[str, int] = field(default_factory=dict)
    code: CodeBytes | None = None
    count: int | None = None
    """Number of this oops since boot (``[#1]``)."""
    traces: list[Trace] = field(default_factory=list)
    """In the order printed; those of allocation and freeing among them."""
    held: list[tuple[int, str]] = field(default_factory=list)
    """Lines (number in the report) and functions of ``at: function``."""
    work: str | None = None
    """``last function:`` of a work item."""
    last_entry: int = 0
    """Number of the line with the last entry of a stack."""
    strange: int = 0
    """Lines inside a stack that are no part of it."""

    @property
    def trace(self) -> list[TraceEntry]:
        """The first stack that is the report's own."""
        own = [
            trace for trace in self.traces if trace.entries and not is_other_stack(trace.heading)
        ]
        own.sort(key=lambda trace: trace.lone)
        return own[0].entries if own else []


class _Reader:
    # Feeds lines to a Body; registers printed for user mode are not the kernel's.
    def __init__(self) -> None:
        self.body = Body()
        self._user = False
        self._seen = False  # registers of the interrupted kernel code are complete
        self._reader: TraceReader | None = None
        self._arch: Arch | None = None
        self._heading = ""
        self._rows = 0
        self._dump = False  # within powerpc's instruction dump
        self._strange = 0

    def feed(self, number: int, line: str) -> None:
        if self._traced(line):
            self.body.last_entry = number
            return
        body = self.body
        body.who.feed(line)
        if self._arch is None and ":" in line and (arch := find_arch(line)):
            self._arch, body.arch = arch, arch.name
        _address(body, line)
        self._place(line)
        if not self._user:
            self._registers(line)
            self._code(line)
        if ("at" in line or line.startswith("[<")) and (found := _AT.search(line)):
            body.held.append((number, found["bare"] or found["function"]))
        if body.work is None and "last function" in line and (found := _WORK.search(line)):
            body.work = found["function"]

    def _traced(self, line: str) -> bool:
        # Whether the line is part of a stack, or begins one.
        start = _TRACE_START.search(line) if "race" in line or ">EIP; " in line else None
        if start is not None:
            self._begin(line)
            assert self._reader is not None
            self._reader.feed(line if line.startswith(">>") else line[start.end() :])
            return True
        if self._reader is not None and self._reader.feed(line):
            self.body.traces[-1].marked = self._reader.marked
            if not is_other_stack(self.body.traces[-1].heading):
                self.body.strange += self._strange
            self._strange = 0
            return True
        if self._is_lone(line):
            self._begin(self._heading)
            assert self._reader is not None
            self.body.traces[-1].lone = not self._implicit()
            return self._reader.feed(line)
        if line and not line.isspace():
            self._heading = line
            self._strange += not _INSIDE.match(line)
            if is_other_stack(line):
                self._begin(line)
        return False

    def _is_lone(self, line: str) -> bool:
        if "+0x" not in line and " from " not in line:
            return False
        if _LONE_ENTRY.match(line):
            return self._reader is None or self._implicit()
        return self._implicit() and bool(_BARE_ENTRY.match(line))

    def _implicit(self) -> bool:
        heading = self._heading
        may_be = heading.startswith(("BUG: K", "status: ")) or " at 0x" in heading
        return may_be and bool(_IMPLICIT.search(heading))

    def _begin(self, heading: str) -> None:
        # "Call Trace:" under "Uninit was stored to memory at:" is that stack.
        if self.body.traces and not self.body.traces[-1].entries:
            heading = self.body.traces.pop().heading + heading
        self._reader, self._strange = TraceReader(), 0
        if len(self.body.traces) < MAX_TRACES:
            self.body.traces.append(Trace(heading, self._reader.entries))
        else:
            self._reader.entries = []

    def _place(self, line: str) -> None:
        body = self.body
        found = _RIP.search(line) if "IP: " in line else None
        if found is None:
            self._other_place(line)
            return
        user = found["cs"] is not None and int(found["cs"], 16) & 3 == _USER_RPL
        if found["cs"] is not None or found["name"] != "IP":
            self._user = user
            self._seen = body.ip is not None and self._seen
        place = find_location(line[found.start() :])
        raw = found["old"] or found["raw"] or ("0" if found["null"] else None)
        if user or (place is None and raw is None):
            return
        if self._reader is not None and place is not None and place.function:
            trace = self.body.traces[-1]
            trace.places.setdefault(len(trace.entries), place.function)
        if body.ip is None:
            body.ip = _located(place, int(raw, 16) if raw else None)
        elif found["cs"] is not None and body.registers:
            self._user = True  # registers of another place in the trace

    def _other_place(self, line: str) -> None:
        body = self.body
        if body.ip is not None and body.ip.function is not None:
            return
        if self._arch is not None and self._arch.name != "x86_64":
            place = find_place(self._arch, line)
            if place is not None:
                body.ip = _located(place, body.ip.address if body.ip else None)
                return
        if found := _ARM_PC.search(line):
            raw = found["address"]
            place = find_location(line[found.start() :])
            if place or raw:
                body.ip = _located(place, int(raw, 16) if raw else None)

    def _registers(self, line: str) -> None:
        if self._arch is None:
            return
        known = self.body.registers
        for name, value in read_registers(self._arch, line):
            known.setdefault(name, value)
        if self._arch.name in ("powerpc", "s390x", "mips"):
            for name, value in read_row(line, self._rows):
                self._rows += name[0] in "r$"
                known.setdefault(name, value)

    def _code(self, line: str) -> None:
        body = self.body
        if body.code is None or not body.code.data:
            if "Code: " in line or "nstruction " in line:
                body.code = read_code(line, body.arch)
                self._dump = "nstruction " in line
                if self._dump and body.code is None:
                    body.code = CodeBytes(data=b"", trapping=None)
            elif self._dump:
                body.code = read_more_code(line, body.arch) or body.code
        elif self._dump and (more := read_more_code(line, body.arch)):
            size = len(body.code.data)
            trapping = body.code.trapping
            if trapping is None and more.trapping is not None:
                trapping = size + more.trapping
            body.code = CodeBytes(data=body.code.data + more.data, trapping=trapping)


def _located(place: CodeLocation | None, address: int | None) -> CodeLocation:
    return CodeLocation(
        function=place.function if place else None,
        offset=place.offset if place else None,
        size=place.size if place else None,
        module=place.module if place else None,
        address=address,
    )


def read_body(lines: Iterable[LogLine]) -> Body:
    """Collect the facts in the lines of one report."""
    reader = _Reader()
    for number, line in enumerate(lines):
        reader.feed(number, line.text)
    body = reader.body
    _finish(body)
    return body


def _finish(body: Body) -> None:
    arch = next((arch for arch in ARCHES if arch.name == body.arch), None)
    if arch is not None and body.fault_address is None and arch.fault_register not in (None, "cr2"):
        body.fault_address = body.registers.get(arch.fault_register or "")
    if arch is not None and arch.name != "x86_64":
        address = body.registers.get(arch.pc)
        if body.ip is not None and body.ip.address is None and address is not None:
            body.ip = _located(body.ip, address)
        elif body.ip is None and address is not None and address >> _KERNEL_BIT:
            body.ip = _located(None, address)  # a kernel without symbols
    if body.access is None and body.error_code is not None and body.fault_address is not None:
        body.access = _access_of(body.arch, body.error_code)


def _access_of(arch: str | None, error_code: int) -> str | None:
    if arch in ("x86_64", "i386", None):
        # Page-fault error code (SDM vol. 3, 4.7): bit 1 write, bit 4 instruction fetch.
        if error_code & 0x10:
            return "exec"
        return "write" if error_code & 0x2 else "read"
    if arch == "arm":
        return "write" if error_code & 1 << 11 else "read"  # DFSR.WnR
    if arch == "arm64":
        exception = error_code >> 26 & 0x3F  # ESR_EL1.EC: 0x20, 0x21 instruction, 0x24, 0x25 data
        if exception in (0x20, 0x21):
            return "exec"
        return "write" if error_code & 1 << 6 else "read"  # ISS.WnR
    return None


def _error_code(body: Body, line: str) -> None:
    if found := _ERROR_CODE.search(line) or _ARM_CODE.search(line):
        body.error_code = int(found["code"], 16)


def _address(body: Body, line: str) -> None:
    if body.count is None and "[#" in line and (found := _COUNT.search(line)):
        body.count = int(found["count"])
    if body.error_code is None and ("ault: " in line or "Oops" in line or "error_code" in line):
        _error_code(body, line)
    if body.access is None and ("#PF: " in line or "WnR" in line or "EC = " in line):
        if found := _ACCESS.search(line):
            words = {"read access": "read", "write access": "write", "instruction fetch": "exec"}
            body.access, body.user_mode = words[found["access"]], found["mode"] == "user"
        elif found := _ESR.search(line):
            body.access = "exec" if found["exec"] else ("read", "write")[int(found["write"])]
    if (
        body.fault_address is None
        and any(word in line for word in _ADDRESS_WORDS)
        and (found := _ADDRESS.search(line))
    ):
        text = found["address"]
        body.fault_address = 0 if "ull" in text or text == "NULL" else int(text, 16)
