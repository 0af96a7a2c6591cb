"""The connection table against what the guest itself printed before it crashed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from crashkit.cli.app import app
from crashkit.cli.conntrack import register
from crashkit.crash import Crash
from crashkit.decode import decode_nf_conn
from crashkit.decode.conntrack_explain import explain_entry, require_conntrack
from crashkit.decode.conntrack_hash import for_each_conntrack
from crashkit.decode.conntrack_table import Table
from crashkit.errors import UsageError
from crashkit.report import Listing, build_explanation, conntrack_schema, render_explanation
from tests.lab.conftest import lab_vmcore, made

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]
HEALTHY = "sysrq-6.1/kdump-zlib"
MANY = ["conntrack-thousands-6.1", "conntrack-thousands-6.12"]
KINDS = {
    "tcp-established": ("ipv4", 6, "ESTABLISHED", False, 0),
    "tcp-dnat": ("ipv4", 6, "CLOSE_WAIT", True, 0),
    "tcp6-time-wait": ("ipv6", 6, "TIME_WAIT", False, 0),
    "udp-unreplied": ("ipv4", 17, None, False, 0),
    "udp6-unreplied": ("ipv6", 17, None, False, 0),
    "udp-zone-accounted": ("ipv4", 17, None, False, 7),
    "icmp": ("ipv4", 1, None, False, 0),
}


def printed(name: str, pattern: str) -> list[str]:
    """What the guest's console shows, every match."""
    console = lab_vmcore(name).with_name("console.txt").read_text(errors="replace")
    return re.findall(pattern, console, re.MULTILINE)


def timeless(lines: Iterable[str]) -> list[str]:
    """Lines without the seconds, which went on after the guest had printed them."""
    return sorted(re.sub(r"^(\w+ +\d+) \d+ ", r"\1 ", line.rstrip()) for line in lines)


def objects(crash: Crash) -> list[dict[str, object]]:
    listing = Listing(Table(crash.prog))
    return [json.loads(line) for piece in listing.lines(crash, listing.entries())
            for line in piece.splitlines()]  # fmt: skip


def test_lines_are_those_of_conntrack_l(opened: Open) -> None:
    listing = Listing(Table(opened(HEALTHY).prog))
    lines = "".join(listing.texts(listing.entries(["hash"]))).splitlines()
    (count,) = printed(HEALTHY, r"(\d+) flow entries have been shown")
    theirs = printed(HEALTHY, r"^(?:tcp|udp|icmp) +\d+ \d+ .* use=\d+")
    assert len(lines) == int(count) == 20
    assert timeless(lines) == timeless(theirs)


def test_queued_packets_have_entries_that_no_lookup_finds(opened: Open) -> None:
    listing = Listing(Table(opened(HEALTHY).prog))
    entries = list(listing.entries())
    assert listing.found == {"hash": 20, "unconfirmed": 3, "dying": 0}
    waiting = [one for one in entries if one.lists == ("unconfirmed",)]  # type: ignore[union-attr]
    assert {one.original.destination_port for one in waiting} == {7002}  # type: ignore[union-attr]


def test_the_fast_walk_and_drgn_objects_agree(opened: Open) -> None:
    crash = opened(HEALTHY)
    slow = {ct.value_(): decode_nf_conn(ct) for ct in for_each_conntrack(crash.prog)}
    fast = {one.address: one for one in Table(crash.prog).hash_entries()}
    assert slow.keys() == fast.keys()
    for address, facts in slow.items():
        one = fast[address]
        assert (one.original, one.reply) == (facts.original, facts.reply)
        assert (one.status_names, one.state) == (facts.status_names, facts.tcp_state)
        assert (one.row.use, one.row.net, one.zone) == (facts.use, facts.net, facts.zone)
        assert one.remaining == facts.remaining


def test_every_line_fits_the_schema(opened: Open) -> None:
    validator = jsonschema.Draft202012Validator(conntrack_schema())
    for line in objects(opened(HEALTHY)):
        validator.validate(line)


