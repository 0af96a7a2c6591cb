"""Sections of panic.facts against what the guest printed of its own crash."""

from __future__ import annotations

import re
import time
from functools import cache
from typing import Any

import pytest

from crashkit.crash import Crash, open_crash
from crashkit.crash.panics import read_sections
from crashkit.report.document import build_report
from crashkit.report.text import render_text
from tests.lab.conftest import full_folder

pytestmark = pytest.mark.lab

KERNELS = ("6.1", "6.12")
every = pytest.mark.parametrize("kernel", KERNELS)
_PAGE = 4096


@cache
def opened(name: str, kernel: str) -> Crash:
    """One dump by its own types; skips, saying so, where there is none."""
    return open_crash(full_folder(f"kind-{name}-{kernel}") / "vmcore", types="btf")


def section(name: str, kernel: str, key: str) -> Any:
    crash = opened(name, kernel)
    assert crash.oops is not None
    found = read_sections(crash, crash.oops.kind)
    assert key in found.found, found.missing.get(key)
    return found.found[key]


def told(name: str, kernel: str, key: str) -> int:
    """A number that the guest printed last, ``kinds: key=…``."""
    numbers = re.findall(rf"kinds: .*\b{key}=(\w+)", opened(name, kernel).log)
    assert numbers, f"the guest did not print {key}"
    return int(numbers[-1], 16 if len(numbers[-1]) == 16 else 10)


@every
@pytest.mark.parametrize(
    "name", ["oomslab", "oomvmalloc", "oompages", "oomtmpfs", "oomrss", "oomcgroup"]
)
def test_all_memory_is_accounted_for(name: str, kernel: str) -> None:
    use = section(name, kernel, "oom").use
    assert all(one.pages is not None for one in use.consumers)
    assert use.accounted_pages + use.unaccounted_pages == use.total_pages
    if name != "oompages":
        assert 0 <= use.percent_unaccounted < 5


@every
def test_the_numbers_printed_at_the_panic_are_those_read(kernel: str) -> None:
    facts = section("oomslab", kernel, "oom")
    assert "shmem" in facts.corroborated
    if "pagetables" not in facts.corroborated:
        # The other CPU goes on after the numbers are printed, and may start or end a process.
        printed = re.findall(r"\bpagetables:(\d+)\s", opened("oomslab", kernel).log)
        assert abs(facts.use.pages("page_tables") - int(printed[-1])) < 16
    assert facts.panic_on_oom == 1
    assert facts.request.order == 0


@every
def test_a_slab_cache_that_grew_is_first(kernel: str) -> None:
    facts = section("oomslab", kernel, "oom")
    assert facts.use.consumers[0].key == "slab_unreclaimable"
    first = facts.slabs.caches[0]
    assert (first.name, first.object_size, first.reclaimable) == ("kinds_order", 496, False)
    assert first.cache == told("oomslab", kernel, "cache")
    assert first.used is not None
    assert first.used * 496 <= first.pages * _PAGE


@every
def test_vmalloc_areas_are_named_by_their_caller(kernel: str) -> None:
    facts = section("oomvmalloc", kernel, "oom")
    assert facts.use.consumers[0].key == "vmalloc"
    first = facts.vmalloc[0]
    assert first.name.startswith("leak_vmalloc+")
    assert first.areas >= told("oomvmalloc", kernel, "areas")
    assert first.pages * _PAGE >= first.areas * told("oomvmalloc", kernel, "bytes_each")


@every
def test_pages_that_nothing_counts_are_the_rest(kernel: str) -> None:
    use = section("oompages", kernel, "oom").use
    leaked = told("oompages", kernel, "pages")
    assert leaked <= use.unaccounted_pages < leaked + 4096 + use.total_pages // 20


