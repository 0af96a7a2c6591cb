"""Who ran where, on what machine, with which modules: the lines every report shares."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crashkit.oops.lazy import LazyPattern

_TAINT = r"(?:Not tainted|Tainted: (?P<taint>[A-Z\[\]=_, -]{1,400}?))"
_RELEASE = r"(?P<release>\d[\w.+~-]{2,80})(?: \((?P<builder>[^)]{1,80})\))?"
_BUILD = r"(?: (?P<build>#\d{1,6}\S{0,40}))?"
_WHO = LazyPattern(
    r"CPU: {1,2}(?P<cpu>\d{1,5}) (?:UID: (?P<uid>\d{1,10}) )?PID: {1,2}(?P<pid>\d{1,9}) "
    rf"Comm: (?P<comm>.{{0,16}}?) {{1,2}}(?:Kdump: loaded )?{_TAINT} {{1,4}}{_RELEASE}{_BUILD}"
)
_WHO_OLD = LazyPattern(  # v2.6.27 to v3.9
    rf"Pid: (?P<pid>\d{{1,9}}), comm: (?P<comm>.{{0,64}}?) {{1,2}}{_TAINT} {{1,4}}\(?"
    rf"{_RELEASE}{_BUILD}"
)
_WHO_CPU = LazyPattern(
    r"CPU: {1,2}(?P<cpu>\d{1,5}) (?:UID: (?P<uid>\d{1,10}) )?PID: {1,2}(?P<pid>\d{1,9}) "
    r"Comm: (?P<comm>\S{1,16})"
)
_WARNING_CPU = LazyPattern(
    r"CPU: (?P<cpu>\d{1,5}) PID: (?P<pid>\d{1,9})|"
    r"CPU#(?P<cpu2>\d{1,5})(?:: (?P<comm>.{1,16}?)/(?P<pid2>\d{1,9})$)?"
)
_CPU = LazyPattern(
    rf"^CPU: {{1,4}}(?P<cpu>\d{{1,5}})(?: {{1,4}}{_TAINT} {{1,4}}\(?{_RELEASE}{_BUILD})?|"
    r"^(?:CPU |cpu: )(?P<cpu2>\d{1,5})(?::|$| Unable)|"
    r"soft lockup (?:- |detected on )CPU ?#?(?P<cpu3>\d{1,5})|hard LOCKUP on cpu (?P<cpu4>\d{1,5})"
)
_PROCESS = LazyPattern(
    r"(?:^|\W)[Pp]rocess:? (?P<comm>.{1,24}?)(?: ?\(| {1,4})pid: ?(?P<pid>\d{1,9})"
)
_PPC_TASK = LazyPattern(r"TASK = [0-9a-f]{8,16}\[(?P<pid>\d{1,9})\] '(?P<comm>.{1,16})'")
_IP_TAINT = LazyPattern(  # i386 before v2.6.27, arm and powerpc: behind the registers' first line
    r"(?:^EIP: .{1,40}|^REGS: .{1,40}|^Modules linked in:.{0,200}) (?:Not tainted|Tainted: "
    rf"(?P<taint>[A-Z -]{{1,40}}?))(?: {{1,3}}(?:VLI)?|$)(?: {{1,4}}\(?{_RELEASE})?"
)
_EFLAGS_RELEASE = LazyPattern(r"^EFLAGS: [0-9a-f]{8} {1,4}\((?P<release>\d[^) ]{2,60})")
_TAINTED = ("EIP", "REGS", "Modules", "EFLAGS")
_CPU_WORDS = ("CPU", "cpu: ", "cpu ")
_IN_INTERRUPT = LazyPattern(r"not syncing.{0,40}in interrupt|Aiee, killing interrupt handler")
_HARDWARE = LazyPattern(
    r"^(?:Hardware name|Machine model|Hardware|System type): (?P<name>.{1,200})$"
)
_MODULES = LazyPattern(r"^Modules linked in:(?P<names>.*)$")
_UNLOADED = LazyPattern(r"\[last unloaded: (?P<name>[\w-]{1,64})[^\]]{0,80}\]")
_MODULE = LazyPattern(r"(?P<name>[\w-]{1,64})(?:\((?P<taint>[A-Z+-]{1,8})\))?$")
_LOST = LazyPattern(r"\[last unloaded:.*$")
MAX_MODULES = 4096
"""Modules of one report that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkedModule:
    """A module in the list ``Modules linked in:``."""

    name: str
    taint: tuple[str, ...]
    """Letters; ``+`` and ``-``: being loaded, being unloaded."""


