"""The lines crash prints above its prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from drgn import FaultError, Program
from drgn.helpers.common.format import escape_ascii_string
from drgn.helpers.linux.panic import tainted
from drgn.helpers.linux.timekeeping import ktime_get_real_seconds

from crashkit.crash.parts import Banner
from crashkit.crash.tasks import present_cpus
from crashkit.decode.jiffies import ticks_per_second
from crashkit.errors import Reason, Unavailable
from crashkit.target import Target

T = TypeVar("T")


class _Reader:
    def __init__(self) -> None:
        self.absent: dict[str, Reason] = {}

    def read(self, key: str, get: Callable[[], T]) -> T | None:
        try:
            return get()
        except FaultError:
            self.absent[key] = Reason.NOT_IN_DUMP
        except Unavailable as missing:
            self.absent[key] = missing.reason
        except (LookupError, AttributeError, ValueError):
            self.absent[key] = Reason.NO_DEBUGINFO
        return None


def read_banner(prog: Program, target: Target, kernel: str | None) -> Banner:
    """Read the banner's fields; what cannot be read has its reason in ``absent``."""
    reader = _Reader()
    read = reader.read
    nodename = target.nodename or read("nodename", lambda: _utsname(prog, "nodename"))
    version = target.version or read("version", lambda: _utsname(prog, "version"))
    cpus = read("cpus", lambda: len(present_cpus(prog)))
    if cpus is None and target.cpus is not None:
        cpus = target.cpus
        reader.absent.pop("cpus")
    crash_time = target.crash_time or read("crash_time", lambda: _wall_clock(prog))
    if target.release is None:
        reader.absent["release"] = Reason.NOT_IN_DUMP
    return Banner(
        kernel=kernel,
        dumpfile=Path(target.path).name,
        cpus=cpus,
        crash_time=crash_time,
        uptime_s=read("uptime_s", lambda: uptime_seconds(prog)),
        nodename=nodename,
        release=target.release,
        version=version,
        taint=read("taint", lambda: _taint(prog)),
        absent=reader.absent,
    )


def _wall_clock(prog: Program) -> int:
    # A hypervisor's dump records no time; the kernel's own clock stopped with it.
    return int(ktime_get_real_seconds(prog))


def _utsname(prog: Program, member: str) -> str:
    return escape_ascii_string(prog["init_uts_ns"].name.member_(member).string_())


def _taint(prog: Program) -> tuple[str, ...]:
    # G means "no proprietary module" and is printed whenever another flag is set.
    return tuple(letter for letter in tainted(prog) if letter.isalpha() and letter != "G")


def uptime_seconds(prog: Program) -> float:
    """Return seconds since boot, from jiffies.

    jiffies starts 300 seconds before its low 32 bits wrap (INITIAL_JIFFIES,
    include/linux/jiffies.h).

    :raises Unavailable: jiffies or the tick rate cannot be had
    """
    ticks = ticks_per_second(prog)
    initial = (-300 * ticks) & 0xFFFF_FFFF
    try:
        elapsed = int(prog["jiffies_64"]) - initial
    except FaultError as fault:
        raise Unavailable("uptime", Reason.NOT_IN_DUMP, str(fault)) from fault
    return elapsed / ticks
