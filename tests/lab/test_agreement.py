"""DWARF and the dump's own names and types give the same answers on a stock kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Type, TypeKind

from crashkit.crash import Crash
from crashkit.recipe import load_recipes, run_recipe

pytestmark = pytest.mark.lab

NAME = "clash-stock-6.1"
DECODED = (
    "sk_buff", "net_device", "nf_conn", "nf_conntrack_tuple", "nf_conntrack_tuple_hash", "net",
    "netns_ct", "nf_queue_entry", "iphdr", "ipv6hdr", "udphdr", "tcphdr", "icmphdr", "pt_regs",
    "task_struct", "kmem_cache", "nf_ct_event", "nf_conntrack_net", "nfqnl_instance",
    "ip_conntrack_stat", "module", "orc_entry",
)  # fmt: skip
Open = Callable[..., Crash]


@pytest.fixture
def both(opened: Open) -> tuple[Crash, Crash]:
    in_core, dwarf = opened(NAME), opened(NAME, "dwarf")
    assert in_core.types == "btf"
    assert dwarf.types in ("dwarf", "hybrid")
    return in_core, dwarf


def physical(crash: Crash) -> list[tuple[object, ...]]:
    return [
        (f.index, f.pc, f.sp, f.slot, f.cfa, f.function, f.offset, f.module, f.segment)
        for f in crash.frames
        if not f.inlined
    ]


def test_frames_agree(both: tuple[Crash, Crash]) -> None:
    in_core, dwarf = both
    assert physical(in_core) == physical(dwarf)
    assert len(physical(in_core)) > 10


def test_dwarf_adds_lines_and_inlined_frames(both: tuple[Crash, Crash]) -> None:
    in_core, dwarf = both
    assert all(frame.source is None and not frame.inlined for frame in in_core.frames)
    inlined = [frame.function for frame in dwarf.frames if frame.inlined]
    assert "nf_iterate" in inlined
    fault = dwarf.fault_frame
    assert fault is not None
    assert (fault.source or "").startswith("net/netfilter/nf_conntrack_ecache.c:")


def layout(type_: Type) -> list[tuple[object, ...]]:
    return [(m.name, m.bit_offset, m.bit_field_size, _size(m.type)) for m in type_.members or ()]


def _size(type_: Type) -> int | None:
    while type_.kind is TypeKind.TYPEDEF:
        type_ = type_.type
    if type_.kind is TypeKind.ARRAY:
        inner = _size(type_.type)
        return None if type_.length is None or inner is None else inner * type_.length
    return type_.size if hasattr(type_, "size") else None


@pytest.mark.parametrize("tag", DECODED)
def test_layouts_agree(both: tuple[Crash, Crash], tag: str) -> None:
    in_core, dwarf = (crash.prog.type(f"struct {tag}") for crash in both)
    assert in_core.size == dwarf.size
    assert layout(in_core) == layout(dwarf)


def test_explanation_and_verdict_agree(both: tuple[Crash, Crash]) -> None:
    in_core, dwarf = both
    assert in_core.fault is not None
    assert dwarf.fault is not None
    assert in_core.fault.expression == dwarf.fault.expression
    assert in_core.fault.registers == dwarf.fault.registers
    assert [s.address for s in in_core.skbs] == [s.address for s in dwarf.skbs]
    (recipe,) = (r for r in load_recipes().recipes if r.applies(in_core))
    left, right = run_recipe(recipe, in_core), run_recipe(recipe, dwarf)
    assert left is not None
    assert right is not None
    assert left.verdict is right.verdict
    assert [(c.id, c.holds) for c in left.checks] == [(c.id, c.holds) for c in right.checks]


def test_arguments_agree_with_drgns_own(both: tuple[Crash, Crash]) -> None:
    in_core, dwarf = both
    named = {}
    for crash in (in_core, dwarf):
        named[crash.types] = {
            (f.index, a.name): a.value
            for f in crash.frames
            if not f.inlined
            for a in crash.arguments(f)[0]
        }
    left, right = named.values()
    common = left.keys() & right.keys()
    assert len(common) >= 8
    assert {key: left[key] for key in common} == {key: right[key] for key in common}
