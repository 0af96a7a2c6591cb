"""A CPU stalled with its interrupts disabled: no tick, no scheduler, no RCU there.

The title is that of any stall. Whether the CPU could be interrupted is in the EFLAGS of the
exception frame that the NMI or interrupt pushed which looked at it or stopped it.

Recognised by: the kernel's own data says that this CPU holds it up, and IF (bit 9) is clear
in that frame. One NMI can meet a short stretch with interrupts off; timer ticks that the CPU
took all along exclude that it was off for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.panics.evidence import fact, holds, kind_of, place_words, section_of, word_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import (
    Check,
    CheckSpec,
    Observation,
    excluding,
    necessary,
    seen,
    supporting,
)
from crashkit.recipe import Meta
from crashkit.value import Value

if TYPE_CHECKING:
    from crashkit.crash.panics.stall import Stall, StalledCpu
    from crashkit.unwind import RegisterValue

META = Meta(
    id="interrupts-off-stall",
    claim="the CPU that stalled had its interrupts disabled where it was stopped",
    references=("arch/x86/include/uapi/asm/processor-flags.h: X86_EFLAGS_IF",),
    matches=("kind-hardlockup", "kind-rcuirqs"),
    rejects=("kind-rcustall", "kind-softlockup"),
    told_apart_from=(
        "a loop with interrupts enabled: its EFLAGS have IF, and it takes timer ticks",
        "a starved RCU thread or a preempted reader: no CPU holds the grace period up",
    ),
    advice="find who disabled interrupts on that CPU's stack: a *_irqsave() or local_irq_disable()",
)

_KINDS = ("rcu-stall", "hard-lockup", "soft-lockup")
_IF = 1 << 9
_FEW = 10
"""One tick in so many of those that were due counts as none taken."""


def applies(crash: Crash) -> bool:
    """Whether a watchdog or RCU ended it."""
    return kind_of(crash) in _KINDS


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("stalled", "the kernel waits for this CPU", lambda: _stalled(scene))
    yield necessary("off", "its interrupts were disabled", lambda: _off(scene))
    yield excluding("ticks", "it took timer ticks all along", lambda: _ticks(scene))
    yield supporting("kernel", "it ran kernel code, not idle", lambda: _in_kernel(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def stall(self) -> Stall:
        from crashkit.crash.panics.stall import Stall

        return section_of(self.crash, "stall", Stall)

    @cached_property
    def cpu(self) -> StalledCpu:
        """The first stalled CPU whose interrupts were off, else the first."""
        if not self.stall.cpus:
            raise Unavailable("the stalled CPU", Reason.NOT_IN_DUMP, "nothing names one")
        off = (cpu for cpu in self.stall.cpus if cpu.line.interrupts is False)
        return next(off, self.stall.cpus[0])

    @cached_property
    def flags(self) -> RegisterValue:
        line = self.cpu.line
        if line.place is None or line.interrupts is None:
            why = Unavailable("EFLAGS", Reason.NOT_SAVED, "no exception frame has them")
            raise line.absent.get("interrupts", why)
        for frame in self.crash.stack_on(line.cpu).frames:
            if frame.interrupted and frame.pc == line.place.pc and "rflags" in frame.registers:
                return frame.registers["rflags"]
        raise Unavailable("EFLAGS", Reason.NOT_SAVED, "no exception frame has them")


def _stalled(scene: _Scene) -> Observation:
    cpu = scene.cpu
    if cpu.rcu is not None:
        value = _number(scene, "holds up the grace period", int(cpu.rcu.holds_up))
        return seen(cpu.rcu.holds_up, value, note=f"CPU {cpu.line.cpu}")
    if scene.stall.rcu is None and scene.stall.kind == "rcu-stall":
        raise scene.stall.absent["rcu"]
    if cpu.since_s is None:
        raise cpu.absent.get("since_s") or Unavailable("its watchdog", Reason.NOT_IN_DUMP)
    settings = scene.stall.settings
    limit = None if settings is None else settings.watchdog_thresh_s
    if limit is None:
        raise scene.stall.absent.get("settings") or Unavailable("the limit", Reason.NOT_IN_DUMP)
    value = _number(scene, "seconds since its watchdog thread ran", int(cpu.since_s))
    return seen(cpu.since_s >= limit, value, note=f"CPU {cpu.line.cpu}; watchdog_thresh {limit}")


def _number(scene: _Scene, name: str, number: int) -> Value:
    cpu = scene.cpu.line.cpu
    look = "crashkit.crash.panics.read_section(crash, 'stall').cpus"
    return fact(name, number, f"bt -c {cpu}", look)


def _off(scene: _Scene) -> Observation:
    flags, cpu = scene.flags, scene.cpu.line.cpu
    more = {"origin": flags.origin, "certainty": flags.certainty}
    if flags.slot is None:
        value = fact("EFLAGS", flags.value, f"bt -c {cpu}", f"crash.stack_on({cpu})", **more)
    else:
        value = word_value("EFLAGS", flags.slot, flags.value, **more)
    state = "set" if flags.value & _IF else "clear"
    note = f"IF is {state}; CPU {cpu} in {place_words(scene.cpu.line.place)}"
    return seen(not flags.value & _IF, value, note=note)


def _ticks(scene: _Scene) -> Observation:
    from crashkit.decode.jiffies import ticks_per_second

    rcu, period = scene.cpu.rcu, scene.stall.rcu
    if rcu is None or period is None or period.running_s is None or rcu.ticks is None:
        raise Unavailable("its ticks", Reason.NOT_APPLICABLE, "only RCU counts them")
    due = int(period.running_s * ticks_per_second(scene.crash.prog))
    value = _number(scene, "rcu_data.ticks_this_gp", rcu.ticks)
    # A CPU that has not noted the grace period has the count of an earlier one.
    took = bool(rcu.sees_period) and rcu.ticks * _FEW > due
    noted = "" if rcu.sees_period else ", of an earlier period: it has not noted this one"
    return seen(took, value, note=f"{rcu.ticks} of about {due}{noted}")


def _in_kernel(scene: _Scene) -> Observation:
    line = scene.cpu.line
    note = f"{line.comm} ({line.pid}), {line.context}"
    busy = not line.idle and line.context != "user"
    return seen(busy, _number(scene, "its task", line.task or 0), note=note)


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the CPU's frames: one of them disabled interrupts."""
    if not holds(found, "off"):
        return ()
    line = _Scene(crash).cpu.line
    path = " < ".join((place_words(line.place), *line.callers[:3]))
    return (f"find who disabled interrupts on CPU {line.cpu}: {path}",)
