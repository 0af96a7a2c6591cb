"""The raced clash: what crashkit reads is what crash, drgn and the console show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import drgn
import pytest

from crashkit.crash import Crash
from crashkit.decode import decode_nf_conn, decode_packet, find_in_hash, slab_identity
from crashkit.decode.conntrack_hash import find_in_chains
from crashkit.finding import Finding, Verdict
from crashkit.layout import offset_of
from crashkit.recipe import load_recipes, run_recipe
from crashkit.symbols import symbol_at
from crashkit.unwind import Segment
from crashkit.value import Certainty, Origin
from tests.samples.conftest import SAMPLES, read_toml

pytestmark = pytest.mark.sample

NAME = "clash-ct-net"
Sample = Callable[[str], Crash]


@pytest.fixture
def crash(sample: Sample) -> Crash:
    return sample(NAME)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return read_toml(NAME, "expected.toml")


@pytest.fixture
def finding(crash: Crash) -> Finding:
    (recipe,) = (r for r in load_recipes().recipes if NAME in r.meta.matches)
    found = run_recipe(recipe, crash)
    assert found is not None
    assert found.error is None
    return found


def test_target_is_read_from_the_file(crash: Crash) -> None:
    described = read_toml(NAME, "sample.toml")
    assert crash.target.format == "kdump"
    assert crash.target.compression == "zlib"
    assert crash.target.dump_level == 31
    assert crash.target.release == described["kernel"]["release"]
    assert crash.target.build_id == described["kernel"]["build_id"]
    assert not crash.target.truncated
    assert crash.types == "btf"


def test_thread_is_the_one_the_console_names(crash: Crash, expected: dict[str, Any]) -> None:
    panic = expected["panic"]
    thread = crash.thread
    assert (thread.cpu, thread.pid, thread.comm) == (panic["cpu"], panic["pid"], panic["comm"])
    assert thread.task == int(panic["task"], 0)
    assert thread.context == "process"


def test_registers_are_those_of_the_fault(crash: Crash, expected: dict[str, Any]) -> None:
    assert crash.fault_frame is not None
    held = crash.fault_frame.registers
    for name, value in expected["registers"].items():
        wanted = int(value, 0)
        mask = 0xFFFF_FFFF if name == "rsi" and wanted <= 0xFFFF_FFFF else (1 << 64) - 1
        assert held["rflags" if name == "eflags" else name].value & mask == wanted, name


def test_frames_are_numbered_as_crash_numbers_them(crash: Crash, expected: dict[str, Any]) -> None:
    functions = [frame.function for frame in crash.outer_frames]
    assert functions == expected["stack"]["frames"]
    assert [frame.function for frame in crash.frames][:3] == [
        "machine_kexec", "__crash_kexec", "crash_kexec",
    ]  # fmt: skip
    entry = crash.find_frame("nf_confirm")
    assert entry is not None
    assert entry.index == 7  # crash 8.0.2: "#7 [...] nf_confirm"
    assert all(frame.segment is Segment.TASK for frame in crash.frames)


def test_fault_is_explained(crash: Crash, expected: dict[str, Any]) -> None:
    fault = crash.fault
    assert fault is not None
    panic = expected["panic"]
    assert (fault.symbol, fault.offset, fault.module) == (
        panic["symbol"], panic["offset"], panic["module"],
    )  # fmt: skip
    assert fault.instruction == panic["instruction"]
    assert fault.address == int(panic["fault_address"], 0)
    assert fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
    assert fault.null_or_bad == "ct->ct_net"
    assert fault.memory_disagrees is True
    ct, net = fault.chain
    assert (ct.value, ct.ctype) == (int(expected["stale_ct"]["address"], 0), "struct nf_conn *")
    assert (net.value, net.now_identity) == (0, "init_net")
    assert net.now is not None
    symbol = symbol_at(crash.prog, net.now)
    assert symbol is not None
    assert (symbol.name, symbol.address) == ("init_net", net.now)


def test_layouts_come_from_the_dumps_own_types(crash: Crash, expected: dict[str, Any]) -> None:
    for designator, offset in expected["offsets"].items():
        tag, _, path = designator.partition(".")
        assert offset_of(crash.prog.type(f"struct {tag}"), path) == offset, designator


def test_skb_is_recovered(crash: Crash, expected: dict[str, Any]) -> None:
    address = int(expected["skb"]["address"], 0)
    assert [candidate.address for candidate in crash.skbs] == [address]
    assert int(crash.argument("nf_confirm", "skb")) == address
    packet = decode_packet(crash.skb())
    wanted = expected["skb"]["packet"]
    assert (packet.source, packet.source_port) == (wanted["saddr"], wanted["sport"])
    assert (packet.destination, packet.destination_port) == (wanted["daddr"], wanted["dport"])
    assert packet.ip.protocol == wanted["proto"]


def test_skb_is_found_again_in_the_queue_entry(crash: Crash, expected: dict[str, Any]) -> None:
    entry = crash.argument("nf_reinject", "entry")
    assert int(entry) == int(expected["skb"]["queue_entry"], 0)
    assert int(entry.skb) == int(expected["skb"]["address"], 0)


def test_arguments_are_proved_by_where_they_are_kept(crash: Crash) -> None:
    frame = crash.find_frame("nf_reinject")
    assert frame is not None
    found, missing = crash.arguments(frame)
    (entry,) = (argument for argument in found if argument.name == "entry")
    assert entry.certainty is Certainty.PROVED
    assert entry.origin is Origin.SAVED_REGISTER
    slot = frame.registers["rbp"].slot
    assert slot is not None
    assert crash.prog.read_u64(slot) == entry.value
    assert f"{slot:016x}" in entry.how
    assert {argument.name for argument in missing} == {"verdict"}


def test_conntracks_are_decoded(crash: Crash, expected: dict[str, Any]) -> None:
    winner = expected["ct"]
    from crashkit.decode import nf_ct

    found, ctinfo = nf_ct(crash.skb())
    assert found is not None
    assert (int(found), ctinfo) == (int(winner["address"], 0), expected["skb"]["ctinfo"])
    facts = decode_nf_conn(found)
    assert (facts.status, facts.use, facts.confirmed) == (winner["status"], winner["use"], True)
    assert find_in_hash(crash.prog, found) == {"original": True, "reply": True}
    for direction, name in enumerate(("original", "reply")):
        place = find_in_chains(crash.prog, found, direction)
        assert place.bucket == winner["buckets"][name]
    identity = slab_identity(crash.prog, int(found))
    assert (identity.cache_name, identity.is_start) == (winner["slab_cache"], True)


def test_recipe_confirms_with_its_evidence(finding: Finding) -> None:
    assert finding.verdict is Verdict.CONFIRMED
    assert all(check.holds is not None for check in finding.checks)
    assert finding.fix is not None
    assert finding.fix.in_this_binary is False
    assert "nf_confirm" in (finding.fix.how_seen or "")


@pytest.mark.parametrize("attach", [True, False])
def test_program_of_someone_else_is_left_as_it_was(attach: bool) -> None:
    prog = drgn.Program()
    prog.set_core_dump(SAMPLES / NAME / "vmcore")
    prog.set_enabled_debug_info_finders([])
    before = (
        prog.enabled_type_finders(), prog.enabled_object_finders(), prog.enabled_symbol_finders(),
    )  # fmt: skip
    crash = Crash.from_program(prog, attach=attach)
    after = (
        prog.enabled_type_finders(), prog.enabled_object_finders(), prog.enabled_symbol_finders(),
    )  # fmt: skip
    assert [new[: len(old)] for new, old in zip(after, before, strict=True)] == list(before)
    if attach:
        assert crash.fault is not None
        assert crash.fault.expression == "ct->ct_net->ct.nf_conntrack_event_cb"
        (recipe,) = (r for r in load_recipes().recipes if NAME in r.meta.matches)
        found = run_recipe(recipe, crash)
        assert found is not None
        assert found.verdict is Verdict.CONFIRMED
    else:
        assert after == before
        assert crash.types == "none"
        assert crash.frames == ()
