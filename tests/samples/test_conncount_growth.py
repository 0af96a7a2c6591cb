"""The connlimit list of the flood: what crashkit reads is what the guest printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from crashkit.crash import Crash
from crashkit.decode.conncount import Conncount, longest_count, read_conncount
from crashkit.decode.conncount_binary import collection
from crashkit.errors import Unavailable
from crashkit.finding import Finding, Verdict
from crashkit.recipe import load_recipes, run_recipe
from crashkit.report import build_conncount, conncount_schema, render_conncount, render_json
from tests.samples.conftest import SAMPLES, open_sample, read_toml, required_pages

pytestmark = pytest.mark.sample

NAME = "conncount-growth"
RECIPE = "nf-conncount-growth"
Sample = Callable[[str], Crash]


@pytest.fixture
def crash(sample: Sample) -> Crash:
    return sample(NAME)


@pytest.fixture
def found(crash: Crash) -> Conncount:
    return read_conncount(crash.prog)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return read_toml(NAME, "expected.toml")


def finding(crash: Crash) -> Finding | None:
    (recipe,) = (r for r in load_recipes().recipes if r.meta.id == RECIPE)
    return run_recipe(recipe, crash)


def test_rule_is_the_one_iptables_printed(found: Conncount, expected: dict[str, Any]) -> None:
    (counted,) = found.counted
    (rule,) = counted.rules
    wanted = expected["rule"]
    assert rule.text == wanted["text"]
    assert (rule.limit, rule.packets) == (wanted["limit"], wanted["packets"])
    assert (rule.kind, rule.table, rule.chain, rule.number) == ("xt", "filter", "INPUT", 1)
    assert rule.drops


def test_list_is_as_long_as_the_kernel_said(
    crash: Crash, found: Conncount, expected: dict[str, Any]
) -> None:
    (counted,) = found.counted
    assert counted.lists is not None
    (held,) = counted.lists
    wanted = expected["list"]
    assert (held.count, held.length) == (wanted["count"], wanted["count"])
    assert (held.stale, counted.stale) == (wanted["stale"], wanted["stale"])
    assert longest_count(crash.prog) == wanted["count"]


def test_ticks_are_those_of_the_traffic(found: Conncount, expected: dict[str, Any]) -> None:
    (counted,) = found.counted
    assert counted.lists is not None
    ticks = counted.lists[0].ticks
    assert ticks is not None
    wanted = expected["list"]
    assert wanted["least_ticks"] <= ticks.ticks <= wanted["most_ticks"]
    assert sum(count for _age, count in ticks.added) == wanted["count"]
    # Sent less kept is what was collected: 9 a tick, and the 60 packets that were let through
    # are among those kept.
    collected = wanted["sent"] - wanted["count"]
    assert 8 * ticks.ticks <= collected <= 9 * (ticks.span + 1) + wanted["connections"]


def test_memory_is_that_of_slabinfo(found: Conncount, expected: dict[str, Any]) -> None:
    tuples = found.caches[0]
    wanted = expected["memory"]
    assert tuples.aliases is not None
    assert sorted([str(tuples.name), *tuples.aliases]) == wanted["cache_names"]
    assert (tuples.object_size, tuples.slabs) == (wanted["object_size"], wanted["slabs"])
    assert found.memory.total == wanted["mem_total_kib"] * 1024
    assert found.memory.slab is not None
    assert abs(found.memory.slab // 1024 - wanted["slab_kib"]) <= 64  # per-CPU remainders


def test_clock_is_the_kernels(found: Conncount, expected: dict[str, Any]) -> None:
    assert found.rate is not None
    assert (found.rate.hz, found.rate.source) == (expected["clock"]["hz"], "tick_nsec")
    before = expected["clock"]["jiffies_before"]
    assert before < found.now < before + 20 * found.rate.hz


def test_binary_collects_nine(crash: Crash, found: Conncount) -> None:
    seen = collection(crash.prog)
    assert (seen.per_pass, seen.again, seen.fixed) == (9, False, False)
    assert found.collects == "once per tick"


def test_recipe_confirms_with_its_evidence(crash: Crash) -> None:
    result = finding(crash)
    assert result is not None
    assert result.verdict is Verdict.CONFIRMED
    assert all(check.holds is not None for check in result.checks)
    assert result.fix is not None
    assert result.fix.in_this_binary is False
    assert "cmp $0x9" in (result.fix.how_seen or "")
    assert "9 stale entries" in result.history[2]


def test_document_is_valid_and_its_text_says_the_numbers(
    crash: Crash, expected: dict[str, Any]
) -> None:
    document = build_conncount(crash)
    jsonschema.validate(json.loads(render_json(document)), conncount_schema())
    (counted,) = document["counted"]
    assert counted["lists"][0]["key_text"] == expected["list"]["key"]
    bars = counted["lists"][0]["ticks"]["histogram"]
    assert sum(bar["entries"] for bar in bars) == expected["list"]["count"]
    text = render_conncount(document, 1)
    for said in (expected["rule"]["text"][:80], "38938 entries; 38878 of them", "Acpi-Operand"):
        assert said in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text


def test_kernel_without_connlimit_says_so(sample: Sample) -> None:
    crash = sample("clash-ct-net")
    document = build_conncount(crash)
    jsonschema.validate(json.loads(render_json(document)), conncount_schema())
    assert document["loaded"] is False
    assert "not loaded" in render_conncount(document)
    assert finding(crash) is None


def masked(address: int) -> tuple[Finding | None, str]:
    """The recipe's finding with one page gone; and why nobody knows, if it says so."""
    with open_sample(NAME, (address,)) as crash:
        try:
            return finding(crash), ""
        except Unavailable as missing:
            return None, str(missing)


