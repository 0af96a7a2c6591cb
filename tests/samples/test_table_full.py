"""A full connection table: what crashkit counts is what the guest counted and sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from drgn import Object

from crashkit.crash import Crash
from crashkit.decode import NamespaceAccount, account, account_of, for_each_listener, holders_of
from crashkit.decode.conntrack_unhashed import KeptConntrack, most_common_flows, unhashed_by_keeper
from crashkit.decode.netns import namespaces
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from tests.samples.conftest import SAMPLES, read_toml

pytestmark = pytest.mark.sample

NAME = "table-full"
RECIPE = "nf-conntrack-table-full"
Sample = Callable[[str], Crash]


@pytest.fixture
def crash(sample: Sample) -> Crash:
    return sample(NAME)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return read_toml(NAME, "expected.toml")


@pytest.fixture
def own(crash: Crash) -> NamespaceAccount:
    return account_of(crash.prog, int(crash.prog["init_net"].address_of_()))


@pytest.fixture
def kept(crash: Crash, own: NamespaceAccount) -> list[KeptConntrack]:
    return [one for found in unhashed_by_keeper(crash.prog, own.net).values() for one in found]


def run(crash: Crash) -> Finding | None:
    recipe = load_recipes().find(RECIPE)
    assert recipe is not None
    found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def test_expected_numbers_are_those_the_guest_printed(expected: dict[str, Any]) -> None:
    console = (SAMPLES / NAME / "console.txt").read_text()
    printed = expected["printed"]
    for word, key in (("count", "count"), ("max", "max"), ("listed", "listed"),
                      ("dying", "dying_list"), ("count-after", "count")):  # fmt: skip
        assert f"lab: truth {word} {printed[key]}\n" in console
    assert printed["message"] in console


def test_counter_is_accounted_for(own: NamespaceAccount, expected: dict[str, Any]) -> None:
    printed = expected["printed"]
    assert (own.counter, own.maximum) == (printed["count"], printed["max"])
    assert own.listed == printed["listed"]
    assert own.undelivered == printed["dying_list"]
    for name, number in expected["account"].items():
        assert getattr(own, name) == number, name
    assert own.difference == 0
    assert own.balanced


def test_every_namespace_has_an_account(crash: Crash) -> None:
    assert {one.net for one in account(crash.prog)} == {int(n) for n in namespaces(crash.prog)}
    assert len(account(crash.prog)) == 2
    assert sum(one.counter for one in account(crash.prog)) == 327


def test_every_packet_sent_is_found_where_it_got_stuck(
    crash: Crash, kept: list[KeptConntrack], expected: dict[str, Any]
) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for one in kept:
        ((flow, _count),) = most_common_flows(crash.prog, [one])
        seen[flow, one.kept_by] += 1
        wanted = expected["sent"][flow]["kept_by"]
        assert one.holders.explain() == wanted, flow
    for flow, sent in expected["sent"].items():
        delivered = 6 if flow.endswith("10.9.0.1:7999") else 0
        assert seen.pop((flow, sent["class"])) == sent["packets"] - delivered, flow
    assert not seen


def test_references_found_never_exceed_those_counted(kept: list[KeptConntrack]) -> None:
    assert len(kept) == 327
    assert all(one.holders.missing >= 0 for one in kept)
    assert sum(one.holders.missing for one in kept) == 60


def test_queue_and_arp_queue_are_named(crash: Crash, kept: list[KeptConntrack]) -> None:
    places = Counter(
        held.where for one in kept for held in one.holders.found
        if held.kind == "skb"
    )  # fmt: skip
    assert places == {
        "nfnetlink queue 1": 80,
        None: 90,
        "arp_queue of neighbour 10.9.0.99 on v0": 3,
    }


def test_holders_are_asked_for_one_entry_alone(crash: Crash, kept: list[KeptConntrack]) -> None:
    for one in (kept[0], kept[-1]):
        address = one.entry.address
        assert holders_of(crash.prog, [address])[address] == one.holders
        ct = Object(crash.prog, "struct nf_conn *", address)
        assert int(ct.ct_general.use.refs.counter) == one.holders.use


def test_deaf_listener_is_found(crash: Crash) -> None:
    (listener,) = for_each_listener(crash.prog)
    assert listener.events == ("destroy",)
    assert listener.holds_up
    assert not listener.absent


def test_verdict_and_classes(crash: Crash, expected: dict[str, Any]) -> None:
    found = run(crash)
    assert found is not None
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert list(found.classes) == expected["classes"][RECIPE]
    assert found.advice is not None
    assert [clause.split(":")[0] for clause in found.advice.split("; ")] == list(found.classes)
    holding = {check.id for check in found.checks if check.holds}
    assert {"message", "dropped", "queue", "listener", "lost-flow", "out-of-tree"} <= holding
    assert not {"full-legit", "gc-lag"} & holding


def test_numbers_in_the_finding_are_the_guests(crash: Crash, expected: dict[str, Any]) -> None:
    found = run(crash)
    assert found is not None
    numbers = {v.name: v.value for check in found.checks for v in check.values}
    printed = expected["printed"]
    assert numbers["conntrack count of the namespace"] == printed["count"]
    assert numbers["nf_conntrack_max"] == printed["max"]
    assert numbers["packets in queue 1"] == printed["queue"]["waiting"]
    assert numbers["modules"] == "lose"
    assert numbers["lost entries by flow"] == "90 udp to 10.9.0.1:7100, 60 udp to 10.9.0.1:7101"
    assert {name: numbers[name] for name in printed["stat"]} == printed["stat"]


def test_a_table_that_is_not_full_is_no_matter(sample: Sample) -> None:
    # 173 of 842 entries are unconfirmed there, in a queue: of 65536 that may be.
    crash = sample("clash-ct-net")
    assert run(crash) is None
    (busy,) = (one for one in account(crash.prog) if one.counter)
    printed = read_toml("clash-ct-net", "expected.toml")["conntrack"]
    assert (busy.counter, busy.maximum) == (printed["count"], printed["max"])
    assert (busy.hashed, busy.unconfirmed, busy.dying) == (668, 173, 0)
    # CPU 1 is setting up an entry: counted, and not there yet.
    assert busy.difference == 1
    assert busy.balanced
