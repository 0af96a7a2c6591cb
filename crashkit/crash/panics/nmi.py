"""``nmi``: a panic over an NMI: why it came, what the system was told to do, what it hit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from drgn.helpers.linux.percpu import per_cpu

from crashkit.crash.panics.call_sites import name_at
from crashkit.crash.panics.printed import find_printed
from crashkit.decode.fields import Fields
from crashkit.errors import Reason
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

_BEFORE = 12
_TEXT = (
    (r"NMI received for unknown reason (?P<code>[0-9a-f]{2}) on CPU (?P<cpu>\d+)", "unknown"),
    (r"NMI: PCI system error \(SERR\) for reason (?P<code>[0-9a-f]{2}) on CPU (?P<cpu>\d+)",
     "PCI system error (SERR)"),
    (r"NMI: IOCK error .{0,40}for reason (?P<code>[0-9a-f]{2}) on CPU (?P<cpu>\d+)",
     "I/O check"),
)  # fmt: skip
# Bits of port 0x61 (arch/x86/include/asm/mach_traps.h): NMI_REASON_SERR, NMI_REASON_IOCHK
_SERR, _IOCHK = 0x80, 0x40
_SETTINGS = ("unknown_nmi_panic", "panic_on_unrecovered_nmi", "panic_on_io_nmi")


@facts
class Nmi:
    """An NMI that ended the kernel. A None field has its reason in ``absent``."""

    cause: str | None
    """``unknown``, ``PCI system error (SERR)`` or ``I/O check``."""
    code: int | None
    """Port 0x61 as the kernel read it."""
    code_words: str | None
    cpu: int | None
    settings: Mapping[str, int]
    """Those of /proc/sys/kernel that make it a panic."""
    unknown_before: int | None
    """Unknown NMIs this CPU has had, this one included."""
    interrupted: str | None
    """What the CPU ran."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> Nmi | None:
    """Read why the NMI came."""
    fields = Fields("the NMI")
    cause = code = cpu = None
    for pattern, words in _TEXT:
        found = find_printed(crash, pattern, before=_BEFORE)
        if found is not None:
            cause, code, cpu = words, int(found["code"], 16), int(found["cpu"])
            break
    if cpu is None:
        cpu = crash.thread.cpu
    settings = {}
    for name in _SETTINGS:
        value = fields.take(name, lambda name=name: int(crash.prog[name].value_()))  # type: ignore[misc]
        if value is not None:
            settings[name] = value
    number = None
    if cpu is not None:
        which = cpu
        number = fields.take(
            "unknown_before",
            lambda: int(per_cpu(crash.prog["nmi_stats"], which).unknown.value_()),
        )
    hit = next((f for f in crash.frames if f.interrupted and not f.inlined), None)
    absent = {key: why.reason for key, why in fields.absent.items() if key not in _SETTINGS}
    return Nmi(
        cause=cause,
        code=code,
        code_words=None if code is None else _code_words(code),
        cpu=cpu,
        settings=settings,
        unknown_before=number,
        interrupted=None if hit is None else name_at(crash.prog, hit.pc),
        absent=absent,
    )


def _code_words(code: int) -> str:
    words = [name for bit, name in ((_SERR, "SERR"), (_IOCHK, "IOCHK")) if code & bit]
    return ", ".join(words) or "neither SERR nor IOCHK: no source names itself"
