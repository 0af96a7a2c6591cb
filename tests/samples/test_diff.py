"""``crashkit diff`` on committed samples: of two boots, and of one boot with pages changed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import drgn
import jsonschema
import pytest
from drgn.helpers.linux.slab import find_slab_cache, slab_cache_order

from crashkit.crash import Crash
from crashkit.decode.conntrack_crowding import conntrack_count_place
from crashkit.decode.jiffies import ticks_per_second
from crashkit.diff import Change, Difference, compare
from crashkit.errors import Reason
from crashkit.report.diff import diff_schema
from tests.samples.conftest import PAGE, SAMPLES, open_sample, read_toml, run_command

pytestmark = pytest.mark.sample

A, B = SAMPLES / "clash-ct-net" / "vmcore", SAMPLES / "table-full" / "vmcore"
SECONDS = 1000


def change(found: Difference, part: str, key: str, quantity: str = "count") -> Change:
    section = next(one for one in found.sections if one.key == part)
    return next(row for row in section.rows if row.key == key).numbers[quantity]


def numbers(found: Difference) -> list[tuple[str, str, str, int | None, int | None, int | None]]:
    return [
        (section.key, row.key, quantity, number.before, number.after, number.change)
        for section in found.sections
        for row in section.rows
        for quantity, number in row.numbers.items()
    ]


def patch(prog: drgn.Program, address: int, data: bytes) -> None:
    """Put other bytes into a page of a dump that is open."""
    start = address & ~(PAGE - 1)
    page = bytearray(prog.read(start, PAGE))
    page[address - start : address - start + len(data)] = data

    def read(at: int, count: int, _offset: int, _physical: bool) -> bytes:
        return bytes(page[at - start : at - start + count])

    prog.add_memory_segment(start, PAGE, read)


def add(number: drgn.Object, more: int) -> None:
    """Make a number in memory larger."""
    assert number.address_ is not None
    value = (int(number.value_()) + more) % (1 << 8 * drgn.sizeof(number))
    patch(number.prog_, number.address_, value.to_bytes(drgn.sizeof(number), "little"))


def kmalloc_512(prog: drgn.Program) -> drgn.Object:
    cache = find_slab_cache(prog, "kmalloc-512")
    assert cache is not None
    return cache


@pytest.fixture
def before() -> Iterator[Crash]:
    with open_sample("table-full") as crash:
        yield crash


@pytest.fixture
def after() -> Iterator[Crash]:
    """The same boot, a while later: a cache, a counter and the uptime are larger."""
    with open_sample("table-full") as crash:
        prog = crash.prog
        crash.target = replace(crash.target, crash_time=(crash.target.crash_time or 0) + SECONDS)
        add(prog["jiffies_64"], SECONDS * ticks_per_second(prog))
        cache = kmalloc_512(prog)
        add(cache.node[0].nr_slabs.counter, 10_000)
        add(cache.node[0].total_objects.counter, 80_000)
        place = conntrack_count_place(prog["init_net"].address_of_())
        add(drgn.Object(prog, "int", address=place), 30)
        add(prog["nr_files"].count, 500)
        yield crash


def test_two_dumps_of_one_boot_have_rates(before: Crash, after: Crash) -> None:
    found = compare(after, before)
    assert (found.order.swapped, found.order.same_boot) == (True, True)
    assert found.order.elapsed_s == SECONDS
    slab = change(found, "slabs", "kmalloc-512", "bytes")
    order = int(slab_cache_order(kmalloc_512(before.prog)))
    assert slab.change == 10_000 * PAGE << order
    assert slab.per_second == slab.change / SECONDS
    assert change(found, "slabs", "kmalloc-512").change == 80_000
    assert change(found, "conntrack", "counter").change == 30
    assert change(found, "files", "files").per_second == 0.5
    assert found.grew[0].row.key == "kmalloc-512"
    # The rest is as it was, but what the counter is held against.
    assert {(s.key, row.key) for s in found.sections for row in s.rows if row.differs} == {
        ("slabs", "kmalloc-512"),
        ("conntrack", "counter"),
        ("conntrack", "difference"),
        ("files", "files"),
    }


def test_a_dump_with_itself_shows_nothing(before: Crash) -> None:
    found = compare(before, before)
    assert [(s.key, row.key) for s in found.sections for row in s.rows if row.differs] == []
    assert found.grew == ()
    assert found.order.same_boot is True
    assert all(fact.same is not False for fact in found.facts)
    assert len(found.sections) > 10


def test_two_boots_are_those_the_guests_told_of(before: Crash) -> None:
    printed = read_toml("table-full", "expected.toml")["printed"]
    with open_sample("clash-ct-net") as clash:
        found, back = compare(clash, before), compare(before, clash)
    assert found.order.same_boot is False
    counter = change(found, "conntrack", "counter")
    assert counter.after == printed["count"]
    assert change(found, "conntrack", "undelivered").after == printed["dying_list"]
    assert change(found, "settings", "nf_conntrack_max").after == printed["max"]
    assert counter.per_second is None
    assert change(found, "connlimit", "entries").absent["before"].reason is Reason.NOT_APPLICABLE
    assert found.modules is not None
    assert "nf_conncount" in found.modules.only_after
    assert change(found, "events", "forks").change is None
    assert (found.order.taken_first, back.order.taken_first) == ("before", "after")
    mirrored = {(*one[:3], one[4], one[3], None if one[5] is None else -one[5])
                for one in numbers(found)}  # fmt: skip
    assert mirrored == set(numbers(back))


def test_a_page_that_is_lost_is_not_zero(before: Crash) -> None:
    address = int(before.prog["nr_files"].address_of_())
    with open_sample("table-full", masked=(address,)) as masked:
        files = change(compare(before, masked), "files", "files")
    assert (files.before, files.after, files.change) == (change_of_files(before), None, None)
    assert files.absent["after"].reason is Reason.NOT_IN_DUMP


def change_of_files(crash: Crash) -> int | None:
    return change(compare(crash, crash), "files", "files").before


def crashkit(*words: object) -> subprocess.CompletedProcess[str]:
    return run_command("diff", *words)


def document(*words: object) -> dict[str, Any]:
    done = crashkit(*words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(made, diff_schema())
    return made


def test_the_command_writes_a_valid_document_twice_the_same() -> None:
    made = document(A, B)
    assert made == document(A, B)
    assert made["before"]["target"]["path"] == str(A)


def test_the_command_writes_text_and_lines(tmp_path: Path) -> None:
    done = crashkit(A, B)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("BEFORE clash-ct-net/vmcore (first)")
    assert max(map(len, done.stdout.splitlines())) <= 100
    out = tmp_path / "lines"
    assert crashkit(A, B, "--format", "jsonl", "-o", out).returncode == 0
    kinds = {json.loads(line)["kind"] for line in out.read_text().splitlines()}
    assert kinds == {"head", "section", "row"}


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "vmcore"
    empty.write_bytes(b"")
    for words in ((A, empty), (empty, A)):
        done = crashkit(*words)
        assert done.returncode == 3
        assert str(empty) in done.stderr
        assert done.stdout == ""


def test_a_cut_dump_is_partial(tmp_path: Path) -> None:
    cut = tmp_path / "vmcore-incomplete"
    cut.write_bytes(B.read_bytes()[:4_000_000])
    done = crashkit(A, cut, "-q")
    assert done.returncode == 5
    assert "not-in-dump" in done.stdout


def test_logs_alone_are_compared_as_far_as_they_go() -> None:
    made = document(A.parent / "console.txt", B.parent / "console.txt")
    same = {fact["key"]: fact["same"] for fact in made["facts"]}
    assert (same["release"], same["title"], same["stack_key"]) == (True, False, False)
    assert made["sections"] == []
    mixed = document(A, A.parent / "console.txt")
    same = {fact["key"]: fact["same"] for fact in mixed["facts"]}
    assert (same["title"], same["stack_key"], same["taint"]) == (True, True, True)
