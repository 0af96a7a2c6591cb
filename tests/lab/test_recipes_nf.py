"""Netfilter recipes on the crashes of samples/lab that only .ci/full makes."""

from __future__ import annotations

import re
from collections.abc import Callable

import drgn
import pytest

import crashkit.decode
from crashkit.crash import Crash, open_crash
from crashkit.finding import Finding, Role, Verdict
from crashkit.layout import offset_of
from crashkit.recipe import load_recipes, run_recipe
from tests.lab.conftest import full_folder, lab_folder, lab_vmcore
from tests.samples.conftest import mask, required_pages
from tests.samples.test_reread import plain

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]
KERNELS = ("6.1", "6.12")

CONFIRMED = (
    "ipt-connlimit-null",
    "nf-confirm-cthelper-null",
    "nf-conntrack-uninit-removal",
    "nfqueue-backlog",
    "nfqueue-truncate",
)
REFUTED = {
    "ipt-connlimit-null-lookalike": ("tcp-state",),
    "ipt-connlimit-null-lookalike-bad": ("null", "tcp-state"),
    "nf-confirm-cthelper-null-lookalike": ("flags", "extension"),
    "nf-confirm-cthelper-null-lookalike-bad": ("null", "flags", "no-helper"),
    "nf-conntrack-uninit-removal-lookalike": ("no-pointer", "hash-kept", "unhashed", "timeout"),
    "nf-conntrack-uninit-removal-lookalike-small": ("unhashed", "timeout"),
    "nfqueue-backlog-lookalike": ("full",),
    "nfqueue-backlog-lookalike-working": ("unattended",),
    "nfqueue-truncate-lookalike": ("length", "truncated"),
}
# Scenario without "recipe-" to the required checks that fail, and no others do.

on_both = pytest.mark.parametrize("kernel", KERNELS)
every_confirmed = pytest.mark.parametrize("name", CONFIRMED)


def folder_of(scenario: str, kernel: str) -> str:
    """A dump of .ci/full; skips, saying so, where only .ci/run has run."""
    return full_folder(f"recipe-{scenario}-{kernel}").name


def finding(crash: Crash, name: str) -> Finding | None:
    recipe = load_recipes().find(name)
    assert recipe is not None
    found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found.error if found else ""
    return found


def recipe_of(scenario: str) -> str:
    return scenario.partition("-lookalike")[0]


@on_both
@every_confirmed
def test_the_state_is_confirmed(opened: Open, name: str, kernel: str) -> None:
    found = finding(opened(folder_of(name, kernel)), name)
    assert found is not None, "the recipe does not apply"
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]


@on_both
@pytest.mark.parametrize("scenario", REFUTED)
def test_a_look_alike_is_refuted(opened: Open, scenario: str, kernel: str) -> None:
    found = finding(opened(folder_of(scenario, kernel)), recipe_of(scenario))
    assert found is not None, "a look-alike applies"
    assert found.verdict is Verdict.REFUTED
    failed = tuple(c.id for c in found.checks if c.role is Role.NECESSARY and c.holds is False)
    assert failed == REFUTED[scenario]


@on_both
@pytest.mark.parametrize(
    "scenario",
    ["nfqueue-backlog", "nfqueue-backlog-lookalike", "nfqueue-backlog-lookalike-working"],
)
def test_the_queue_is_as_the_guest_printed_it(opened: Open, scenario: str, kernel: str) -> None:
    folder = folder_of(scenario, kernel)
    found = finding(opened(folder), "nfqueue-backlog")
    assert found is not None
    console = (lab_folder() / folder / "console.txt").read_text()
    # seq_show() of nfnetlink_queue.c: number, port, waiting, copy mode and range, dropped twice
    line = r"lab: truth queue +1 +(\d+) +(\d+) +\d+ +\d+ +(\d+) +(\d+) "
    printed = re.search(line, console)
    assert printed is not None
    shown = {value.name: value.value for check in found.checks for value in check.values}
    names = ("peer_portid", "queue_total", "queue_dropped", "queue_user_dropped")
    assert tuple(shown[name] for name in names) == tuple(map(int, printed.groups()))


@on_both
@every_confirmed
def test_no_other_recipe_confirms_it(opened: Open, name: str, kernel: str) -> None:
    crash = opened(folder_of(name, kernel))
    for recipe in load_recipes().recipes:
        found = run_recipe(recipe, crash)
        confirmed = found is not None and found.verdict is Verdict.CONFIRMED
        assert confirmed == (recipe.meta.id == name), recipe.meta.id


@on_both
@every_confirmed
def test_rereads_give_the_numbers_shown(opened: Open, name: str, kernel: str) -> None:
    crash = opened(folder_of(name, kernel))
    found = finding(crash, name)
    assert found is not None
    scope = {
        **{key: getattr(crashkit.decode, key) for key in crashkit.decode.__all__},
        "crash": crash,
        "prog": crash.prog,
        "Object": drgn.Object,
        "offset_of": offset_of,
    }
    checked = 0
    for value in (value for check in found.checks for value in check.values):
        if value.reread is None or value.reread.crashkit is None:
            continue
        result = eval(value.reread.crashkit, scope)  # the expression a person would type
        assert plain(result, value) == value.value, value.reread.crashkit
        checked += 1
    assert checked >= 5


@on_both
@every_confirmed
def test_every_page_a_required_value_was_read_from_matters(
    opened: Open, name: str, kernel: str
) -> None:
    folder = folder_of(name, kernel)
    found = finding(opened(folder), name)
    assert found is not None
    pages = required_pages(found)
    assert pages
    for page in pages:
        with open_crash(lab_vmcore(folder), types="btf") as crash:
            mask(crash.prog, page)
            masked = finding(crash, name)
        assert masked is None or masked.verdict is Verdict.INCONCLUSIVE, hex(page)
