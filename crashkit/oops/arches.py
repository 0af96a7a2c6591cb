"""How each architecture prints its registers, and where it was: a row for each.

Sources: ``show_regs()`` in arch/*/kernel/{process,traps,dumpstack}*.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from crashkit.oops.lazy import LazyPattern
from crashkit.oops.trace import CodeLocation, find_location


@dataclass(frozen=True, slots=True)
class Arch:
    """How an architecture prints registers."""

    name: str
    """As ``uname -m`` says it, without the variants."""
    sign: str
    """Regular expression of the beginning of a line that only this one prints."""
    register: str | None
    """Regular expression with the groups ``name`` and ``value``."""
    place: str | None
    """Regular expression of the line that names the interrupted function."""
    pc: str
    """Name of the instruction pointer among the registers."""
    fault_register: str | None = None
    """Name of the register or field that holds the fault address."""


_H = r"[0-9a-f]"
_PAIR = rf"(?P<value>{_H}{{8}}(?:{_H}{{8}})?)\b"

ARCHES = (
    Arch("x86_64", r"RIP: |R[A-DBS][XP]: [0-9a-f]{16}|R08: |CR2: [0-9a-f]{16}",
         rf"\b(?P<name>R[A-D]X|R[SD]I|R[BSI]P|R\d\d|CR[0234]|R?E?FLAGS|ORIG_RAX):\s{{1,2}}"
         rf"(?:[0-9a-f]{{4}}:)?{_PAIR}", r"\bR?IP: ", "rip", "cr2"),
    Arch("i386", r"EIP(?::| is at)|[Ee][Aa][Xx]: [0-9a-f]{8}\b",
         rf"\b(?P<name>[Ee](?:[A-Da-d][Xx]|[SsDd][Ii]|[BbSs][Pp])|CR[0234]|EFLAGS|EIP):\s{{1,4}}"
         rf"(?:[0-9a-f]{{4}}:)?(?:\[<)?(?P<value>{_H}{{8}})\b", r"\bE?IP: |\bEIP is at ", "eip",
         "cr2"),
    Arch("arm", r"pc : \[<[0-9a-f]{8}>\] {1,8}lr : |psr ?: ?[0-9a-f]{8}",
         rf"\b(?P<name>pc|lr|psr|sp|ip|fp|r\d{{1,2}}) ?: (?:\[<)?(?P<value>{_H}{{8}})\b",
         r"\bPC is at |^pc : [A-Za-z_]", "pc"),
    Arch("arm64", r"pstate ?: ?[0-9a-f]{8}|x29: ?[0-9a-f]{16}|ESR = 0x|pc : \[<[0-9a-f]{16}>\]",
         rf"\b(?P<name>pc|lr|sp|pstate|x\d{{1,2}}) ?: ?(?:\[<)?{_PAIR}",
         r"\bPC is at |^pc : [A-Za-z_]", "pc"),
    Arch("powerpc", r"NIP: {1,2}[0-9a-f]{8}|NIP \[|GPR00: ",
         rf"\b(?P<name>NIP|LR|CTR|MSR|XER|CFAR|DAR|DEAR|DSISR|CR):\s{{1,2}}{_PAIR}", r"^NIP \[",
         "nip", "dar"),
    Arch("s390x", r"Krnl PSW : |Krnl GPRS: ", None, r"\bKrnl PSW : ", "psw_addr"),
    Arch("riscv", r"epc ?: |status: [0-9a-f]{8,16} badaddr: ",
         rf"\b(?P<name>epc|ra|sp|gp|tp|[ast]\d{{1,2}}|status|badaddr|cause) ?: {_PAIR}",
         r"^epc : [A-Za-z_]", "epc", "badaddr"),
    Arch("mips", r"epc {3}: [0-9a-f]{8}|\$ 0 {3}: ",
         rf"\b(?P<name>epc|ra|Hi|Lo|BadVA) {{1,4}}: {_PAIR}", r"^epc {3}: ", "epc", "badva"),
    Arch("loongarch64", r"era {3}?: [0-9a-f]{16}|ERA: [0-9a-f]{16}",
         rf"\b(?P<name>pc|ra|tp|sp|[asut]\d|era|ERA) {_PAIR}", r"\b(?:ERA|era {3}): ", "pc"),
    Arch("ia64", r"psr : [0-9a-f]{16} ifs : ", None, r"^ip is at ", "ip"),
    Arch("parisc", r"IAOQ\[0\]: |IASQ: ", None, r"^ ?IAOQ\[0\]: ", "iaoq"),
    Arch("sparc64", r"TSTATE: [0-9a-f]{16} TPC: ",
         rf"\b(?P<name>TPC|TNPC|[gilo][0-7]): {_PAIR}", r"^TPC: <", "tpc"),
)  # fmt: skip
"""In the order they are tried."""

_SIGNS = ("IP", "x: ", "X: ", "BP: ", "SP: ", "R08: ", "CR2: ", "pc : ", "psr", "pstate", "x29",
          "ESR = ", "GPR", "Krnl PSW", "epc", "badaddr", "$ 0", "era", "ERA", "IAOQ", "IASQ",
          "TSTATE")  # fmt: skip
"""What the lines that ``sign`` of some architecture matches contain."""
_ROW = LazyPattern(  # four registers a line, the number of the first one in front
    r"(?:GPR(?P<ppc>\d\d)|Krnl GPRS|^\$ ?(?P<mips>\d{1,2}) {0,4}):? ?:?(?P<values>(?: {1,2}"
    r"(?:[0-9a-f]{16}|[0-9a-f]{8})){1,8})|^\s{10,20}(?P<s390>[0-9a-f]{16}(?: [0-9a-f]{16}){3})\s*$"
)
_PSW = LazyPattern(r"Krnl PSW : (?P<mask>[0-9a-f]{8,16}) (?P<address>[0-9a-f]{8,16})")
_NAMES = {"eflags": "rflags", "flags": "rflags"}
_ARM_FEWER = 8


@cache
def arch_patterns() -> re.Pattern[str]:
    """Match a line by which the architecture is known; the group's name is its number."""
    signs = "|".join(f"(?P<a{n}>{arch.sign})" for n, arch in enumerate(ARCHES))
    return re.compile(rf"\s{{0,8}}(?:{signs})")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def find_arch(line: str) -> Arch | None:
    """Name the architecture that prints such a line; None where several do."""
    if line.startswith("RIP: "):
        return ARCHES[0]  # by far the most
    if not any(sign in line for sign in _SIGNS):
        return None
    found = arch_patterns().match(line)
    return None if found is None or found.lastgroup is None else ARCHES[int(found.lastgroup[1:])]


