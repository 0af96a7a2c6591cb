"""Connection tables filled in different ways on stock kernels; only .ci/full makes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from crashkit.crash import Crash
from crashkit.decode import NamespaceAccount, account
from crashkit.decode.conntrack_unhashed import unhashed_by_keeper
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.lab.conftest import lab_folder, made

pytestmark = pytest.mark.lab

RECIPE = "nf-conntrack-table-full"
Open = Callable[..., Crash]

CLASSES = {
    "table-full": ("unconfirmed-pinned", "event-backlog", "leak"),
    "table-full-legit": ("full-legit",),
    "table-full-queue": ("unconfirmed-pinned",),
    "table-full-leak": ("leak",),
    "table-full-events": ("event-backlog",),
    "table-full-gclag": ("gc-lag",),
}
KERNELS = ("6.1", "6.12")
SENT_QUEUE, SENT_FORGOTTEN, SENT_KEPT, SENT_EXPIRED = 200, 120, 80, 300
# how many packets samples/lab/table/table.sh sends to which end

every = pytest.mark.parametrize(
    "name", [f"{scenario}-{kernel}" for scenario in CLASSES for kernel in KERNELS]
)
on_both = pytest.mark.parametrize("kernel", KERNELS)


def printed(name: str) -> dict[str, int]:
    """The numbers that the guest printed before it crashed."""
    console = (lab_folder() / name / "console.txt").read_text()
    return {
        word: int(n) for word, n in re.findall(r"lab: truth (\S+) (\d+)\s*$", console, re.MULTILINE)
    }


def busy(crash: Crash) -> NamespaceAccount:
    (found,) = (one for one in account(crash.prog) if one.counter)
    return found


def kept(crash: Crash) -> Counter[str]:
    found = unhashed_by_keeper(crash.prog, busy(crash).net)
    return Counter({name: len(entries) for name, entries in found.items()})


def finding(crash: Crash) -> Finding:
    recipe = next(r for r in load_recipes().recipes if r.meta.id == RECIPE)
    found = run_recipe(recipe, crash)
    assert found is not None, "the recipe does not apply"
    assert found.error is None, found.error
    return found


@every
def test_account_is_what_the_guest_printed(opened: Open, name: str) -> None:
    crash = made(opened, name)
    found, truth = busy(crash), printed(name)
    assert (found.counter, found.maximum) == (
        truth.get("count-after", truth["count"]),
        truth["max"],
    )
    assert found.balanced
    assert found.difference == 0
    if "listed" in truth:
        assert found.listed == truth["listed"]
        assert found.undelivered == truth["dying"]


@every
def test_classes(opened: Open, name: str) -> None:
    found = finding(made(opened, name))
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert found.classes == CLASSES[name.rpartition("-")[0]]


@on_both
def test_what_was_sent_is_found(opened: Open, kernel: str) -> None:
    leaks = kept(made(opened, f"table-full-leak-{kernel}"))
    assert leaks == {"leak": SENT_FORGOTTEN + SENT_KEPT}
    queued = kept(made(opened, f"table-full-queue-{kernel}"))
    assert queued["unconfirmed-pinned"] == SENT_QUEUE
    assert queued["leak"] == 0
    assert busy(made(opened, f"table-full-gclag-{kernel}")).expired == SENT_EXPIRED


@on_both
def test_a_table_that_was_full_and_is_not_is_refuted(opened: Open, kernel: str) -> None:
    name = f"table-full-lookalike-{kernel}"
    crash = made(opened, name)
    found = finding(crash)
    assert found.verdict is Verdict.REFUTED
    assert found.classes == ()
    assert {c.id for c in found.checks if c.holds is False} >= {"crowded"}
    message = next(c for c in found.checks if c.id == "message")
    assert message.holds is True, "it must look alike, or nothing was told apart"
    assert busy(crash).counter == printed(name)["count"]


def test_newest_kernel_keeps_free_objects_in_sheaves(opened: Open) -> None:
    crash = made(opened, "table-full-7")
    assert busy(crash).difference == 0
    assert finding(crash).classes == CLASSES["table-full"]