def test_a_redirected_entry_is_explained(opened: Open) -> None:
    crash = opened(HEALTHY)
    redirected = [one for one in Table(crash.prog).hash_entries() if one.translated]
    assert {one.original.destination_port for one in redirected} == {7003}
    one = redirected[0]
    assert require_conntrack(crash.prog, one.address) is True
    found = explain_entry(one)
    assert found.timeout is not None
    assert (found.timeout.seconds, found.timeout.is_default) == (30, True)
    document = build_explanation(crash, one, allocated=True)
    jsonschema.validate(document, conntrack_schema())
    assert "holds until the entry is gone" in " ".join(render_explanation(document).split())
    with pytest.raises(UsageError, match="16 bytes into the one at"):
        require_conntrack(crash.prog, one.address + 16)
    with pytest.raises(UsageError, match="in no slab page"):
        require_conntrack(crash.prog, crash.prog["init_net"].address_ or 0)


def command(*words: str) -> Result:
    """Run crashkit conntrack on the healthy dump."""
    register()
    return CliRunner().invoke(app, ["conntrack", str(lab_vmcore(HEALTHY)), *words])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), 23),
        (("--list", "hash"), 20),
        (("--proto", "tcp", "--state", "established"), 6),
        (("--dport", "7003", "--dst", "10.9.0.1"), 2),
        (("--status", "UNREPLIED", "--list", "unconfirmed"), 3),
        (("--src", "10.9.0.2/32", "--proto", "icmp"), 1),
        (("--list", "expect"), 0),
    ],
)
def test_the_command_in_three_formats(words: tuple[str, ...], shown: int) -> None:
    text, document, lines = (command(*words, "--format", f) for f in ("text", "json", "jsonl"))
    assert (text.exit_code, document.exit_code, lines.exit_code) == (0, 0, 0)
    assert len(text.stdout.splitlines()) == shown
    whole = json.loads(document.stdout)
    jsonschema.validate(whole, conntrack_schema())
    head, *entries, summary = map(json.loads, lines.stdout.splitlines())
    assert whole["entries"] == entries
    assert (whole["summary"], whole["target"]) == (summary, head["target"])
    assert len(entries) == sum(summary["shown"].values()) == shown


@pytest.mark.parametrize(
    "words",
    [("--list", "all"), ("--state", "x"), ("--explain", "xyz"), ("--explain", "0", "--zone", "1"),
     ("--explain", "0xffffffff81000000"), ("--list", "expect", "--zone", "1")],
)  # fmt: skip
def test_a_call_that_cannot_be_right(words: tuple[str, ...]) -> None:
    result = command(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("crashkit: ")


@pytest.mark.parametrize("name", MANY)
def test_a_large_table_is_what_the_guest_counted(opened: Open, name: str) -> None:
    crash = made(opened, name)
    head, *entries, summary = objects(crash)
    assert head["kind"] == "head"
    (inserted,) = printed(name, r"many: inserted (\d+)")
    (counter,) = printed(name, r"many: counter (\d+)")
    (marks,) = printed(name, r"sum of marks (\d+)")
    assert summary["found"] == {"hash": int(inserted)} == {"hash": int(counter)}
    assert (summary["complete"], summary["departures"]) == (True, {})
    assert sum(int(str(one["mark"])) for one in entries) == int(marks)
    kinds = Counter(
        (one["family"], one["protocol"], one["state"], one["nat"], one["zone"]) for one in entries
    )
    unreplied = Counter(
        one["family"] for one in entries if "SEEN_REPLY" not in str(one["status_names"])
    )
    for text in printed(name, r"many: ([\w-]+ \d+)$"):
        kind, number = text.split()
        if kind.endswith("unreplied"):
            assert unreplied[KINDS[kind][0]] == int(number)
        elif kind in KINDS:
            assert kinds[KINDS[kind]] == int(number)


@pytest.mark.parametrize("name", MANY)
def test_lines_of_a_large_table(opened: Open, name: str) -> None:
    listing = Listing(Table(made(opened, name).prog))
    ours = set(timeless("".join(listing.texts(listing.entries())).splitlines()))
    sampled = timeless(printed(name, r"many: line (.*)$"))
    assert len(sampled) > 20
    assert not set(sampled) - ours