def read_registers(arch: Arch, line: str) -> Iterator[tuple[str, int]]:
    """Find the registers in a line: names in small letters, as the architecture has them."""
    if arch.register is not None:
        for found in _compiled(arch.register).finditer(line):
            yield _register_name(arch, found["name"]), int(found["value"], 16)


def _register_name(arch: Arch, printed: str) -> str:
    name = printed.lower()
    if arch.name == "x86_64":
        name = _NAMES.get(name, name)
        return "r" + name[2:] if re.fullmatch(r"r0\d", name) else name
    if arch.name == "powerpc" and name == "dear":
        return "dar"
    return name


def read_row(line: str, known: int) -> list[tuple[str, int]]:
    """Find a row of numbered registers (powerpc, s390, mips).

    :param known: how many of them came before, for rows that do not say it
    """
    found = _ROW.search(line)
    if found is None:
        psw = _PSW.search(line)
        if psw is None:
            return []
        return [("psw_mask", int(psw["mask"], 16)), ("psw_addr", int(psw["address"], 16))]
    values = (found["values"] or found["s390"]).split()
    start = int(found["ppc"] or found["mips"] or known)
    prefix = "$" if found["mips"] else "r"
    return [(f"{prefix}{start + n}", int(value, 16)) for n, value in enumerate(values)]


def find_place(arch: Arch, line: str) -> CodeLocation | None:
    """Find the interrupted place in the line that the architecture names it in."""
    if arch.place is None:
        return None
    found = _compiled(arch.place).search(line)
    return None if found is None else find_location(line[found.start() :])
