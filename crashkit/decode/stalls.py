"""The kernel's watchdogs: what they were set to, and what they had seen of each CPU."""

from __future__ import annotations

from collections.abc import Callable

from drgn import Object, Program
from drgn.helpers.linux.percpu import per_cpu

from crashkit.decode.fields import Absent, Fields, counter, has_member
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class HungTaskSettings:
    """kernel/hung_task.c: sysctls kernel.hung_task_*."""

    timeout_s: int | None
    panic: int | None
    check_count: int | None
    check_interval_s: int | None
    """0: as the timeout."""
    warnings_left: int | None
    """-1: no bound. At 0 nothing more is printed."""
    detected: int | None
    """How many it has found since boot (from v6.10 on)."""
    absent: Absent


@facts
class LockupSettings:
    """kernel/watchdog.c: sysctls kernel.watchdog* and *lockup_panic."""

    watchdog_thresh_s: int | None
    """A soft lockup is twice this long."""
    softlockup_panic: int | None
    hardlockup_panic: int | None
    soft_watchdog: int | None
    """Whether the soft lockup detector is on."""
    hard_watchdog: int | None
    """Whether the NMI watchdog is on."""
    absent: Absent


@facts
class CpuWatch:
    """What the watchdogs know of one CPU."""

    cpu: int
    touched: int | None
    """When its watchdog thread last ran: units of 2^30 ns since boot; None: it never did."""
    reported: int | None
    """Since when a soft lockup is counted (v5.13 on), in the same units."""
    timer_interrupts: int | None
    """Ticks of the watchdog's timer (hrtimer_interrupts)."""
    timer_interrupts_seen: int | None
    """As the hard lockup detector last saw them: equal ones mean a stuck CPU."""
    absent: Absent


def _read(prog: Program, name: str) -> Callable[[], int]:
    return lambda: int(prog[name].value_())


def hung_task_settings(prog: Program) -> HungTaskSettings:
    """Read khungtaskd's settings.

    :raises Unavailable: the kernel has no khungtaskd, or none of them is in the dump
    """
    fields = Fields("khungtaskd")
    stem = "sysctl_hung_task_"
    return HungTaskSettings(
        timeout_s=fields.take("timeout_s", _read(prog, f"{stem}timeout_secs")),
        panic=fields.take("panic", _read(prog, f"{stem}panic")),
        check_count=fields.take("check_count", _read(prog, f"{stem}check_count")),
        check_interval_s=fields.take("check_interval_s", _read(prog, f"{stem}check_interval_secs")),
        warnings_left=fields.take("warnings_left", _read(prog, f"{stem}warnings")),
        detected=fields.take("detected", _read(prog, f"{stem}detect_count")),
        absent=fields.reasons(),
    )


def lockup_settings(prog: Program) -> LockupSettings:
    """Read the settings of the lockup detectors.

    :raises Unavailable: none of them is in the dump
    """
    fields = Fields("the lockup detectors")
    return LockupSettings(
        watchdog_thresh_s=fields.take("watchdog_thresh_s", _read(prog, "watchdog_thresh")),
        softlockup_panic=fields.take("softlockup_panic", _read(prog, "softlockup_panic")),
        hardlockup_panic=fields.take("hardlockup_panic", _read(prog, "hardlockup_panic")),
        soft_watchdog=fields.take(
            "soft_watchdog", _either(prog, "watchdog_softlockup_user_enabled",
                                     "soft_watchdog_user_enabled")
        ),
        hard_watchdog=fields.take(
            "hard_watchdog", _either(prog, "watchdog_hardlockup_user_enabled",
                                     "nmi_watchdog_user_enabled")
        ),
        absent=fields.reasons(),
    )  # fmt: skip


def _either(prog: Program, new: str, old: str) -> Callable[[], int]:
    def read() -> int:
        try:
            return int(prog[new].value_())
        except LookupError:
            return int(prog[old].value_())

    return read


# kernel/watchdog.c: SOFTLOCKUP_DELAY_REPORT (v5.13 on); 0 was the same before.
_NEVER = (1 << 64) - 1


def cpu_watch(prog: Program, cpu: int) -> CpuWatch:
    """Read what the watchdogs know of a CPU.

    :raises Unavailable: none of it is in the dump
    """
    fields = Fields(f"the watchdog of CPU {cpu}")
    return CpuWatch(
        cpu=cpu,
        touched=fields.take("touched", lambda: _stamp(prog, "watchdog_touch_ts", cpu)),
        reported=fields.take("reported", lambda: _stamp(prog, "watchdog_report_ts", cpu)),
        timer_interrupts=fields.take(
            "timer_interrupts", lambda: _count(prog, "hrtimer_interrupts", cpu)
        ),
        timer_interrupts_seen=fields.take(
            "timer_interrupts_seen", lambda: _count(prog, "hrtimer_interrupts_saved", cpu)
        ),
        absent=fields.reasons(),
    )


def _stamp(prog: Program, name: str, cpu: int) -> int:
    value = int(per_cpu(prog[name], cpu).value_())
    if value in (0, _NEVER):
        raise Unavailable(name, Reason.NOT_APPLICABLE, "it was reset and not set since")
    return value


def _count(prog: Program, name: str, cpu: int) -> int:
    found: Object = per_cpu(prog[name], cpu)
    return counter(found) if has_member(found, "counter") else int(found.value_())


SECOND_NS = 1 << 30
"""Unit of :attr:`CpuWatch.touched`: get_timestamp() shifts the clock's ns right by 30."""