@every
def test_files_in_memory_are_named(kernel: str) -> None:
    facts = section("oomtmpfs", kernel, "oom")
    assert facts.use.consumers[0].key == "shmem"
    first = facts.file_systems[0]
    assert first.kind == "tmpfs"
    assert {file.path for file in first.files} >= {"batch-1"}
    held = sum(system.pages for system in facts.file_systems)
    assert abs(held - facts.use.pages("shmem")) <= facts.use.total_pages // 100


@every
def test_the_process_that_took_all_is_first(kernel: str) -> None:
    facts = section("oomrss", kernel, "oom")
    assert facts.use.consumers[0].key == "anonymous"
    first = facts.processes.processes[0]
    assert first.comm == "orders"
    assert first.anon >= facts.use.pages("anonymous") * 9 // 10


@every
def test_a_cgroup_that_ran_out_is_named(kernel: str) -> None:
    request = section("oomcgroup", kernel, "oom").request
    assert request.constraint == "memcg"
    assert request.memcg.startswith("/")
    assert 0 < request.memcg_usage <= request.memcg_limit


@every
def test_memory_is_added_up_in_half_a_second(kernel: str) -> None:
    from crashkit.crash.panics import oom

    crash = opened("oomslab", kernel)
    section("oomslab", kernel, "oom")  # the names and types it needs are looked up once
    started = time.monotonic()
    assert oom.read(crash) is not None
    assert time.monotonic() - started < 0.5


@every
@pytest.mark.parametrize(
    ("name", "area", "offset", "length"),
    [("redzone", "right red zone", 64, 6), ("poisonwrite", "poison", 16, 1)],
)
def test_the_bytes_that_were_overwritten(
    name: str, area: str, offset: int, length: int, kernel: str
) -> None:
    facts = section(name, kernel, "slab")
    assert facts.report.object == told(name, kernel, "note")
    assert facts.corroborated is True
    (damaged,) = facts.report.damaged
    (one,) = damaged.differences
    assert (damaged.name, one.offset, one.length) == (area, offset, length)
    allocated = facts.report.tracks[0]
    assert allocated.caller.endswith("[kinds]")
    assert allocated.caller in allocated.stack


@every
def test_an_object_freed_twice(kernel: str) -> None:
    facts = section("dfree", kernel, "slab")
    assert facts.report.object == told("dfree", kernel, "owner")
    assert facts.double_free is True


@every
def test_an_entry_removed_twice(kernel: str) -> None:
    facts = section("listdel", kernel, "list")
    assert (facts.operation, facts.wrong) == ("delete", "entry->next")
    (entry,) = facts.nodes
    assert entry.address == told("listdel", kernel, "queue")
    assert entry.next_words is not None
    assert entry.next_words.startswith("LIST_POISON1")


@every
def test_the_link_of_a_damaged_entry(kernel: str) -> None:
    facts = section("listadd", kernel, "list")
    assert (facts.operation, facts.wrong) == ("add", "prev->next")
    nodes = {node.role: node.address for node in facts.nodes}
    assert nodes["prev"] == told("listadd", kernel, "last")
    assert nodes["next"] == told("listadd", kernel, "list")
    wrong = next(link for link in facts.links if not link.holds)
    assert (wrong.expression, wrong.now) == ("prev->next", wrong.printed)


@every
@pytest.mark.parametrize("name", ["refcount", "refcountfull", "refcountunder"])
def test_a_counter_is_the_right_one_or_none(name: str, kernel: str) -> None:
    facts = section(name, kernel, "refcount")
    if facts.address is not None:
        assert facts.address == told(name, kernel, "refcount")
        assert facts.state == "saturated"


@every
def test_a_copy_beyond_its_object(kernel: str) -> None:
    facts = section("usercopy", kernel, "usercopy")
    assert facts.address == told("usercopy", kernel, "owner")
    assert facts.size == told("usercopy", kernel, "size")
    assert facts.beyond == facts.size - facts.object.object_size
    assert facts.conflicts == ()