def test_every_page_a_required_value_was_read_from_matters(crash: Crash, found: Conncount) -> None:
    result = finding(crash)
    assert result is not None
    pages = required_pages(result)
    assert len(pages) == 2  # the rule's and the list's
    read_on_the_way = {
        "nf_conncount_data": found.counted[0].address,
        "the connection table": crash.prog["nf_conntrack_hash"].value_(),
        "jiffies": crash.prog["jiffies"].address_,
        "the cpu masks": crash.prog["__cpu_possible_mask"].address_,
    }
    for page in (*pages, *read_on_the_way.values()):
        other, why = masked(page)
        assert other is None or other.verdict is Verdict.INCONCLUSIVE, f"{page:#x} did not matter"
        assert other is not None or why
        assert other is None or other.error is None


def test_one_lost_entry_leaves_the_length_unknown(crash: Crash, found: Conncount) -> None:
    held = (found.counted[0].lists or ())[0]
    first = crash.prog.read_u64(held.address + 8)
    with open_sample(NAME, (first,)) as damaged:
        (counted,) = read_conncount(damaged.prog).counted
        assert counted.lists is not None
        assert (counted.lists[0].length, counted.entries) == (None, None)
        assert counted.lists[0].count == held.count
        result = finding(damaged)
    assert result is not None
    assert result.verdict is Verdict.INCONCLUSIVE
    unread = {check.id for check in result.checks if check.holds is None}
    assert {"list-whole", "entries-stale", "ticks-crowded"} <= unread


def command(*words: object) -> tuple[int, str]:
    """Run ``crashkit conncount`` in a process of its own."""
    run = "import sys; from crashkit.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", run, "conncount", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=SAMPLES.parent,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_command_shows_the_list_in_both_forms(expected: dict[str, Any]) -> None:
    code, text = command(SAMPLES / NAME / "vmcore")
    assert code == 0
    assert text.startswith("CONNLIMIT  1 rule, 1 list, 38938 entries; 38878 of them (99.8 %)")
    code, written = command("--json", SAMPLES / NAME / "vmcore")
    assert code == 0
    document = json.loads(written)
    assert document["schema"] == "crashkit.conncount/1"
    assert document["totals"]["stale"] == expected["list"]["stale"]
    assert document["collection"]["has_fix"] is False


def test_command_on_a_dump_without_the_module() -> None:
    code, text = command(SAMPLES / "clash-ct-net" / "vmcore")
    assert code == 0
    assert text == "nf_conncount is not loaded: this kernel counts no connections.\n"
