"""The first field report, replayed: every step of its author, and what he missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from drgn import Object

from crashkit.crash import Crash, open_crash
from crashkit.decode import decode_packet
from crashkit.errors import Unavailable
from crashkit.oops import parse_oops
from crashkit.pipeline import triage
from crashkit.value import Certainty
from tests.samples.conftest import SAMPLES, read_toml

pytestmark = pytest.mark.sample

NAME = "clash-el7"
EXPECTED = read_toml(NAME, "expected.toml")


def number(table: str, key: str) -> int:
    return int(EXPECTED[table][key], 0)


@pytest.fixture(scope="module")
def crash(sample: Callable[[str], Crash]) -> Crash:
    return sample(NAME)


@pytest.fixture(scope="module")
def document(crash: Crash) -> dict[str, Any]:
    return triage(crash).document


def test_the_crashed_thread_comes_from_its_note(crash: Crash) -> None:
    thread = crash.thread
    assert (thread.pid, thread.comm, thread.cpu) == (5027, "Verdict3", 1)
    assert thread.task == number("panic", "task")


def test_the_expression_is_named_from_the_two_loads(crash: Crash) -> None:
    fault = crash.fault
    assert fault is not None
    assert fault.instruction == EXPECTED["panic"]["instruction"]
    assert fault.address == number("panic", "fault_address")
    assert fault.expression == EXPECTED["fault"]["expression"]
    assert fault.null_or_bad == EXPECTED["fault"]["null_or_bad"]


def test_memory_disagrees_with_the_register(document: dict[str, Any]) -> None:
    fault = document["fault"]
    link = next(x for x in fault["chain"] if x["expression"] == fault["null_or_bad"])
    assert link["value"] == "0x0"
    assert link["now"] == EXPECTED["fault"]["now"]
    assert link["now_identity"] == EXPECTED["fault"]["now_identity"]


def test_frames_and_their_numbers_are_crashs(crash: Crash) -> None:
    outer = [frame for frame in crash.outer_frames if not frame.interrupted]
    assert [frame.function for frame in outer] == EXPECTED["stack"]["frames"]
    first = EXPECTED["stack"]["first_outer"]
    assert [frame.index for frame in outer] == list(range(first, first + len(outer)))
    modules = {frame.function: frame.module for frame in crash.outer_frames}
    assert modules["ipv4_confirm"] == "nf_conntrack_ipv4"  # by the log: there is no list
    assert modules["nf_iterate"] is None


def test_the_skb_is_dug_out_of_the_pushed_register(crash: Crash) -> None:
    frame = crash.find_frame("nf_iterate")
    assert frame is not None
    found, _missing = crash.arguments(frame)
    skb = next(argument for argument in found if argument.name == "skb")
    assert skb.value == number("skb", "address")
    slot = EXPECTED["skb"]["slot"].removeprefix("0x")
    assert skb.how == f"nf_reinject+0x15b calls with rsi = r13; nf_iterate pushed it at {slot}"
    assert skb.certainty is Certainty.INFERRED  # most of both functions is not in the dump


def test_the_author_missed_that_r13_still_held_it(crash: Crash) -> None:
    (candidate,) = crash.skbs
    assert candidate.address == number("skb", "address")
    assert candidate.register == EXPECTED["skb"]["register"]
    assert candidate.frame.function == EXPECTED["panic"]["symbol"]
    pushed = f"pushed by nf_iterate at {EXPECTED['skb']['slot'].removeprefix('0x')}"
    assert any(pushed in words for words in candidate.also)


def test_the_packet(crash: Crash) -> None:
    packet = decode_packet(Object(crash.prog, "struct sk_buff *", number("skb", "address")))
    expected = EXPECTED["packet"]
    assert (packet.source, packet.destination) == (expected["source"], expected["destination"])
    ip = packet.ip
    assert (ip.protocol, ip.total_length) == (expected["protocol"], expected["length"])
    assert packet.transport is None  # the report does not print it, and so the dump has none
    assert packet.transport_checksum is None


def test_the_author_missed_vxlan_and_the_hook(crash: Crash, document: dict[str, Any]) -> None:
    text = triage(crash).text()
    assert "UDP ?>4789~ (VXLAN)" in text
    assert "at POST_ROUTING~ after an NFQUEUE verdict" in text
    hook = next(o for o in document["objects"] if o["kind"] == "nf_hook")
    assert hook["facts"]["family"] == EXPECTED["hook"]["family"]
    assert hook["facts"]["hook"] == EXPECTED["hook"]["hook"]
    assert hook["facts"]["certainty"] == "inferred"


def test_inconclusive_where_the_author_could_not_know(document: dict[str, Any]) -> None:
    (finding,) = document["findings"]
    assert finding["verdict"] == EXPECTED["recipes"][finding["recipe"]]
    holds = {check["id"]: check["holds"] for check in finding["checks"]}
    assert all(holds[name] is True for name in EXPECTED["checks"]["hold"])
    assert all(holds[name] is None for name in EXPECTED["checks"]["unread"])
    required = [check for check in finding["checks"] if check["role"] == "necessary"]
    assert not [check["id"] for check in required if check["holds"] is False]


def test_what_the_report_does_not_print_is_not_there(crash: Crash) -> None:
    winner = Object(crash.prog, "struct nf_conn *", number("ct", "address"))
    with pytest.raises(Exception, match="could not find"):
        int(winner.status)
    with pytest.raises(Unavailable):
        crash.argument("ipv4_confirm", "skb")


def one_line() -> str:
    lines = (SAMPLES / NAME / "console.txt").read_text().splitlines()
    return " ".join([*map(str, range(1, len(lines) + 1)), *lines])


def test_the_text_alone_pasted_on_one_line() -> None:
    oops = parse_oops(one_line())
    assert oops is not None
    assert oops.fault_address == number("panic", "fault_address")
    assert [e.function for e in oops.trace if e.reliable][:3] == EXPECTED["stack"]["frames"][:3]
    assert oops.registers["r13"] == number("skb", "address")


def test_the_text_alone_is_consistent_and_confirms_nothing(tmp_path: Any) -> None:
    log = tmp_path / "pasted.txt"
    log.write_text(one_line())
    with open_crash(log) as crash:
        with pytest.raises(Unavailable):
            crash.prog.type("struct net")
        report = triage(crash)
    (finding,) = report.document["findings"]
    assert finding["verdict"] == "inconclusive"
    assert "consistent with the text" in report.text()
    assert "the vmcore of this crash" in report.text()