@dataclass
class Who:
    """Facts of these lines; None where not printed."""

    cpu: int | None = None
    pid: int | None = None
    uid: int | None = None
    comm: str | None = None
    release: str | None = None
    build: str | None = None
    taint: tuple[str, ...] | None = None
    hardware: str | None = None
    modules: tuple[LinkedModule, ...] | None = None
    last_unloaded: str | None = None
    in_interrupt: bool = False

    def feed(self, line: str) -> None:
        """Take what a line says, unless an earlier one said it."""
        if self.comm is None or self.release is None:
            self._task(line)
        elif self.cpu is None and "CPU" in line:
            self._cpu(line)
        if line.startswith("Modules linked in:"):
            self._modules(line)
        if self.hardware is None and (found := _HARDWARE.match(line)):
            self.hardware = found["name"]
        if "interrupt" in line and _IN_INTERRUPT.search(line):
            self.in_interrupt = True

    def _task(self, line: str) -> None:
        if "omm" in line and (
            found := _WHO.search(line) or _WHO_OLD.search(line) or _WHO_CPU.search(line)
        ):
            self._take(found.groupdict())
        elif ("rocess" in line and (found := _PROCESS.search(line))) or (
            "TASK = " in line and (found := _PPC_TASK.search(line))
        ):
            if self.comm is None:
                self.pid, self.comm = int(found["pid"]), found["comm"].rstrip(" ,(")
        elif line.startswith(_TAINTED) and (
            found := _IP_TAINT.match(line) or _EFLAGS_RELEASE.match(line)
        ):
            self._take(found.groupdict())
        if self.cpu is None:
            self._cpu(line)

    def _cpu(self, line: str) -> None:
        if not any(word in line for word in _CPU_WORDS):
            return
        if found := _WARNING_CPU.search(line):
            self.cpu = int(found["cpu"] or found["cpu2"])
            pid = found["pid"] or found["pid2"]
            if self.pid is None and pid:
                self.pid = int(pid)
            if self.comm is None and found["comm"]:
                self.comm = found["comm"]
        elif found := _CPU.search(line):
            self.cpu = int(found["cpu"] or found["cpu2"] or found["cpu3"] or found["cpu4"])
            if found["release"]:
                self._take({k: v for k, v in found.groupdict().items() if k[:3] != "cpu"})

    def _take(self, groups: dict[str, str | None]) -> None:
        for name in ("cpu", "pid", "uid"):
            if groups.get(name) and getattr(self, name) is None:
                setattr(self, name, int(groups[name] or 0))
        for name in ("comm", "release", "build"):
            if groups.get(name) and getattr(self, name) is None:
                setattr(self, name, groups[name])
        if self.taint is None and "taint" in groups:
            self.taint = taint_letters(groups["taint"])

    def _modules(self, line: str) -> None:
        found = _MODULES.match(line)
        if found is None or self.modules is not None:
            return
        unloaded = _UNLOADED.search(line)
        self.last_unloaded = unloaded["name"] if unloaded else None
        names = _LOST.sub("", found["names"]).split()[:MAX_MODULES]
        matches = (_MODULE.fullmatch(name) for name in names)
        self.modules = tuple(
            LinkedModule(name=module["name"], taint=tuple(module["taint"] or ""))
            for module in matches
            if module
        )


def taint_letters(printed: str | None) -> tuple[str, ...]:
    """List the taint flags of a report, without ``G`` (no proprietary module).

    Since v6.10 they are explained behind (``Tainted: [O]=OOT_MODULE``).
    """
    text = printed or ""
    if "[" in text:
        return tuple(re.findall(r"\[([A-Z])\]=", text))
    return tuple(letter for letter in text if letter.isalpha() and letter != "G")
