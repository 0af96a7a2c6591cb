"""The clash on stock kernels, and its look-alikes, explained from the dump alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe

pytestmark = pytest.mark.lab

RECIPE = "nf-conntrack-clash-stale-ct"
Open = Callable[..., Crash]


def finding(crash: Crash) -> Finding:
    recipe = next(r for r in load_recipes().recipes if r.meta.id == RECIPE)
    found = run_recipe(recipe, crash)
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


def failed(found: Finding) -> set[str]:
    return {check.id for check in found.checks if check.holds is False}


@pytest.mark.parametrize("name", ["clash-stock-6.1", "clash-stock-6.12"])
def test_clash_on_a_stock_kernel_is_confirmed(opened: Open, name: str) -> None:
    crash = opened(name)
    found = finding(crash)
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert crash.fault is not None
    assert crash.fault.expression == "item->ct->ct_net->ct.nf_conntrack_event_cb"
    assert crash.fault.null_or_bad == "item->ct->ct_net"
    assert found.fix is not None
    assert found.fix.in_this_binary is True, "stock kernels since 5.19 load skb->_nfct again"


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("clash-lookalike-6.1", "ct-differs"),
        ("clash-lookalike-restored-6.12", "ct-differs"),
        ("clash-lookalike-tcp-6.1", "ct-differs"),
    ],
)
def test_look_alike_is_refuted_by_the_skbs_own_conntrack(
    opened: Open, name: str, check: str
) -> None:
    found = finding(opened(name))
    assert found.verdict is Verdict.REFUTED
    assert check in failed(found)
    net = next(c for c in found.checks if c.id == "net-null")
    assert net.holds is True, "it must look alike, or nothing was told apart"


def test_tcp_excludes(opened: Open) -> None:
    found = finding(opened("clash-lookalike-tcp-6.1"))
    tcp = next(c for c in found.checks if c.id == "tcp")
    assert tcp.holds is True
