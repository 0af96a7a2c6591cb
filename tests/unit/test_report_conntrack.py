"""Entries as lines of JSON and of text: the fast writer against the plain one, the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crashkit.decode.conntrack_explain import explain_entry
from crashkit.decode.conntrack_fast import BOTH, ORIGINAL, REPLY, Record
from crashkit.decode.conntrack_table import Table
from crashkit.decode.conntrack_table_entry import TableEntry
from crashkit.report.conntrack import Listing
from crashkit.report.conntrack_entry import build_entry
from crashkit.report.conntrack_line import LineWriter, entry_line
from crashkit.report.json_text import conntrack_schema
from crashkit.report.text_conntrack import render_entry, render_summary
from tests.unit.kernel_doubles import Kernel, chain
from tests.unit.netfilter_doubles import modern_kernel
from tests.unit.test_decode_conntrack_hash import TABLE, entry, node, with_table
from tests.unit.test_decode_conntrack_table import in_table, only, walked, with_clock

SCHEMA = conntrack_schema()
ENTRY = jsonschema.Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/definitions/entry"}]})
SUMMARY = jsonschema.Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/definitions/summary"}]})
LINE = (
    "udp      17 30 src=10.76.59.158 dst=10.76.59.115 sport=41000 dport=4789 [UNREPLIED] "
    "src=10.76.59.115 dst=10.76.59.158 sport=4789 dport=41000 mark=0 use=2"
)


def kernel_with_clock() -> Kernel:
    return with_clock(with_table(modern_kernel), now=0)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_line_is_conntracks() -> None:
    assert render_entry(only(kernel_with_clock(), timeout=7500)) == LINE


def test_what_is_unusual_stands_behind_the_line() -> None:
    found = only(kernel_with_clock(), timeout=-2500, ct_general__use=bytes(4), status=14)
    text = render_entry(found, verbose=1)
    assert text.startswith("udp      17 0 src=10.76.59.158")
    assert text.endswith(f"[ASSURED] mark=0 use=0 [FREED] [EXPIRED] nf_conn={found.address:#x}")
    assert "UNREPLIED" not in text


@pytest.fixture(scope="module")
def table() -> Table:
    return Table(kernel_with_clock().prog)


OCTETS = st.sampled_from([b"\n\0\0\1", b"\n\0\0\2", b"\xc0\xa8\1%"]).map(
    lambda b: b.ljust(16, b"\0")
)
PORTS = st.sampled_from([b"\0\x35", b"\x08\0", b"\0\0", b"\x20\x98"])


@st.composite
def records(draw: st.DrawFn) -> Record:
    kernel = modern_kernel()
    size = kernel.type("struct nf_conn").size
    assert size is not None
    l3num, protocol = (
        draw(st.sampled_from([2, 10, 3])),
        draw(st.sampled_from([1, 6, 17, 47, 58, 99])),
    )
    row = Table(kernel.prog).plan.unpack(bytes(size), 0)
    row = row._replace(
        use=draw(st.integers(-1, 3)),
        status=draw(st.sampled_from([0, 8, 14, 8 | 1 << 9, 398, 8 | 1 << 40])),
        timeout=draw(st.integers(0, 2**32 - 1)),
        net=draw(st.sampled_from([0, 1, 2])),
        mark=draw(st.integers(0, 3)),
        master=draw(st.sampled_from([0, 0xFFFF_8880_0000_0000])),
        l3num=l3num,
        reply_l3num=draw(st.sampled_from([l3num, 2])),
        protocol=protocol,
        reply_protocol=draw(st.sampled_from([protocol, 17])),
        source=draw(OCTETS),
        destination=draw(OCTETS),
        reply_source=draw(OCTETS),
        reply_destination=draw(OCTETS),
        source_part=draw(PORTS),
        destination_part=draw(PORTS),
        reply_source_part=draw(PORTS),
        reply_destination_part=draw(PORTS),
        direction=draw(st.sampled_from([0, 0, 0, 1])),
        reply_direction=draw(st.sampled_from([1, 1, 1, 9])),
        protocol_data=bytes(4) + bytes([draw(st.sampled_from([0, 3, 7, 200]))]) + bytes(59),
    )
    return Record(0xFFFF_8880_1234_5600, draw(st.sampled_from([BOTH, BOTH, ORIGINAL, REPLY])), row)


@settings(max_examples=150, deadline=None)
@given(st.lists(records(), min_size=1, max_size=6))
def test_the_fast_line_says_what_the_plain_one_does(table: Table, made: list[Record]) -> None:
    # The same shape comes again in a list: the second is written with the first one's template.
    nets = {0: 0, 1: table.init_net or 0, 2: 0xFFFF_8880_0000_0000}
    writer = LineWriter(table)
    for record in [*made, *made]:
        row = record.row._replace(net=nets[record.row.net])
        one = TableEntry(table, record._replace(row=row), ("hash",))
        line = writer.line(one)
        assert line.count("\n") == 1
        assert json.loads(line) == json.loads(entry_line(one)) == build_entry(one)
        ENTRY.validate(json.loads(line))


def test_most_lines_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    monkeypatch.setattr(
        "crashkit.report.conntrack_line.build_entry",
        lambda one: built.append(one.address) or build_entry(one),  # type: ignore[func-returns-value]
    )
    kernel = kernel_with_clock()
    entries = [entry(kernel) for _ in range(9)]
    for number, ct in enumerate(entries):
        kernel.set(ct, {"timeout": 5000 + number, "mark": number})
    in_table(kernel, *entries)
    table, found = walked(kernel)
    writer = LineWriter(table)
    lines = [json.loads(writer.line(one)) for one in found.values()]
    assert len(built) == 1
    assert sorted(line["mark"] for line in lines) == list(range(9))
    assert writer.departures == {}


def listed(kernel: Kernel) -> tuple[Listing, str]:
    listing = Listing(Table(kernel.prog))
    return listing, "".join(listing.texts(listing.entries(["hash"])))


def test_the_summary_counts_what_is_lost() -> None:
    kernel = kernel_with_clock()
    ct = entry(kernel)
    kernel.set(ct, {"timeout": 7500})
    in_table(kernel, ct)
    listing, text = listed(kernel)
    assert text == LINE + "\n"
    summary = listing.summary()
    SUMMARY.validate(summary)
    assert (summary["complete"], summary["shown"], summary["departures"]) == (True, {"hash": 1}, {})
    assert render_summary(summary) == ["1 entries shown: 1 hash"]
    chain(kernel, TABLE, 9)
    kernel.put(TABLE + 8 * 9, (2 * 10 + 1).to_bytes(8, "little"))
    listing, _text = listed(kernel)
    summary = listing.summary()
    assert listing.lost
    assert summary["complete"] is False
    assert summary["departures"] == {"original-direction-only": 1}
    assert any("another's marker (1)" in line for line in render_summary(summary))


def test_no_table_is_a_limit_and_no_empty_table() -> None:
    listing = Listing(Table(modern_kernel().prog))
    assert "".join(listing.texts(listing.entries())) == ""
    summary = listing.summary()
    SUMMARY.validate(summary)
    assert summary["complete"] is False
    assert summary["limits"][0]["reason"] == "no-debuginfo"


def explained(**members: int | bytes) -> str:
    return " ".join(explain_entry(only(kernel_with_clock(), **members)).sentences)


def words() -> Iterator[tuple[dict[str, int | bytes], str]]:
    part = "tuplehash[{}]__tuple__dst__protonum"
    tcp: dict[str, int | bytes] = {part.format(0): 6, part.format(1): 6}
    icmp: dict[str, int | bytes] = {part.format(0): 1, part.format(1): 1}
    yield {}, "to a rule they are NEW"
    yield {"status": 14}, "That word is conntrack's"
    yield {"status": 14}, "counts as a stream"
    yield {"status": 8}, "may drop it early"
    yield {"status": 0, "timeout": 7500}, "Its timeout is relative: 30 s from then on"
    yield {"timeout": -500}, "Its time ended 2 s before the dump"
    yield {"ct_general__use": bytes(4)}, "it is freed"
    yield {"status": 8 | 1 << 9}, "It is DYING"
    yield {"status": 8 | 1 << 12}, "lost a clash"
    yield {"status": 8 | 1 << 7}, "a NAT rule added now would not touch this flow"
    yield {"tuplehash[1]__tuple__src__u__all": b"\0\1"}, "holds until the entry is gone"
    yield {**tcp, "proto__tcp__state": 3}, "TCP itself is in ESTABLISHED"
    yield {**tcp, "proto__tcp__state": 7}, "is not removed at once"
    yield {**icmp}, "Kernels as old as 2.6.9"


@pytest.mark.parametrize(("members", "sentence"), list(words()))
def test_states_in_sentences(members: dict[str, int | bytes], sentence: str) -> None:
    assert sentence in explained(**members)


def test_a_node_of_an_entry_is_on_one_line_whatever_its_bytes() -> None:
    kernel = kernel_with_clock()
    ct = entry(kernel)
    kernel.set(ct, {"tuplehash[0].tuple.src.l3num": 99})
    chain(kernel, TABLE, 3, node(ct, 0))
    (found,) = walked(kernel)[1].values()
    assert render_entry(found).startswith("unknown  17 0 original=? [UNREPLIED] src=10.76.59.115")
