"""Hangs, stalls and wild calls of the lab, and what looks like them; .ci/full makes them all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.finding import Check, Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.lab.conftest import full_folder, made
from tests.samples.conftest import mask, required_pages

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]

# recipe → dumps it confirms with their classes, and look-alikes with the check that refutes
CASES: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, str]]] = {
    "abba-deadlock": ({"abba": ()}, {"hungmutex": "circle", "hungcompletion": "circle"}),
    "lock-owner-sleeps": (
        {
            "hungmutex": ("owner sleeps",),
            "hungreader": ("owner sleeps",),
            "hungwriter": ("owner sleeps", "last reader ~"),
        },
        {"abba": "ends", "hungcompletion": "waits"},
    ),
    "spinlock-deadlock": (
        {"spinself": ("one lock taken twice",), "spinabba": ("CPUs in a circle",)},
        {"spinlock": "circle", "softlockup": "spins"},
    ),
    "interrupts-off-stall": (
        {"rcuirqs": (), "hardlockup": ()},
        {"rcustall": "off", "softlockup": "off"},
    ),
    "sleep-in-atomic": ({"schedatomic": ("preemption disabled",)}, {}),
    "null-ops-call": ({"nullcall": ()}, {"wildcall": "null", "nxjump": "null", "unloaded": "null"}),
    "stale-module-pointer": (
        {"unloaded": ()},
        {"nxjump": "area", "wildcall": "area", "nullcall": "area"},
    ),
    "stack-recursion": (
        {"stackoverflow": ()},
        {"doublefault": "exhausted", "stackprotector": "exhausted"},
    ),
}
KERNELS = ("6.1", "6.12")
REAL = [(recipe, name) for recipe, (real, _) in CASES.items() for name in real]
ALIKE = [(recipe, name) for recipe, (_, alike) in CASES.items() for name in alike]
# Nothing tells who holds these, so nobody knows; and a crash of another kind is not looked at.
OPEN = [("abba-deadlock", "hungsemaphore"), ("abba-deadlock", "hungwriter"),
        ("lock-owner-sleeps", "hungsemaphore")]  # fmt: skip
ELSEWHERE = [("sleep-in-atomic", "softlockup"), ("abba-deadlock", "null"),
             ("spinlock-deadlock", "nmi"), ("null-ops-call", "null")]  # fmt: skip

every = pytest.mark.parametrize("kernel", KERNELS)


def run(crash: Crash, recipe_id: str) -> Finding | None:
    recipe = load_recipes().find(recipe_id)
    assert recipe is not None
    found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def finding(crash: Crash, recipe_id: str) -> Finding:
    found = run(crash, recipe_id)
    assert found is not None, "the recipe does not apply"
    return found


def shown(found: Finding) -> list[tuple[str, bool | None, str | None]]:
    return [(check.id, check.holds, check.why_not or check.note) for check in found.checks]


def of(found: Finding, check_id: str) -> Check:
    return next(check for check in found.checks if check.id == check_id)


@every
@pytest.mark.parametrize(("recipe", "name"), REAL)
def test_the_crash_is_confirmed(opened: Open, recipe: str, name: str, kernel: str) -> None:
    found = finding(made(opened, f"kind-{name}-{kernel}"), recipe)
    assert found.verdict is Verdict.CONFIRMED, shown(found)
    assert found.classes == CASES[recipe][0][name]
    assert found.advice


@every
@pytest.mark.parametrize(("recipe", "name"), ALIKE)
def test_the_look_alike_is_refuted(opened: Open, recipe: str, name: str, kernel: str) -> None:
    found = finding(made(opened, f"kind-{name}-{kernel}"), recipe)
    assert found.verdict is Verdict.REFUTED, shown(found)
    assert of(found, CASES[recipe][1][name]).holds is False


@every
@pytest.mark.parametrize(("recipe", "name"), OPEN)
def test_what_nobody_knows_stays_open(opened: Open, recipe: str, name: str, kernel: str) -> None:
    found = finding(made(opened, f"kind-{name}-{kernel}"), recipe)
    assert found.verdict is Verdict.INCONCLUSIVE, shown(found)


@every
@pytest.mark.parametrize(("recipe", "name"), ELSEWHERE)
def test_another_crash_is_not_looked_at(opened: Open, recipe: str, name: str, kernel: str) -> None:
    assert run(made(opened, f"kind-{name}-{kernel}"), recipe) is None


@every
@pytest.mark.parametrize(("recipe", "name"), REAL)
def test_each_value_can_be_read_again(opened: Open, recipe: str, name: str, kernel: str) -> None:
    found = finding(made(opened, f"kind-{name}-{kernel}"), recipe)
    for check in found.checks:
        assert all(value.reread is not None for value in check.values), check.id


# what the guest printed, and where a finding says it
@every
def test_the_circle_is_the_one_that_was_made(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"kind-abba-{kernel}"), "abba-deadlock")
    note = of(found, "circle").note
    assert "in config_then_stats+" in note
    assert "in stats_then_config+" in note
    assert "orders" not in note
    assert of(found, "reported").note == "1 more waits behind the circle"


@every
@pytest.mark.parametrize(
    ("name", "owner"),
    [("hungmutex", "kinds-owner"), ("hungreader", "kinds-writer"), ("hungwriter", "kinds-reader")],
)
def test_the_owner_and_where_it_is(opened: Open, name: str, owner: str, kernel: str) -> None:
    found = finding(made(opened, f"kind-{name}-{kernel}"), "lock-owner-sleeps")
    note = of(found, "elsewhere").note
    assert note.startswith(owner)
    assert "sleeps in sleep_forever+" in note
    assert found.advice is not None
    assert ("~" in found.advice) == (name == "hungwriter")


@every
def test_the_call_that_took_the_lock_first(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"kind-spinself-{kernel}"), "spinlock-deadlock")
    assert "lock_twice+" in of(found, "circle").note
    found = finding(made(opened, f"kind-schedatomic-{kernel}"), "sleep-in-atomic")
    assert found.advice is not None
    assert "wait_for_hardware" in found.advice
    assert "sleep_locked+" in found.advice


@every
def test_what_was_called_and_what_is_gone(opened: Open, kernel: str) -> None:
    found = finding(made(opened, f"kind-nullcall-{kernel}"), "null-ops-call")
    assert found.advice is not None
    assert "calls port->ops->close" in found.advice
    assert "half_ops" in found.advice
    found = finding(made(opened, f"kind-unloaded-{kernel}"), "stale-module-pointer")
    assert found.advice is not None
    assert "kinds_plugin" in found.advice
    found = finding(made(opened, f"kind-stackoverflow-{kernel}"), "stack-recursion")
    assert found.advice == "find what should end the recursion of descend, entered from recurse"


@every
@pytest.mark.parametrize(("recipe", "name"), REAL)
def test_no_verdict_survives_the_loss_of_a_page_it_rests_on(
    opened: Open, recipe: str, name: str, kernel: str
) -> None:
    vmcore = full_folder(f"kind-{name}-{kernel}") / "vmcore"
    with open_crash(vmcore, types="btf") as crash:
        pages = required_pages(finding(crash, recipe))
    assert pages
    for page in pages:
        with open_crash(vmcore, types="btf") as crash:
            mask(crash.prog, page)
            masked = run(crash, recipe)
        if masked is not None:  # None: the recipe cannot even see its symptom
            assert masked.verdict is Verdict.INCONCLUSIVE, f"{page:#x}: {shown(masked)}"
