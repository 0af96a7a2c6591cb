"""What addresses of real dumps are, and what their page tables and free lists say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object, Program
from drgn.helpers.linux.slab import slab_object_info

from crashkit.crash import Crash
from crashkit.decode import classify_address, walk_page_tables
from crashkit.decode.address_regions import region_named
from crashkit.decode.slab_place import free_place, slab_pages
from tests.lab.conftest import full_folder

RUN = ("sysrq-6.1/kdump-zlib", "clash-stock-6.12")  # the second has five levels of page tables
FULL = ("sysrq-6.1-la57", "clash-stock-7")
_STEP = 10 * 4096 + 64 * 7


@pytest.fixture(params=RUN + FULL)
def prog(request: pytest.FixtureRequest, opened: Callable[..., Crash]) -> Program:
    if request.param in FULL:
        full_folder(request.param)
    return opened(request.param).prog


@pytest.fixture
def task(prog: Program) -> Object:
    return prog.crashed_thread().object


def kind(prog: Program, address: int) -> str:
    return classify_address(prog, address).kind


def test_a_task_its_stack_and_the_page_below(prog: Program, task: Object) -> None:
    stack = int(task.stack)
    assert kind(prog, int(task)) == "task"
    facts = classify_address(prog, stack + 0x100)
    assert (facts.kind, facts.pid, facts.offset) == ("stack", int(task.pid), 0x100)
    below = classify_address(prog, stack - 8)
    assert (below.kind, below.pid) == ("stack-guard", int(task.pid))
    assert kind(prog, stack + int(prog["THREAD_SIZE"])) == "vmalloc-guard"
    assert walk_page_tables(prog, stack).writable
    for guard in (stack - 8, stack + int(prog["THREAD_SIZE"])):
        assert "entry is empty" in (walk_page_tables(prog, guard).refuses("read") or "")


def test_the_kernels_own_image(prog: Program) -> None:
    text = prog.symbol("schedule").address
    facts = classify_address(prog, text + 4)
    assert (facts.kind, facts.section, facts.words) == ("symbol", "text", "schedule+0x4")
    walk = walk_page_tables(prog, text)
    assert walk.executable
    assert "read-only" in (walk.refuses("write") or "")
    data = prog.symbol("init_net").address
    assert classify_address(prog, data).section in ("data", "bss")
    assert "no-execute" in (walk_page_tables(prog, data).refuses("exec") or "")


def test_the_walk_agrees_with_the_direct_map(prog: Program, task: Object) -> None:
    region = region_named(prog, "direct-map")
    assert region is not None
    assert walk_page_tables(prog, int(task)).physical == int(task) - region.start


def test_per_cpu_variables_have_names(prog: Program) -> None:
    place = prog.symbol("runqueues").address + int(prog["__per_cpu_offset"][1])
    facts = classify_address(prog, (place + 0x10) % (1 << 64))
    assert (facts.kind, facts.name, facts.offset, facts.cpu) == ("per-cpu", "runqueues", 0x10, 1)


def test_modules_and_what_lies_between(prog: Program) -> None:
    region = region_named(prog, "modules")
    assert region is not None
    assert kind(prog, int(prog["modules"].next)) == "module"
    assert kind(prog, region.end - 0x10_0000) == "module-hole"


def test_free_lists_never_contradict_what_drgn_found_free(prog: Program) -> None:
    region = region_named(prog, "direct-map")
    assert region is not None
    counts = {True: 0, False: 0}  # free, allocated
    for address in range(region.start, region.end, _STEP):
        info = slab_object_info(prog, address)
        if info is None or info.allocated is None:
            continue
        if not slab_pages(info.slab_cache, info.slab).holds(info.address):
            continue  # past the last object
        found = free_place(info.slab_cache, info.slab, info.address)
        counts[found is not None] += 1
        if not info.allocated:
            assert found is not None
    assert counts[True] > 0
    assert counts[False] > 100
