"""What changed between two dumps as a document, as lines and as text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import jsonschema
import pytest

from crashkit.crash import Crash
from crashkit.diff import compare_snapshots
from crashkit.diff.readings import Amount
from crashkit.diff.snapshot import Snapshot
from crashkit.errors import Reason, Unavailable
from crashkit.report.diff import build_diff, diff_lines, diff_schema
from crashkit.report.diff_words import bytes_words, grown_words, rate
from crashkit.report.json_text import render_json
from crashkit.report.text_diff import render_diff
from tests.unit.diff_doubles import LOST, NOT_LOADED, amount, listing, snapshot
from tests.unit.report_doubles import EVIL, seed

MIB = 1 << 20


def document(one: Snapshot, other: Snapshot) -> dict[str, Any]:
    crash = cast(Crash, seed())
    return build_diff(crash, crash, compare_snapshots(one, other))


@pytest.fixture
def leak() -> dict[str, Any]:
    before = snapshot({
        "slabs": listing(amount("kmalloc-512", count=12_288, bytes=6 * MIB, room=12_288),
                         amount("dentry", count=5, bytes=4096, room=5)),
        "conntrack": NOT_LOADED,
        "connlimit": NOT_LOADED,
        "tasks": listing(amount("Z", count=1), amount("D", count=50), incomplete=LOST),
        "events": listing(amount("forks", count=10)),
        "settings": listing(amount("vm.panic_on_oom", count=0)),
    })  # fmt: skip
    after = snapshot({
        "slabs": listing(amount("kmalloc-512", count=2_440_192, bytes=1200 * MIB, room=2_440_192),
                         amount("dentry", count=5, bytes=4096, room=5)),
        "conntrack": listing(amount("counter", count=842)),
        "connlimit": NOT_LOADED,
        "tasks": listing(amount("Z", count=400), amount("D", count=51)),
        "events": listing(amount("forks", count=40)),
        "settings": listing(amount("vm.panic_on_oom", count=1)),
    }, uptime=500.0, modules=frozenset({"nf_conntrack", "leaky"}))  # fmt: skip
    return document(before, after)


def test_the_document_is_valid_and_every_null_has_a_reason(leak: dict[str, Any]) -> None:
    schema = diff_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(render_json(leak)), schema)
    for section in leak["sections"]:
        for row in section["rows"]:
            for entry in (row, *row["numbers"].values()):
                nulls = {key for key, value in entry.items() if value is None}
                assert nulls == set(entry.get("absent", {}))


def test_lines_have_every_row_once(leak: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in diff_lines(leak)]
    assert {line["schema"] for line in lines} == {"crashkit.diff/1"}
    rows = [(line["section"], line["key"]) for line in lines if line["kind"] == "row"]
    assert rows == [(s["key"], r["key"]) for s in leak["sections"] for r in s["rows"]]
    assert lines[0]["kind"] == "head"
    assert "sections" not in lines[0]


def test_what_grew_comes_first_in_an_engineers_words(leak: dict[str, Any]) -> None:
    text = render_diff(leak)
    grew = text.split("GREW")[1].split("\n\n")[0].splitlines()
    words = "kmalloc-512: 12,288 -> 2,440,192 objects (+1.2 GiB, +3.0 MiB/s)"
    assert grew[0].strip() == words
    assert grew[1].strip().startswith("Z: 1 -> 400 tasks (+399, +0.998/s)")
    assert "1 more that do not stand out (-v)" in grew[2]
    assert "D: 50 -> 51 tasks" in render_diff(leak, 1)
    assert "SLABS (objects)  1 of 2 differ" in text
    assert "dentry" not in text
    assert "dentry" in render_diff(leak, 1)
    assert "         new   leaky" in text


def test_what_is_not_known_is_said(leak: dict[str, Any]) -> None:
    text = render_diff(leak)
    assert "before: not read: nf_conntrack is not loaded (not-applicable)" in text
    assert "? -> 842" in text
    assert "before: not read to the end: 2 caches could not be read (corrupted)" in text
    assert "CONNLIMIT" not in text  # neither has it
    assert "CONNLIMIT" in render_diff(leak, 1)


def test_merged_caches_are_named(leak: dict[str, Any]) -> None:
    one = Amount(key="kmalloc-64", name="kmalloc-64", numbers={"bytes": 0},
                 aliases=("a", "b", "nf_conncount_tuple"))  # fmt: skip
    made = document(
        snapshot({"slabs": listing(one)}),
        snapshot({"slabs": listing(replace(one, numbers={"bytes": MIB}))}, uptime=101.0),
    )
    jsonschema.validate(made, diff_schema())
    assert made["grew"][0]["words"].startswith("kmalloc-64 (also a, b, nf_conncount_tuple): ")
    assert "(also a, b, ...)" in render_diff(made)
    assert "(also a, b, nf_conncount_tuple)" in render_diff(made, 1).split("SLABS")[1]


def test_lines_fit(leak: dict[str, Any]) -> None:
    assert max(map(len, render_diff(leak, 1).splitlines())) <= 100


def test_nothing_that_grew_is_said() -> None:
    one = snapshot({"slabs": listing(amount("a", bytes=4096))})
    assert "GREW   nothing that is known of both" in render_diff(document(one, one))


def test_since_boot_of_two_boots_is_not_listed_unless_asked() -> None:
    one = snapshot({"events": listing(amount("forks", count=10))})
    other = snapshot({"events": listing(amount("forks", count=12))}, layout=(1, 2, 3))
    made = document(one, other)
    assert "EVENTS  since boot, not known to be of one boot" in render_diff(made)
    assert "10 -> 12" not in render_diff(made)
    assert "10 -> 12" in render_diff(made, 1)


def test_logs_have_facts_and_no_parts() -> None:
    lost = Unavailable("TAINT", Reason.NOT_IN_DUMP)
    made = document(snapshot(is_text=True, title="BUG: x", taint=lost),
                    snapshot(is_text=True, title="BUG: y"))  # fmt: skip
    jsonschema.validate(made, diff_schema())
    assert made["sections"] == []
    text = render_diff(made)
    assert "BUG: x -> BUG: y" in text
    assert "TAINT" not in text
    assert "? (not-in-dump) -> as before" in render_diff(made, 1)
    assert "GREW" not in text
    assert "NOTE   a log has no memory; only what both say is compared" in text


def test_hostile_names_are_safe_to_print() -> None:
    one = snapshot({"slabs": listing(amount(EVIL, bytes=1))}, title=EVIL)
    other = snapshot({"slabs": listing(amount(EVIL, bytes=MIB))}, uptime=101.0)
    text = render_diff(document(one, other), 1)
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (-4096, "-4 KiB"), (6 * MIB, "6.0 MiB"), (1 << 50, "1,024.0 TiB")],
)
def test_bytes_are_written_in_a_unit_that_fits(number: int, words: str) -> None:
    assert bytes_words(number) == words


def test_room_stands_in_for_objects_that_are_not_known() -> None:
    number = {"before": 1, "after": 2, "change": 1, "per_second": None}
    unknown = dict.fromkeys(number)
    row = {"numbers": {"count": unknown, "bytes": number, "room": number}}
    assert grown_words("x", "objects", row) == "x: room for 1 -> 2 objects (+1 B)"


@pytest.mark.parametrize(
    ("speed", "words"), [(None, ""), (0.0, ""), (-1234.5, "-1,234/s"), (0.02, "+0.020/s")]
)
def test_rates(speed: float | None, words: str) -> None:
    assert rate({"per_second": speed}, "count") == words
