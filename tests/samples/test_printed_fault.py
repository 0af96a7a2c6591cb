"""Without the thread's registers: those of the fault in memory, if it is the printed one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from crashkit.crash import Crash, printed_fault, stack
from crashkit.errors import Reason, Unavailable
from crashkit.pipeline import triage
from crashkit.unwind import Frame
from tests.samples.conftest import open_sample

pytestmark = pytest.mark.sample

NAME = "clash-ct-net"


@pytest.fixture(autouse=True)
def no_notes(sample: Callable[[str], Crash], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_crashed: object) -> None:
        raise Unavailable("registers of the crashed thread", Reason.NOT_IN_DUMP, "by the test")

    assert sample(NAME).frames  # walked before, from its notes
    monkeypatch.setattr(stack, "saved_registers", none)


def test_the_same_stack(sample: Callable[[str], Crash]) -> None:
    told = sample(NAME)
    with open_sample(NAME) as crash:
        assert crash.frames[0].function == "asm_exc_page_fault"
        assert places(crash.frames) == places(told.frames)[-len(crash.frames) :]
        assert crash.fault_frame is not None
        assert told.fault_frame is not None
        assert crash.fault_frame.registers == told.fault_frame.registers
        (finding,) = triage(crash)["findings"]
    assert finding["verdict"] == "confirmed"


def places(frames: tuple[Frame, ...]) -> list[tuple[int, int, str | None]]:
    return [(frame.pc, frame.sp, frame.function) for frame in frames]


@pytest.mark.parametrize("change", ["pid", "instruction", "stack pointer", "none"])
def test_another_fault_is_not_taken(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_sample(NAME) as crash:
        oops = crash.oops
        assert oops is not None
        assert oops.ip is not None
        assert oops.pid is not None
        sp = oops.registers["rsp"]
        others = {
            "pid": replace(oops, pid=oops.pid + 1),
            "instruction": replace(oops, ip=replace(oops.ip, offset=1)),
            "stack pointer": replace(oops, registers={**oops.registers, "rsp": sp + 16}),
            "none": None,
        }
        crashed = crash._crashed
        assert not isinstance(crashed, Unavailable)
        entries = frozenset({"asm_exc_page_fault"})
        assert printed_fault.printed_fault(crash.prog, crashed, oops, entries) is not None
        other = printed_fault.printed_fault(crash.prog, crashed, others[change], entries)
        assert other is None
        assert printed_fault.printed_fault(crash.prog, crashed, oops, frozenset()) is None


def test_a_page_that_is_not_in_the_dump(sample: Callable[[str], Crash]) -> None:
    oops = sample(NAME).oops
    assert oops is not None
    with open_sample(NAME, masked=(oops.registers["rsp"] - 200, oops.registers["rsp"])) as crash:
        assert {frame.how for frame in crash.frames} <= {"printed", "printed as unreliable"}
        assert crash.fault_frame is None or crash.fault_frame.how.startswith("printed")
