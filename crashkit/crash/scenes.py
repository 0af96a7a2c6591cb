"""What the checks of several recipes look at; each value is read when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash.panics.evidence import fact, find_section
from crashkit.errors import Reason, Unavailable
from crashkit.value import Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.core import Crash
    from crashkit.crash.panics.waits import Waits
    from crashkit.fault.model import Fault


class Scene:
    """The crash. Every property of a scene raises ``Unavailable`` when it cannot be had."""

    def __init__(self, crash: Crash) -> None:
        self.crash = crash


class FaultScene(Scene):
    """A fault and the address that was accessed."""

    @cached_property
    def fault(self) -> Fault:
        """The faulting instruction, as far as its registers agree with what the CPU said."""
        fault = self.crash.fault
        if fault is None:
            what = "the fault"
            raise Unavailable(what, Reason.NOT_APPLICABLE, "no faulting instruction is known")
        if fault.conflict is not None:
            raise Unavailable("the faulting instruction", Reason.AMBIGUOUS, fault.conflict)
        return fault

    @cached_property
    def address(self) -> Value:
        """The address accessed: the CPU's own, or what was printed."""
        fault = self.fault
        if fault.address is None:
            reason = fault.absent.get("address", Reason.NOT_SAVED)
            raise Unavailable("fault address", reason, fault.why.get("address", "not printed"))
        printed = self.crash.fault_frame is None
        again = Reread(crash="log | grep CR2", crashkit="crash.fault.address")
        return Value(
            name="fault address",
            value=fault.address,
            origin=Origin.TEXT if printed else Origin.REGISTER,
            reread=None if printed else again,
        )


class JumpScene(Scene):
    """A jump to where no code is."""

    @cached_property
    def fault(self) -> Fault:
        """The fault, with the registers of the dump."""
        fault = self.crash.fault
        if fault is None or self.crash.fault_frame is None:
            raise Unavailable("the registers", Reason.NOT_IN_DUMP, "none of the fault")
        return fault

    @cached_property
    def target(self) -> int:
        """Where the jump went."""
        if self.fault.ip is None:
            raise Unavailable("RIP", Reason.NOT_IN_DUMP)
        return self.fault.ip

    def rip(self) -> Value:
        """The same, as a report shows it."""
        return fact("RIP", self.target, "bt", "crash.fault.ip", origin=Origin.REGISTER)


class WaitScene(Scene):
    """Blocked tasks, and what they wait for."""

    @cached_property
    def waits(self) -> Waits:
        """The section ``waits`` of ``panic.facts``."""
        found = waits_of(self.crash)
        if found is None:
            raise Unavailable("blocked tasks", Reason.NOT_IN_DUMP, "none can be read")
        return found


def waits_of(crash: Crash) -> Waits | None:
    """Read who waits for whom; None where it does not apply, or cannot be read."""
    from crashkit.crash.panics.waits import Waits

    return find_section(crash, "waits", Waits)