@every
def test_endless_recursion(kernel: str) -> None:
    facts = section("stackoverflow", kernel, "stack")
    assert facts.place == "its guard page"
    assert facts.cycle.functions == ("descend",)
    assert facts.cycle.rounds > 20
    assert facts.cycle.bytes_per_round > 8 * 30  # its frame has 31 words
    assert facts.end_intact is True


@every
def test_an_overwritten_canary(kernel: str) -> None:
    facts = section("stackprotector", kernel, "stack").canary
    assert facts.function == "parse_name"
    assert facts.damaged is True
    assert b"a name that is far longer" in bytes.fromhex(facts.around)


@every
def test_a_stack_pointer_that_leads_nowhere(kernel: str) -> None:
    facts = section("doublefault", kernel, "stack")
    assert (facts.sp, facts.place) == (told("doublefault", kernel, "stack"), "no stack")


@every
@pytest.mark.parametrize(
    ("name", "kind", "caller"),
    [("nullcall", "null", "close_port"), ("nxjump", "kernel-data", "send_port"),
     ("smep", "user", "send_port"), ("unloaded", "module-area", "send_port")],
)  # fmt: skip
def test_who_jumped_to_where_no_code_is(name: str, kind: str, caller: str, kernel: str) -> None:
    facts = section(name, kernel, "exec")
    assert facts.kind == kind
    assert facts.caller.startswith(f"{caller}+")
    assert facts.call_is_indirect is True


@every
def test_a_division_by_zero(kernel: str) -> None:
    facts = section("div0", kernel, "divide")
    assert (facts.dividend, facts.divisor, facts.cause) == (70000, 0, "divisor is 0")


@every
@pytest.mark.parametrize(("name", "warning"), [("bug", False), ("warn", True), ("warntext", True)])
def test_the_line_of_a_check(name: str, warning: bool, kernel: str) -> None:
    facts = section(name, kernel, "bug")
    assert facts.entry.file.endswith("checks.c")
    assert facts.entry.warning is warning
    assert facts.origin == "bug table and log"
    assert (facts.message == "queue of orders0 has depth 5") is (name == "warntext")


@every
def test_why_init_ended(kernel: str) -> None:
    facts = section("init", kernel, "init")
    assert (facts.status, facts.signal, facts.origin) == (3, None, "task and log")
    facts = section("initsegv", kernel, "init")
    assert (facts.status, facts.signal) == (None, "SIGSEGV")
    assert facts.process.arguments == "/bin/orders segv"


@every
def test_a_root_file_system_that_is_not_there(kernel: str) -> None:
    facts = section("noroot", kernel, "no_root_fs")
    assert facts.parameters == {"rdinit": "/sbin/none", "root": "/dev/vda1"}
    assert facts.error is not None
    assert facts.error_words == "no such device"
    assert facts.partitions == ()


@every
def test_an_nmi_for_no_reason(kernel: str) -> None:
    facts = section("nmi", kernel, "nmi")
    assert (facts.cause, facts.settings["unknown_nmi_panic"]) == ("unknown", 1)
    assert facts.unknown_before >= 1


@every
def test_a_page_given_back_with_a_mapping(kernel: str) -> None:
    facts = section("badpage", kernel, "bad_page")
    assert facts.why == "non-NULL mapping"
    assert facts.page.page == told("badpage", kernel, "page")
    assert facts.page.mapping != 0


@every
def test_a_machine_check_in_memory_and_log(kernel: str) -> None:
    facts = section("mce", kernel, "mce")
    (record,) = facts.records
    assert (record.bank, record.status.status) == (8, 0xBE00_0000_0000_009F)
    assert (record.address, facts.corroborated) == (0x123_4000, True)


@every
@pytest.mark.parametrize("name", ["oomslab", "redzone", "listadd", "stackoverflow", "bug"])
@pytest.mark.parametrize("verbose", [0, 2])
def test_the_text_stays_within_its_columns(name: str, verbose: int, kernel: str) -> None:
    document = build_report(opened(name, kernel), ())
    lines = render_text(document, verbose).splitlines()
    assert max(map(len, lines)) <= 100
