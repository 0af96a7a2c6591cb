"""jiffies, and how many of them make a second."""

from __future__ import annotations

from drgn import FaultError, ObjectNotFoundError, Program
from drgn.helpers.linux.kconfig import get_kconfig

from crashkit.decode.fields import naming
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

_CHOICES = (24, 48, 64, 100, 128, 200, 250, 256, 300, 500, 1000, 1024, 1200)
# kernel/Kconfig.hz and the architectures' own CONFIG_HZ choices

_SECOND = 1_000_000_000


@facts
class TickRate:
    """How many ticks make a second, and what says so."""

    hz: int
    source: str
    """``tick_nsec``, ``xtime_interval`` (of the time keeper) or ``CONFIG_HZ``."""


def jiffies(prog: Program) -> int:
    """Read ``jiffies`` (``unsigned long``, ticks; starts at -300 s as 32 bits).

    :raises Unavailable: the symbol or its page is missing
    """
    with naming("jiffies"):
        return int(prog["jiffies"].value_())


def ticks_per_second(prog: Program) -> int:
    """Find ``HZ``, as :func:`tick_rate` does.

    :raises Unavailable: nothing says it
    """
    return tick_rate(prog).hz


def tick_rate(prog: Program) -> TickRate:
    """Find ``HZ``: from ``tick_nsec``, else the time keeper's interval or the configuration.

    ``tick_nsec`` (kernel/time/ntp.c) is a global up to v6.12. It and the interval by which
    the time keeper advances (NTP_INTERVAL_LENGTH, include/linux/timex.h: a tick) follow
    clock adjustment by less than a percent, so they are matched against the values that
    CONFIG_HZ can have.

    :raises Unavailable: none of them is there
    """
    for name, read in (("tick_nsec", _tick), ("xtime_interval", _interval)):
        try:
            return TickRate(hz=_matching(name, read(prog)), source=name)
        except LookupError:
            continue
        except FaultError as fault:
            raise Unavailable("HZ", Reason.NOT_IN_DUMP, str(fault)) from fault
    return TickRate(hz=_configured(prog), source="CONFIG_HZ")


def _tick(prog: Program) -> int:
    return int(prog["tick_nsec"].value_())


def _interval(prog: Program) -> int:
    try:
        core = prog["timekeeper_data"][0]  # TIMEKEEPER_CORE
    except ObjectNotFoundError:
        core = prog["tk_core"]
    keeper = core.timekeeper
    return int(keeper.xtime_interval) >> int(keeper.tkr_mono.shift)


def _matching(name: str, nanoseconds: int) -> int:
    if nanoseconds <= 0:
        raise Unavailable("HZ", Reason.CORRUPTED, f"{name} is {nanoseconds}")
    hz = min(_CHOICES, key=lambda choice: abs(choice - _SECOND / nanoseconds))
    if abs(hz * nanoseconds - _SECOND) > _SECOND // 100:
        raise Unavailable("HZ", Reason.AMBIGUOUS, f"{name} is {nanoseconds}")
    return hz


def _configured(prog: Program) -> int:
    with naming("HZ"):
        value = get_kconfig(prog).get("CONFIG_HZ", "")
    if not value.isdecimal():
        raise Unavailable(
            "HZ", Reason.NO_DEBUGINFO, "no tick_nsec, no time keeper, and no CONFIG_HZ in IKCONFIG"
        )
    return int(value)


def remaining_ticks(expires: int, now: int, bits: int) -> int:
    """Subtract times that wrap: ``expires`` - ``now``, signed, in ``bits`` bits (ticks)."""
    difference = (expires - now) & ((1 << bits) - 1)
    return difference - (1 << bits) if difference >> (bits - 1) else difference
