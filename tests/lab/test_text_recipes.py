"""Every recipe on the console logs of the lab's crashes, as if there were no dumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crashkit.crash import open_crash
from crashkit.pipeline import triage
from crashkit.recipe import Recipes, load_recipes
from tests.lab.conftest import lab_folder

pytestmark = pytest.mark.lab

KERNELS = ("6.1", "6.12", "7")
SCENARIOS = {  # beginning of a scenario's name to the recipe that its text must be consistent with
    "clash": "nf-conntrack-clash-stale-ct",
    "recipe-dst-ops-null": "dst-ops-null",
    "recipe-ipt-connlimit-null": "ipt-connlimit-null",
    "recipe-net-refcount": "net-refcount-saturated",
    "recipe-netdev-ref-leak": "netdev-ref-leak",
    "recipe-nf-confirm-cthelper-null": "nf-confirm-cthelper-null",
    "recipe-nf-conntrack-uninit-removal": "nf-conntrack-uninit-removal",
    "recipe-nfqueue-backlog": "nfqueue-backlog",
    "recipe-nfqueue-truncate": "nfqueue-truncate",
    "recipe-skb-double-free": "skb-double-free",
    "recipe-skb-over-panic": "skb-over-panic",
    "recipe-skb-under-panic": "skb-over-panic",
    "kind-dfree": "slab-double-free",
    "kind-freelist": "slab-freelist-overwritten",
    "kind-listadd": "list-entry-removed",
    "kind-listdel": "list-entry-removed",
    "kind-listpoison": "list-entry-removed",
}


@pytest.fixture(scope="module")
def recipes() -> Recipes:
    return load_recipes()


@pytest.fixture(scope="module")
def reports(recipes: Recipes) -> dict[str, Any]:
    """Findings by scenario and kernel."""
    found = {}
    for path in consoles():
        with open_crash(path) as crash:
            found[path.parent.name] = triage(crash, recipes=recipes).document
    if not found:
        pytest.skip(f"{lab_folder()} has no console logs")
    return found


def consoles() -> Iterator[Path]:
    yield from sorted(lab_folder().glob("*/console.txt"))


def own(name: str, findings: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    scenario = name.rsplit("-", 1)[0]
    return next((f for f in findings if f["recipe"] == SCENARIOS[scenario]), None)


def test_text_confirms_nothing(reports: dict[str, Any]) -> None:
    verdicts = [
        (name, finding["recipe"])
        for name, report in reports.items()
        for finding in report["findings"]
        if finding["verdict"] == "confirmed"
    ]
    assert verdicts == []


def test_no_recipe_breaks_on_text(reports: dict[str, Any]) -> None:
    broken = [(name, report["errors"]) for name, report in reports.items() if report["errors"]]
    assert broken == []


def test_a_log_is_consistent_with_its_own_recipe(reports: dict[str, Any]) -> None:
    wrong = []
    for name, report in reports.items():
        if name.rsplit("-", 1)[0] not in SCENARIOS:
            continue
        finding = own(name, report["findings"])
        if finding is None or finding["verdict"] != "inconclusive" or not finding["to_settle"]:
            wrong.append((name, finding and finding["verdict"]))
    assert wrong == []


def test_what_the_text_shows_not_to_be_so_is_refuted(reports: dict[str, Any]) -> None:
    # A poisoned pointer is not NULL: the address in the log decides.
    for name, report in reports.items():
        if "lookalike-bad" in name:
            verdicts = {f["recipe"]: f["verdict"] for f in report["findings"]}
            assert "refuted" in verdicts.values(), name


def test_every_report_says_what_to_collect(reports: dict[str, Any]) -> None:
    missing = [name for name, report in reports.items() if not report["collect"]]
    assert missing == []
