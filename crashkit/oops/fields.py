"""The facts in the body of one report: who ran where, registers, code bytes, addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from crashkit.oops.lines import LogLine
from crashkit.oops.trace import CodeLocation, TraceEntry, TraceReader, find_location

_WHO = re.compile(
    r"CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,9}) Comm: (?P<comm>.{0,16}?) "
    r"(?:Kdump: loaded )?(?:Not tainted|Tainted: (?P<taint>[A-Z -]{1,64}?)) {1,3}"
    r"(?P<release>\d[\w.+~-]{2,64}) #"
)
_WHO_OLD = re.compile(
    r"Pid: (?P<pid>\d{1,9}), comm: (?P<comm>.{0,16}?) "
    r"(?:Not tainted|Tainted: (?P<taint>[A-Z -]{1,64}?)) {1,3}(?P<release>\d[\w.+~-]{2,64}) #"
)
_CPU_ONLY = re.compile(
    r"CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,9}) Comm: (?P<comm>\S{1,16})"
)
_WARNING_CPU = re.compile(r"CPU: (?P<cpu>\d{1,5}) PID: \d{1,9}|CPU#(?P<cpu2>\d{1,5})")
_ADDRESS = re.compile(
    r"(?:dereference, address: |for address: |dereference at |request at |virtual address |"
    r"user memory at |non-canonical address |user address |maybe for address )"
    r"(?:0x)?(?P<address>[0-9a-f]{1,16}\b|\(null\)|<null>)"
)
_ACCESS = re.compile(
    r"#PF: (?P<mode>supervisor|user) (?P<access>read access|write access|instruction fetch)"
)
_ERROR_CODE = re.compile(r"(?:Oops: |error_code\(0x)(?P<code>[0-9a-f]{4})\b")
_RIP = re.compile(
    r"\b[RE]?IP: (?:(?P<cs>[0-9a-f]{4}):)?"
    r"(?:\[<(?P<old>[0-9a-f]{8,16})>\]|0x(?P<raw>[0-9a-f]{1,16})\b)?"
)
_ARM_PC = re.compile(r"\bpc ?(?:is at|:) \S|\bPC is at \S")
_REGISTER = re.compile(
    r"\b(?P<name>R[A-D]X|R[SD]I|R[BS]P|R\d\d|CR[0234]|EFLAGS|ORIG_RAX): "
    r"(?:(?P<selector>[0-9a-f]{4}):)?(?P<value>[0-9a-f]{8,16})\b"
)
_CODE = re.compile(r"\bCode: (?P<bytes>(?:[<(]?[0-9a-f]{2}[>)]? ){3,160}[<(]?[0-9a-f]{2}[>)]?)")
_COUNT = re.compile(
    r"(?:Oops|fault|error|opcode|segment|overflow|BUG).{0,120}\[#(?P<count>\d{1,4})\]"
)
_TRACE_START = re.compile(
    r"^\s{0,4}(?:Call [Tt]race|Stack(?: trace)?|Backtrace|backtrace):|Call Trace:$"
)
_AFTER_TRACE = re.compile(
    r"---\[ end|Modules linked in|Call [Tt]race:|(?:Allocated|Freed) (?:by|in)|buggy address|"
    r"Memory state|Kernel panic|NMI backtrace|Sending NMI|Showing (?:all|busy)|Kernel Offset|====|"
    r"Uninit was|Local variable|other info that|locks? held by"
)
_MAX_STRANGE = 8
_INSIDE = re.compile(
    r"\s*(?:$|(?:RIP|EIP|R[A-D]X|R\d\d|R[SB]P|ORIG_RAX|Code|CS|FS|CR2|[A-Z]?DR0):)"
)
# Lines between the entries of one trace: the registers of an interrupted frame.
_NAMES = {"EFLAGS": "rflags", "ORIG_RAX": "orig_rax"}
_USER_RPL = 3


@dataclass
class Body:
    """Facts collected from the lines of one report; None or empty where not printed."""

    cpu: int | None = None
    pid: int | None = None
    comm: str | None = None
    release: str | None = None
    taint: tuple[str, ...] | None = None
    """Letters, without ``G`` (which says: no proprietary module)."""
    fault_address: int | None = None
    access: str | None = None
    user_mode: bool | None = None
    error_code: int | None = None
    ip: CodeLocation | None = None
    registers: dict[str, int] = field(default_factory=dict)
    code: bytes = b""
    trapping_byte: int | None = None
    """Index in ``code`` of the first byte of the faulting instruction."""
    count: int | None = None
    """Number of this oops since boot (``[#1]``)."""
    trace: list[TraceEntry] = field(default_factory=list)


class _Reader:
    # Feeds lines to a Body; registers printed for user mode are not the kernel's.
    def __init__(self) -> None:
        self.body = Body()
        self._user = False
        self._reader: TraceReader | None = None
        self._ended = False
        self._strange = 0

    def _ends_trace(self, line: str) -> bool:
        # Consoles interleave lines of other CPUs and programs with a trace.
        if self._reader is None or not self._reader.entries or _INSIDE.match(line):
            return False
        self._strange += 1
        return self._strange > _MAX_STRANGE or bool(_AFTER_TRACE.search(line))

    def feed(self, line: str) -> None:
        if self._reader is not None and not self._ended:
            if self._reader.feed(line):
                self._strange = 0
                return
            self._ended = self._ends_trace(line)
        elif _TRACE_START.match(line) and not self.body.trace:
            self._reader = TraceReader()
            self.body.trace = self._reader.entries
            self._reader.feed(line.partition(":")[2])
            return
        for step in (_who, _address, self._ip, self._registers):
            step(self.body, line)
        if not self._user:
            _code(self.body, line)

    def _ip(self, body: Body, line: str) -> None:
        found = _RIP.search(line)
        if found is None:
            if body.ip is None and _ARM_PC.search(line):
                body.ip = find_location(line)
            return
        self._user = found["cs"] is not None and int(found["cs"], 16) & 3 == _USER_RPL
        if self._user or body.ip is not None:
            return
        raw = found["old"] or found["raw"]
        place = find_location(line[found.start() :])
        address = int(raw, 16) if raw else None
        if place is None and address is None:
            return
        body.ip = CodeLocation(
            function=place.function if place else None,
            offset=place.offset if place else None,
            size=place.size if place else None,
            module=place.module if place else None,
            address=address,
        )

    def _registers(self, body: Body, line: str) -> None:
        if self._user or ": " not in line:
            return
        for found in _REGISTER.finditer(line):
            name = _NAMES.get(found["name"], found["name"].lower())
            if name[1:2] == "0":
                name = "r" + name[2:]  # R08 is r8
            body.registers.setdefault(name, int(found["value"], 16))


def read_body(lines: Sequence[LogLine]) -> Body:
    """Collect the facts in the lines of one report."""
    reader = _Reader()
    for line in lines:
        reader.feed(line.text)
    body = reader.body
    if body.access is None and body.error_code is not None and body.fault_address is not None:
        body.access = _access_of(body.error_code)
    return body


def _access_of(error_code: int) -> str:
    # Page-fault error code (SDM vol. 3, 4.7): bit 1 write, bit 4 instruction fetch.
    if error_code & 0x10:
        return "exec"
    return "write" if error_code & 0x2 else "read"


def _who(body: Body, line: str) -> None:
    if body.comm is not None and body.release is not None:
        return
    found = _WHO.search(line) or _WHO_OLD.search(line)
    if found:
        groups = found.groupdict()
        body.cpu = int(groups["cpu"]) if groups.get("cpu") else body.cpu
        body.pid, body.comm, body.release = int(found["pid"]), found["comm"], found["release"]
        body.taint = _taint_letters(found["taint"])
    elif found := _CPU_ONLY.search(line):
        body.cpu, body.pid, body.comm = int(found["cpu"]), int(found["pid"]), found["comm"]
    elif body.cpu is None and (found := _WARNING_CPU.search(line)):
        body.cpu = int(found["cpu"] or found["cpu2"])


def _taint_letters(printed: str | None) -> tuple[str, ...]:
    return tuple(letter for letter in printed or "" if letter.isalpha() and letter != "G")


def _address(body: Body, line: str) -> None:
    if body.count is None and (found := _COUNT.search(line)):
        body.count = int(found["count"])
    if body.error_code is None and (found := _ERROR_CODE.search(line)):
        body.error_code = int(found["code"], 16)
    if body.access is None and (found := _ACCESS.search(line)):
        words = {"read access": "read", "write access": "write", "instruction fetch": "exec"}
        body.access, body.user_mode = words[found["access"]], found["mode"] == "user"
    if body.fault_address is None and (found := _ADDRESS.search(line)):
        text = found["address"]
        body.fault_address = 0 if "null" in text else int(text, 16)


def _code(body: Body, line: str) -> None:
    if body.code or "Code: " not in line:
        return
    found = _CODE.search(line)
    if found is None:
        return
    words = found["bytes"].split()
    body.code = bytes(int(word.strip("<>()"), 16) for word in words)
    marked = [index for index, word in enumerate(words) if word[0] in "<("]
    body.trapping_byte = marked[0] if marked else None
