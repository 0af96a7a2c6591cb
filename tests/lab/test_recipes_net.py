"""Crashes of the network code, and what looks alike, on stock kernels; only .ci/full makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.finding import Check, Finding, Role, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.lab.conftest import lab_vmcore, made
from tests.samples.conftest import mask, required_pages

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]

# scenario → (recipe, its classes, the necessary check that fails in the look-alike)
CASES = {
    "skb-over-panic": ("skb-over-panic", ("no tailroom",), "operands"),
    "skb-under-panic": ("skb-over-panic", ("no headroom",), "outside"),
    "skb-double-free": ("skb-double-free", (), "skb-free"),
    "netdev-ref-leak": ("netdev-ref-leak", (), "waits"),
    "dst-ops-null": ("dst-ops-null", ("metadata dst",), "dst-ops"),
    "net-refcount": ("net-refcount-saturated", ("use after free",), "network"),
}
KERNELS = ("6.1", "6.12")

every = pytest.mark.parametrize("kernel", KERNELS)
each = pytest.mark.parametrize("case", CASES)


def finding(crash: Crash, recipe_id: str) -> Finding:
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, crash)
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


def of(found: Finding, check_id: str) -> Check:
    return next(check for check in found.checks if check.id == check_id)


@every
@each
def test_the_crash_is_confirmed(opened: Open, case: str, kernel: str) -> None:
    recipe_id, classes, _failing = CASES[case]
    found = finding(made(opened, f"recipe-{case}-{kernel}"), recipe_id)
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert found.classes == classes


@every
@each
def test_the_look_alike_is_refuted(opened: Open, case: str, kernel: str) -> None:
    recipe_id, _classes, failing = CASES[case]
    found = finding(made(opened, f"recipe-{case}-lookalike-{kernel}"), recipe_id)
    assert found.verdict is Verdict.REFUTED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert of(found, failing).holds is False


@every
@each
def test_real_and_look_alike_stop_in_the_same_function(
    opened: Open, case: str, kernel: str
) -> None:
    real = made(opened, f"recipe-{case}-{kernel}")
    alike = made(opened, f"recipe-{case}-lookalike-{kernel}")
    assert real.faulting_function == alike.faulting_function
    assert real.oops is not None
    assert alike.oops is not None
    assert real.oops.kind == alike.oops.kind


@every
@each
def test_each_value_from_memory_can_be_read_again(opened: Open, case: str, kernel: str) -> None:
    found = finding(made(opened, f"recipe-{case}-{kernel}"), CASES[case][0])
    for check in found.checks:
        if check.role is not Role.SUPPORTING:
            assert all(v.reread is not None for v in check.values if v.address), check.id


@every
def test_the_caller_and_its_excess_are_named(opened: Open, kernel: str) -> None:
    over = finding(made(opened, f"recipe-skb-over-panic-{kernel}"), "skb-over-panic")
    assert over.advice is not None
    assert over.advice.startswith("append_too_much+")
    assert "[recipes_net]" in over.advice
    under = finding(made(opened, f"recipe-skb-under-panic-{kernel}"), "skb-over-panic")
    assert under.advice is not None
    assert under.advice.endswith("called skb_push() for 54 bytes, 32 fitted")


@every
def test_the_packet_that_holds_the_device_is_found(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"recipe-netdev-ref-leak-{kernel}"), "netdev-ref-leak")
    assert of(found, "held").note.startswith("3 references")
    assert of(found, "count").holds is True
    assert of(found, "skbs").note.startswith("1: ")


@every
def test_the_member_called_and_its_fix(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"recipe-dst-ops-null-{kernel}"), "dst-ops-null")
    assert of(found, "dst-ops").note.startswith("dst->ops->update_pmtu at tell_route_mtu")
    assert found.fix is not None
    assert found.fix.upstream == "f15ca723c1eb"


@every
def test_the_freed_socket_is_named(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"recipe-net-refcount-{kernel}"), "net-refcount-saturated")
    assert "a UDP socket" in of(found, "network").note
    assert of(found, "free").holds is True


@each
def test_no_verdict_survives_the_loss_of_a_page_it_rests_on(opened: Open, case: str) -> None:
    name, recipe_id = f"recipe-{case}-6.1", CASES[case][0]
    pages = required_pages(finding(made(opened, name), recipe_id))
    assert pages
    for page in pages:
        with open_crash(lab_vmcore(name), types="btf") as crash:
            mask(crash.prog, page)
            recipe = load_recipes().find(recipe_id)
            assert recipe is not None
            masked = run_recipe(recipe, crash)
        if masked is not None:  # None: the recipe cannot even see its symptom
            assert masked.error is None, f"{page:#x}: {masked.error}"
            assert masked.verdict is Verdict.INCONCLUSIVE, f"{page:#x}: {failing(masked)}"


def failing(found: Finding) -> list[tuple[str, bool | None, str]]:
    return [(c.id, c.holds, c.note) for c in found.checks]
