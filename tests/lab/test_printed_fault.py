"""A stack overflow without notes: the fault's registers are on the exception's own stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash, open_crash, stack
from crashkit.errors import Reason, Unavailable
from tests.lab.conftest import lab_vmcore

pytestmark = pytest.mark.lab

NAME = "kind-stackoverflow-6.1"


def places(crash: Crash) -> list[tuple[int, int, str | None]]:
    return [(frame.pc, frame.sp, frame.function) for frame in crash.frames]


def test_the_stack_from_the_double_fault_outward(
    opened: Callable[..., Crash], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_crashed: object) -> None:
        raise Unavailable("registers of the crashed thread", Reason.NOT_IN_DUMP, "by the test")

    told = opened(NAME)
    assert told.fault_frame is not None  # walked before, from its notes
    monkeypatch.setattr(stack, "saved_registers", none)
    with open_crash(lab_vmcore(NAME), types="btf") as crash:
        assert crash.frames[0].function == "asm_exc_double_fault"
        assert places(crash) == places(told)[-len(crash.frames) :]
        assert crash.fault_frame is not None
        assert crash.fault_frame.registers == told.fault_frame.registers
