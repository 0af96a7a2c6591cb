"""What only .ci/full makes: the raced clash on a stock kernel, and the newest kernel there is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash
from crashkit.finding import Verdict
from tests.lab.conftest import made
from tests.lab.test_clash import failed, finding

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]


def test_raced_clash_on_the_stock_kernel(opened: Open) -> None:
    crash = made(opened, "clash-ct-net-6.1")
    found = finding(crash)
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert crash.fault is not None
    assert crash.fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
    assert found.fix is not None
    assert found.fix.in_this_binary is False


def test_clash_on_the_newest_kernel_is_confirmed(opened: Open) -> None:
    crash = made(opened, "clash-stock-7")
    found = finding(crash)
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert found.fix is not None
    assert found.fix.in_this_binary is True


def test_look_alike_on_the_newest_kernel_is_refuted(opened: Open) -> None:
    found = finding(made(opened, "clash-lookalike-7"))
    assert found.verdict is Verdict.REFUTED
    assert "ct-differs" in failed(found)


def test_the_newest_kernels_stack_is_what_it_printed(opened: Open) -> None:
    crash = made(opened, "clash-stock-7")
    assert crash.oops is not None
    printed = [line.function for line in crash.oops.trace if line.reliable]
    assert [f.function for f in crash.outer_frames][1:] == printed
    assert crash.banner.uptime_s is not None
    assert not crash.warnings
