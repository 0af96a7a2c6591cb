"""A damaged dump never ends in a traceback, in a recipe's error, or in an endless walk."""

from __future__ import annotations

import os
import random

import drgn
import pytest

from crashkit.crash import Crash, open_crash, opening
from crashkit.decode.printk import read_log
from crashkit.pipeline import triage
from crashkit.recipe import load_recipes
from crashkit.symbols import find_symbol
from crashkit.target import Target, open_program
from crashkit.target.vmcoreinfo import VmcoreInfo, parse
from tests.samples.conftest import PAGE, SAMPLES

pytestmark = pytest.mark.sample

VMCORE = SAMPLES / "clash-ct-net" / "vmcore"
RUNS = int(os.environ.get("CRASHKIT_FUZZ_RUNS", "16"))
NAMED = (
    "init_net", "prb", "modules", "slab_caches", "nf_conntrack_cachep", "init_task", "runqueues",
    "__per_cpu_offset", "nf_conntrack_hash", "tainted_mask", "btf_idr", "net_namespace_list",
    "vmemmap_base", "panic_cpu", "tk_core", "__start_orc_unwind", "__start_orc_unwind_ip",
)  # fmt: skip


@pytest.fixture(scope="module")
def pages() -> list[int]:
    """Pages that a report reads: stacks, code, objects, and the kernel's own tables."""
    with open_crash(VMCORE, types="btf") as crash:
        prog = crash.prog
        found = {frame.pc for frame in crash.frames} | {frame.sp for frame in crash.frames}
        found |= {item.address for item in crash.objects}
        found |= {link.value for link in crash.fault.chain if link.value} if crash.fault else set()
        found |= {symbol.address for name in NAMED if (symbol := find_symbol(prog, name))}
        found |= {int(prog["prb"]), int(prog["nf_conntrack_cachep"]), crash.thread.task or 0}
        found |= {int(module.object_address) for module in _modules(crash)}
    return sorted({address & ~(PAGE - 1) for address in found if address})


def _modules(crash: Crash) -> list[drgn.Object]:
    from crashkit.symbols.lookup import names_of

    return list(names_of(crash.prog).modules)


def damage(prog: drgn.Program, page: int, pages: list[int], dice: random.Random) -> None:
    """Overlay one page with noise, flipped bits, wild words, or nothing at all."""
    try:
        content = bytearray(prog.read(page, PAGE))
    except drgn.FaultError:
        return  # an earlier page's damage took this one's mapping away
    kind = dice.choice(("noise", "bits", "words", "gone"))
    if kind == "noise":
        content[:] = dice.randbytes(PAGE)
    for _ in range(dice.choice((1, 8, 64)) if kind == "bits" else 0):
        content[dice.randrange(PAGE)] ^= 1 << dice.randrange(8)
    for _ in range(dice.choice((4, 64, 256)) if kind == "words" else 0):
        at = 8 * dice.randrange(PAGE // 8)
        wild = (0, 1, (1 << 64) - 1, 1 << 63, dice.choice(pages) + at, dice.getrandbits(64))
        content[at : at + 8] = dice.choice(wild).to_bytes(8, "little")

    def read(address: int, count: int, offset: int, physical: bool) -> bytes:
        if kind == "gone":
            raise drgn.FaultError("page taken out by the test", address)
        return bytes(content[offset : offset + count])

    prog.add_memory_segment(page, PAGE, read)


@pytest.mark.parametrize("seed", range(RUNS))
def test_damage_is_survived(seed: int, pages: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(seed)

    def open_damaged(target: Target) -> drgn.Program:
        prog = open_program(target)
        for page in dice.sample(pages, dice.choice((1, 1, 2, 3))):
            damage(prog, page, pages, dice)
        return prog

    monkeypatch.setattr(opening, "open_program", open_damaged)
    with open_crash(VMCORE, types="btf") as crash:
        report = triage(crash, recipes=load_recipes())
        assert "RELEASE: 6.1.192-crashkit" in report.text()
    assert report.exit_code in (0, 4)
    assert [finding["error"] for finding in report["findings"] if finding["error"]] == []


@pytest.mark.parametrize("table", ["kallsyms_names", "kallsyms_offsets", "kallsyms_token_index"])
def test_symbols_of_a_damaged_table_are_none(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a damaged page each name would have another's address."""
    with open_crash(VMCORE, types="btf") as crash:
        start = parse(crash.prog["VMCOREINFO"].string_()).symbol(table)
        page = (start + 0x10_000 * (table == "kallsyms_names")) & -PAGE

    def open_damaged(target: Target) -> drgn.Program:
        prog = open_program(target)
        noise = random.Random(table).randbytes(PAGE)
        prog.add_memory_segment(page, PAGE, lambda _address, count, at, _: noise[at : at + count])
        return prog

    monkeypatch.setattr(opening, "open_program", open_damaged)
    with open_crash(VMCORE, types="btf") as crash:
        assert find_symbol(crash.prog, "nf_conntrack_hash") is None
        report = triage(crash, recipes=load_recipes())
    assert report.exit_code == 4
    assert "kallsyms" in report.text()


def test_a_damaged_orc_costs_the_registers_of_the_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """drgn walks the whole stack, or gives nothing of it."""
    with open_crash(VMCORE, types="btf") as crash:
        bounds = [find_symbol(crash.prog, f"__{end}_orc_unwind") for end in ("start", "stop")]
    assert bounds[0] is not None
    assert bounds[1] is not None
    start, size = bounds[0].address & -PAGE, (bounds[1].address - bounds[0].address) & -PAGE

    def open_damaged(target: Target) -> drgn.Program:
        prog = open_program(target)
        prog.add_memory_segment(start, size, lambda _address, count, _at, _: b"\xff" * count)
        return prog

    monkeypatch.setattr(opening, "open_program", open_damaged)
    with open_crash(VMCORE, types="btf") as crash:
        report = triage(crash, recipes=load_recipes())
        assert len(crash.cpu_stacks()) == report["target"]["cpus"]
    assert report.exit_code in (0, 5)
    assert report["panic"]["pid"] is not None


def test_the_log_where_vmcoreinfo_does_not_lead_to_it() -> None:
    with open_crash(VMCORE, types="btf") as crash:
        lines = read_log(crash.prog, VmcoreInfo({})).text.splitlines()
        assert lines[:60] == crash.log.splitlines()[:60]
