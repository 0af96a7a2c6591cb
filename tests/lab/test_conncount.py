"""connlimit in the lab's guests: what crashkit reads is what the guest printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

from crashkit.crash import Crash
from crashkit.decode.conncount import Conncount, Counted, read_conncount
from crashkit.decode.conncount_binary import collection
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from crashkit.report import build_conncount, conncount_schema, render_json
from tests.lab.conftest import lab_folder, made

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]

GROWN = ("conncount-growth-6.1", "conncount-growth-6.12", "conncount-growth-6.16")


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the guest printed last."""

    count: int
    """What the kernel's counting function returned for the last packet."""
    packets: int
    """Counter of the iptables rule."""
    connections: int
    """``conntrack -C``"""
    slabs: int
    """Of the cache that ``nf_conncount_tuple`` is merged with, from /proc/slabinfo."""
    slabs_before: int
    """The same before the flood."""


def truth(name: str) -> Truth:
    """Read a guest's console."""
    console = (lab_folder() / name / "console.txt").read_text(errors="replace")
    before, after = console.split("lab: sending")[0], console.split("lab: counted")[-1]
    return Truth(
        count=_number(r"counted: .* count=(\d+)", console),
        packets=_number(r"^\s+(\d+)\s+\d+ \S*\s+17\s+-- ", after),
        connections=_number(r"^lab: conntracks (\d+)", after),
        slabs=_slabs(after),
        slabs_before=_slabs(before),
    )


def _slabs(text: str) -> int:
    # Of the largest cache of such objects: the others have a few.
    return max(int(n) for n in re.findall(r" 72 +56 .*slabdata +(\d+)", text))


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, pattern
    return int(found[1])


def finding(crash: Crash) -> Finding | None:
    """Run the recipe."""
    (recipe,) = (r for r in load_recipes().recipes if r.meta.id == "nf-conncount-growth")
    found = run_recipe(recipe, crash)
    assert found is None or found.error is None, found and found.error
    return found


def only(found: Conncount) -> Counted:
    """What is counted, when it is by one rule."""
    (counted,) = found.counted
    return counted


def test_healthy_system_has_its_one_list(opened: Open) -> None:
    found = read_conncount(opened("sysrq-6.1/kdump-zlib").prog)
    counted = only(found)
    (rule,) = counted.rules
    assert rule.text == (
        "-A INPUT -p tcp -m tcp --dport 7000 --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit"
        " --connlimit-above 6 --connlimit-mask 32 --connlimit-saddr"
        " -j REJECT --reject-with icmp-port-unreachable"
    )
    # 8 connections were asked for; the seventh and eighth made the rule match.
    assert counted.counts == counted.entries
    assert 6 <= (counted.entries or 0) <= 8
    assert not found.unread


def test_healthy_system_is_no_growth(opened: Open) -> None:
    assert finding(opened("sysrq-6.1/kdump-zlib")) is None


@pytest.mark.parametrize("name", GROWN)
def test_growth_is_what_the_guest_printed(opened: Open, name: str) -> None:
    crash = made(opened, name)
    said, found = truth(name), read_conncount(crash.prog)
    counted = only(found)
    (rule,) = counted.rules
    assert (counted.counts, counted.entries) == (said.count, said.count)
    assert counted.stale == said.count - said.connections
    assert rule.packets == said.packets
    assert found.caches[0].slabs == said.slabs
    assert "nf_conncount_tuple" in (found.caches[0].aliases or ())
    assert found.collects == "once per tick"
    assert found.rate is not None
    assert found.rate.hz == 250


@pytest.mark.parametrize("name", [*GROWN, "conncount-oom-6.12"])
def test_growth_is_confirmed(opened: Open, name: str) -> None:
    crash = made(opened, name)
    found = finding(crash)
    assert found is not None
    assert found.verdict is Verdict.CONFIRMED, [(c.id, c.holds, c.why_not) for c in found.checks]
    assert found.fix is not None
    assert found.fix.in_this_binary is False
    assert collection(crash.prog).per_pass == 9


def test_memory_that_ran_out_is_in_the_list(opened: Open) -> None:
    crash = made(opened, "conncount-oom-6.12")
    document: dict[str, Any] = json.loads(render_json(build_conncount(crash)))
    jsonschema.validate(document, conncount_schema())
    assert document["totals"]["share_of_slab"] > 0.5
    assert document["totals"]["entries"] * 72 == document["totals"]["bytes"]
    assert "Out of memory" in crash.log


def test_rules_of_nftables_and_of_iptables_nft(opened: Open) -> None:
    name = "conncount-nft-6.16"
    crash = made(opened, name)
    said, found = truth(name), read_conncount(crash.prog)
    console = (lab_folder() / name / "console.txt").read_text(errors="replace")
    own = {one.rules[0].kind: one for one in found.counted}
    assert sorted(own) == ["nft", "nft-xt"]
    assert own["nft-xt"].counts == own["nft-xt"].entries == said.count
    assert own["nft-xt"].rules[0].packets == said.packets
    printed = re.findall(r"ct count over (\d+) counter packets (\d+) .* drop", console)[-1]
    rule = own["nft"].rules[0]
    assert (rule.limit, rule.packets) == tuple(map(int, printed))
    assert rule.text.startswith("inet count in: udp sport ")
    assert rule.text.endswith(" ct count over 60 drop")
    assert (rule.drops, rule.table, rule.chain) == (True, "count", "in")
    listed = own["nft"].entries or 0
    assert listed == own["nft"].counts
    # nftables does not return a length: the two lists together are what the slabs grew by.
    assert abs((said.slabs - said.slabs_before) * 56 - listed - said.count) <= 8 * 56
    result = finding(crash)
    assert result is not None
    assert result.verdict is Verdict.CONFIRMED


@pytest.mark.parametrize("name", ["conncount-live-6.1", "conncount-live-6.12"])
def test_list_of_living_connections_is_refuted(opened: Open, name: str) -> None:
    crash = made(opened, name)
    said, counted = truth(name), only(read_conncount(crash.prog))
    assert (counted.entries, counted.stale) == (said.count, said.count - said.connections)
    assert counted.stale == 0
    found = finding(crash)
    assert found is not None
    assert found.verdict is Verdict.REFUTED
    failed = {check.id for check in found.checks if check.holds is False}
    assert "entries-stale" in failed


def test_stale_list_of_a_fixed_kernel_is_refuted(opened: Open) -> None:
    found = finding(made(opened, "conncount-flushed-6.1"))
    assert found is not None
    assert found.verdict is Verdict.REFUTED
    held = {check.id for check in found.checks if check.holds}
    assert {"list-long", "entries-stale", "fixed"} <= held
    assert found.fix is not None
    assert found.fix.in_this_binary is True


@pytest.mark.parametrize("name", ["conncount-fixed-6.12", "conncount-fixed-7"])
def test_flood_on_a_fixed_kernel_leaves_a_short_list(opened: Open, name: str) -> None:
    crash = made(opened, name)
    said, found = truth(name), read_conncount(crash.prog)
    (rule,) = only(found).rules
    assert (only(found).entries, rule.packets) == (said.count, said.packets)
    assert only(found).stale == said.count - said.connections
    assert found.caches[0].slabs == said.slabs
    assert collection(crash.prog).fixed is True
    assert found.collects == "once per tick or 64"
    assert finding(crash) is None
