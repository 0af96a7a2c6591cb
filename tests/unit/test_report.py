"""The document keeps its rules whatever the crash holds; the text says what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from drgn import Program

from crashkit.crash import FoldedStack, Stack
from crashkit.errors import Reason, RecipeError, Unavailable
from crashkit.finding import (
    Check,
    Finding,
    Fix,
    Role,
    Verdict,
    evaluate,
    excluding,
    necessary,
    seen,
    supporting,
)
from crashkit.oops import parse_oops
from crashkit.pipeline import Report, triage
from crashkit.recipe import Recipes
from crashkit.report import (
    bt_schema,
    build_bt,
    build_log,
    build_report,
    render_bt,
    render_json,
    render_log,
    render_text,
    report_schema,
)
from crashkit.report.argument_text import identity, written
from crashkit.report.columns import WIDTH, bare
from crashkit.report.escape import safe
from crashkit.report.parts import facts
from crashkit.report.text_banner import uptime
from crashkit.report.text_open import next_lines
from crashkit.target import Target
from crashkit.unwind import Segment
from crashkit.value import Certainty, Origin, Reread, Value
from tests.unit.report_doubles import (
    CT,
    INIT_NET,
    SKB,
    FakeCrash,
    as_crash,
    empty,
    hostile,
    seed,
)

NO_REASON_NEEDED = {"module", "conflict", "why_not", "path", "source", "error"}
ABSENT_IN_DUMP = Check(
    id="hashed",
    role=Role.NECESSARY,
    statement="ffff893c7fc96b40 is confirmed, hashed",
    holds=None,
    why_not="page: not-in-dump (0xffff893c7fc96b40 was filtered)",
    reason=Reason.NOT_IN_DUMP,
)


def value(name: str, number: int | str, command: str, **more: Any) -> Value:
    reread = Reread(crash=command, crashkit=f"prog[{name!r}]")
    return Value(name=name, value=number, origin=Origin.MEMORY, reread=reread, **more)


def seed_finding(*extra: Check) -> Finding:
    now = value("ct_net", INIT_NET, f"struct nf_conn.ct_net {CT:016x}", ctype="struct net *")
    skb = value("use", 2, "struct nf_conn.ct_general", certainty=Certainty.INFERRED)
    specs = (
        necessary(
            "net-null", "ct_net: 0 in RAX then", lambda: seen(True, now, note="init_net now")
        ),
        necessary("udp", "UDP may clash", lambda: seen(True, skb)),
        supporting("nfqueue", "NFQUEUE sits between", lambda: seen(True, skb)),
        excluding("flip", "bit flip", lambda: seen(False, now, note="43 bits differ")),
    )
    checks = (*map(evaluate, specs), *extra)
    unread = any(check.holds is None for check in extra)
    return Finding(
        recipe="nf-conntrack-clash-stale-ct",
        verdict=Verdict.INCONCLUSIVE if unread else Verdict.CONFIRMED,
        claim="that conntrack is no longer the packet's: skb->nfct points to another one",
        checks=checks,
        history=("CPU 1: confirm loses the race",),
        fix=Fix(
            upstream="56b14ecec97f",
            title="netfilter: conntrack: re-fetch conntrack after insertion",
            release="v5.19",
            stable=("5.18.2", "5.4.197"),
            distributions=("el7: no fixed build known",),
            in_this_binary=False,
            how_seen="ipv4_confirm still keeps the old ct in r12",
        ),
        advice="keep UDP/4789 out of NFQUEUE",
        to_settle=("conntrack slab pages of the dump",) if unread else (),
    )


def document(crash: FakeCrash, *findings: Finding) -> dict[str, Any]:
    return build_report(as_crash(crash), findings, tried=["nf-conntrack-clash-stale-ct"])


def objects(tree: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(tree, dict):
        yield path, tree
        for key, item in tree.items():
            yield from objects(item, f"{path}.{key}")
    elif isinstance(tree, list):
        for number, item in enumerate(tree):
            yield from objects(item, f"{path}[{number}]")


DOCUMENTS = {
    "empty": lambda: document(empty()),
    "seed": lambda: document(seed(), seed_finding()),
    "unread": lambda: document(seed(), seed_finding(ABSENT_IN_DUMP)),
    "unknown": lambda: document(seed()),
    "hostile": lambda: document(hostile()),
    "bare finding": lambda: document(
        empty(),
        Finding(recipe="x", verdict=Verdict.REFUTED, claim="c", checks=(), error="x.py:1: e"),
    ),
}


@pytest.fixture(params=DOCUMENTS)
def made(request: pytest.FixtureRequest) -> dict[str, Any]:
    result: dict[str, Any] = DOCUMENTS[request.param]()
    return result


def test_document_is_valid(made: dict[str, Any]) -> None:
    schema = report_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(render_json(made)))


def test_every_unknown_has_its_reason(made: dict[str, Any]) -> None:
    reasons = {reason.value for reason in Reason}
    for path, entry in objects(made):
        for key, item in entry.items():
            if item is None and key not in NO_REASON_NEEDED:
                assert entry.get("absent", {}).get(key) in reasons, f"{path}.{key}"
        for key in entry.get("absent", {}):
            assert entry[key] is None, f"{path}.{key} is known and absent"


def test_every_key_is_in_the_schema(made: dict[str, Any]) -> None:
    # A key that the schema does not name is one that nobody promised to keep.
    schema = report_schema()
    resolved = {**schema["$defs"], "": schema}
    sections = {"": made, "target": made["target"], "panic": made["panic"]}
    if made["fault"]:
        sections["fault"] = made["fault"]
    sections |= {"frame": made["frames"][0]} if made["frames"] else {}
    sections |= {"finding": made["findings"][0]} if made["findings"] else {}
    for name, section in sections.items():
        assert set(section) - {"absent"} == set(resolved[name]["required"]), name


def test_json_is_ascii_and_deterministic(made: dict[str, Any]) -> None:
    text = render_json(made)
    assert text.isascii()
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text) is None


def test_texts_are_printable(made: dict[str, Any]) -> None:
    for verbose in (0, 1, 2):
        for line in render_text(made, verbose).split("\n"):
            assert line == "" or line.isprintable(), repr(line)


def test_seed_document() -> None:
    made = document(seed(), seed_finding())
    assert made["panic"]["kind"] == "null-pointer-dereference"
    assert made["panic"]["task"] == "0xffff893cad135280"
    assert made["panic"]["stack_key_from"] == "text"
    assert made["fault"]["address"] == "0xa30"
    assert made["fault"]["null_or_bad"] == "ct->ct_net"
    assert made["fault"]["chain"][1]["now"] == f"{INIT_NET:#x}"
    assert made["target"]["crash_time"] == "2022-08-08T23:06:40Z"
    frames = made["frames"]
    iterate = next(frame for frame in frames if frame["function"] == "nf_iterate")
    assert iterate["missing"][0]["reason"] == "optimized-out"
    assert iterate["arguments"][0]["absent"] == {"current": "not-applicable"}
    finding = made["findings"][0]
    assert finding["required"] == {"hold": 2, "fail": 0, "not_read": 0}
    assert finding["checks"][0]["values"][0]["value"] == f"{INIT_NET:#x}"
    assert finding["checks"][1]["values"][0]["value"] == 2
    assert made["objects"][0]["facts"]["absent"] == {"nr_frags": "not-in-dump"}


def test_example_a() -> None:
    text = render_text(document(seed(), seed_finding(ABSENT_IN_DUMP)))
    lines = text.split("\n")
    assert lines[0] == (
        "BUG: unable to handle kernel NULL pointer dereference in nf_ct_deliver_cached_events"
    )
    joined = " ".join(text.split())
    assert (
        "WHAT Passing on a UDP packet after an NFQUEUE verdict it read"
        " ct->ct_net->ct.nf_conntrack_event_cb; ct->ct_net was 0 at the fault and is &init_net now."
        " MATCH"
    ) in joined
    assert (
        "MATCH  nf-conntrack-clash-stale-ct   2 of 3 required checks hold, 0 fail, 1 not read:"
        " INCONCLUSIVE"
    ) in lines
    assert "would mean: that conntrack is no longer the packet's: skb->nfct points" in joined
    assert (
        'FIX 56b14ecec97f "netfilter: conntrack: re-fetch conntrack after insertion", v5.19;'
        in (joined)
    )
    assert "this kernel: not fixed (ipv4_confirm still keeps the old ct in r12)" in text
    assert "NOW    keep UDP/4789 out of NFQUEUE" in lines
    assert "    RELEASE: 3.10.0-1160.el7.x86_64  NODENAME: node" in lines
    assert "       DATE: 2022-08-08 23:06:40 UTC  UPTIME: 1 day, 01:49:17  CPUS: 4" in lines
    who = '        PID: 5027  COMMAND: "Verdict3"  TASK: ffff893cad135280  CPU: 1'
    assert who in lines
    assert "FAULT  nf_ct_deliver_cached_events+0x2d/0x110 [nf_conntrack]" in lines
    steps = [line for line in lines if line.startswith("   +0x")]
    assert [line.split()[0] for line in steps] == ["+0x10", "+0x26", "+0x2d"]
    assert steps[1].endswith("0  now ffffffffa0315e40")
    assert steps[2].endswith("ct->ct_net->ct.nf_conntrack_event_cb  <-- trapping, CR2 = 0xa30")
    first = " 1 + ct_net: 0 in RAX then: init_net now"
    command = "struct nf_conn.ct_net ffff893ca41e5140"
    assert first + command.rjust(WIDTH - len(first)) in lines
    assert " 2 + UDP may clash~" in text
    assert " 5 ? ffff893c7fc96b40 is confirmed, hashed: page: not-in-dump" in lines
    assert "supports  + NFQUEUE sits between~" in lines
    assert "ruled out + bit flip: 43 bits differ" in lines
    assert lines[lines.index("HISTORY ~  if it is this:") + 1].strip() == (
        "CPU 1: confirm loses the race"
    )
    assert "STACK  (#0-#9: machine_kexec ... page_fault)" in lines
    rip = next(line for line in lines if line.startswith("  RIP "))
    assert rip.split() == [
        "RIP", "nf_ct_deliver_cached_events+0x2d", "[nf_conntrack]", "ct=ffff893ca41e5140",
    ]  # fmt: skip
    iterate = next(line for line in lines if "nf_iterate+0x98" in line)
    assert iterate.split() == ["#11", "nf_iterate+0x98", "skb=ffff893c9491a500~", "state=?"]
    packet = next(line for line in lines if line.startswith("PACKET"))
    assert packet == (
        "PACKET ens192, IPv4 10.76.59.158 > 10.76.59.115, UDP ? > 4789, len 102, ttl 64, id 0x9720,"
    )
    assert "TO SETTLE  conntrack slab pages of the dump" in lines
    assert max(map(len, lines)) <= WIDTH


def test_confirmed_has_nothing_to_settle() -> None:
    text = render_text(document(seed(), seed_finding()))
    assert "2 of 2 required checks hold: CONFIRMED" in text
    assert "TO SETTLE" not in text
    assert "\nHISTORY ~  CPU 1: confirm loses the race\n" in text
    claimed = "That conntrack is no longer the packet's: skb->nfct points to another one."
    assert claimed in " ".join(text.partition("MATCH")[0].split())
    assert "NEXT" not in text


def test_example_b() -> None:
    text = render_text(document(seed()))
    lines = text.split("\n")
    joined = " ".join(text.split())
    assert (
        "WHAT nf_ct_deliver_cached_events() read ct->ct_net->ct.nf_conntrack_event_cb (0xa30);"
        " ct->ct_net was 0 at the fault"
    ) in joined
    assert "ct = ffff893ca41e5140, struct nf_conn *, slab object nf_conntrack" in text
    assert "no signature fits (tried: nf-conntrack-clash-stale-ct).  Not explained." in text
    assert " 1  ct->ct_net: 0 then, ffffffffa0315e40 now: another CPU wrote it" in text
    bits = (INIT_NET ^ 0).bit_count()
    assert f"NOT    one flipped bit ({bits} bits differ)" in lines
    assert (
        "NEXT   crash> struct nf_conn ffff893ca41e5140; kmem ffff893ca41e5140; bt -a; dis -l"
        in (joined.replace("NEXT crash>", "NEXT   crash>"))
    )
    search = next(line for line in lines if line.startswith("SEARCH"))
    assert search.startswith("SEARCH nf_ct_deliver_cached_events ipv4_confirm nf_iterate")
    assert "EVIDENCE" not in text
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(
    ("value", "bad", "details", "expected"),
    [
        (0xFFFF_893C_A41E_5140, False, {}, "struct nf_conn ffff893ca41e5140; kmem ffff893ca41e51"),
        # A per-CPU offset, text, an error number, and the bad pointer itself cannot be read.
        (0x3C8D0, False, {"read_from": "0xffff893ca41e5148"}, "rd ffff893ca41e5148; kmem ffff89"),
        (0x3731_2D74_736F_682F, False, {}, "bt -a; dis -l"),
        (0xFFFF_FFFF_FFFF_FFE8, False, {}, "bt -a; dis -l"),
        (0xFFFF_FFFF_C05F_F000, True, {}, "bt -a; dis -l"),
        (0xFFEF_893C_A41E_5140, True, {"good": "0xffff893ca41e5140"}, "kmem ffff893ca41e5140; bt"),
    ],
)
def test_no_command_is_offered_for_what_cannot_be_read(
    value: int, bad: bool, details: dict[str, Any], expected: str
) -> None:
    made = document(seed())
    fault = made["fault"]
    (first, *_) = fault["chain"]
    fault["chain"] = [first | {"ctype": "struct nf_conn *", "value": f"{value:#x}"}]
    fault["null_or_bad"] = first["expression"] if bad else "something else"
    fault["diagnosis"]["details"] = details
    assert next_lines(made)[0].startswith(f"NEXT   crash> {expected}")


def test_refuted_is_one_line_and_then_example_b() -> None:
    failing = Check(id="same", role=Role.NECESSARY, statement="skb->nfct is another", holds=False)
    finding = replace(seed_finding(failing), verdict=Verdict.REFUTED)
    lines = render_text(document(seed(), finding)).split("\n")
    matches = [line for line in lines if line.startswith("MATCH")]
    assert matches == [
        "MATCH  no signature fits (tried: nf-conntrack-clash-stale-ct).  Not explained.",
        "MATCH  nf-conntrack-clash-stale-ct   check 5 fails (skb->nfct is another): REFUTED",
    ]
    assert any(line.startswith("SEARCH") for line in lines)
    assert not any(line.startswith("FIX") for line in lines)
    # below what was found out
    stands_out = next(n for n, line in enumerate(lines) if line.startswith(" 1  ct->ct_net"))
    assert lines.index(matches[1]) > stands_out


def test_a_long_refuted_line_is_cut_and_stays_below_what_fits() -> None:
    words = "a free list of the crashed CPU begins right where the fault is, " * 3
    failing = Check(id="same", role=Role.NECESSARY, statement=words, holds=False)
    refuted = replace(seed_finding(failing), recipe="other", verdict=Verdict.REFUTED)
    lines = render_text(document(seed(), seed_finding(), refuted)).split("\n")
    (line,) = [line for line in lines if line.startswith("MATCH  other")]
    assert len(line) == WIDTH
    assert line.endswith("...): REFUTED")
    assert lines.index(line) > next(n for n, one in enumerate(lines) if "EVIDENCE" in one)


@pytest.mark.parametrize(
    ("protocol", "words"), [("icmp", "an ICMP packet"), ("udp", "a UDP packet")]
)
def test_a_packets_article(protocol: str, words: str) -> None:
    made = document(seed(), seed_finding())
    packet = next(one["facts"] for one in made["objects"] if one["kind"] == "packet")
    packet["protocol_name"] = protocol
    assert words in " ".join(render_text(made).split())


def test_excluding_check_that_holds_is_named() -> None:
    tcp = Check(id="tcp", role=Role.EXCLUDING, statement="the packet is TCP", holds=True)
    finding = replace(seed_finding(tcp), verdict=Verdict.REFUTED)
    assert "check 5 excludes it (the packet is TCP): REFUTED" in render_text(
        document(seed(), finding)
    )


def test_findings_are_ordered_by_verdict() -> None:
    made = document(
        seed(),
        replace(seed_finding(), recipe="a", verdict=Verdict.REFUTED),
        replace(seed_finding(ABSENT_IN_DUMP), recipe="b"),
        replace(seed_finding(), recipe="z"),
        replace(seed_finding(), recipe="c"),
    )
    assert [finding["recipe"] for finding in made["findings"]] == ["c", "z", "b", "a"]
    lines = render_text(made).split("\n")
    heads = [line.split()[1] for line in lines if line.startswith("MATCH")]
    assert heads[:4] == ["c", "z", "b", "a"]


def test_a_recipes_error_is_in_the_match_line() -> None:
    finding = replace(seed_finding(), verdict=Verdict.INCONCLUSIVE, error="x.py:7: KeyError: 'a'")
    text = " ".join(render_text(document(seed(), finding)).split())
    assert "the recipe has an error: x.py:7: KeyError: 'a': INCONCLUSIVE" in text


def test_sysrq_is_called_intentional() -> None:
    log = "[ 1.0] something before\n[ 2.0] sysrq: Trigger a crash\n"
    log += "[ 2.0] Kernel panic - not syncing: sysrq triggered crash\n[ 2.1] its trace\n"
    crash = empty()
    crash.log_, crash.oops = log, parse_oops(log)
    made = document(crash)
    assert made["panic"]["intentional"] is True
    assert made["absent"] == {"fault": "not-applicable"}
    text = render_text(made)
    assert "crashed this kernel on purpose" in " ".join(text.split())
    assert "MATCH  none needed: intentional." in text
    assert "[ 1.0] something before" in text
    assert "its trace" not in text


def test_without_a_log_the_title_comes_from_the_fault() -> None:
    crash = seed()
    crash.oops = None
    made = document(crash)
    assert made["panic"]["kind"] == "null-pointer-dereference"
    assert made["panic"]["title"].endswith(
        "NULL pointer dereference in nf_ct_deliver_cached_events"
    )
    assert made["panic"]["stack_key_from"] == "unwind"
    assert made["panic"]["absent"]["message"] == "not-in-dump"


def test_nothing_known_says_so() -> None:
    text = render_text(document(empty()))
    assert text.startswith("A crash whose kernel log is not readable\n")
    assert "PID: unknown" in text
    assert "RELEASE: unknown" in text


def test_frame_without_arguments_or_name() -> None:
    text = render_text(document(hostile()))
    assert "\\x1b[2J" in text
    assert "\x1b" not in text


def test_verbose_shows_values_commands_and_proofs() -> None:
    text = render_text(document(seed(), seed_finding()), 2)
    assert f"ct_net = {INIT_NET:016x}  [memory]" in text
    assert f"crash> struct nf_conn.ct_net {CT:016x}" in text
    assert ">>> prog['ct_net']" in text
    assert "skb: skb was pushed  [saved-register]" in text
    assert "state: optimized-out" in text


def bt(crash: FakeCrash, *stacks: FoldedStack, raw: bool = False) -> dict[str, Any]:
    shown = stacks or (FoldedStack(stacks=(crash.crashed_stack,)),)
    made = build_bt(as_crash(crash), shown, raw=raw)
    jsonschema.validate(made, bt_schema())
    assert made["thread"] == made["stacks"][0]["thread"]
    assert made["frames"] == made["stacks"][0]["frames"]
    return made


def test_bt_has_crashs_layout() -> None:
    lines = render_bt(bt(seed())).split("\n")
    assert lines[0] == 'PID: 5027     TASK: ffff893cad135280  CPU: 1    COMMAND: "Verdict3"'
    assert any(line.startswith(" #0 [") and " machine_kexec at " in line for line in lines)
    assert "    [exception RIP: nf_ct_deliver_cached_events+45] [nf_conntrack]" in lines
    assert any(line.startswith("#10 [") for line in lines)


def test_bt_shows_each_call_below_its_frame() -> None:
    lines = render_bt(bt(seed())).split("\n")
    (call,) = (line for line in lines if line.startswith("      nf_iterate("))
    assert "state=?" in call
    assert f"skb={SKB:016x}~" in call
    assert "optimized-out" not in "\n".join(lines)
    assert "        state: optimized-out" in render_bt(bt(seed()), 1)
    assert "        skb: skb was pushed  [saved-register]" in render_bt(bt(seed()), 1)


def test_bt_conflicts_and_current_values_are_printed() -> None:
    crash = seed()
    known, lost = crash.recovered["nf_iterate"]
    changed = replace(known[0], current=CT, conflict=f"nf_iterate has {CT:x}")
    crash.recovered = {"nf_iterate": ((changed,), lost)}
    text = render_bt(bt(crash))
    assert f"(now {CT:016x}) (conflict)" in text
    assert f"        skb: nf_iterate has {CT:x}" in text


def test_bt_folds_identical_stacks() -> None:
    crash = seed()
    threads = [replace(crash.thread, pid=number) for number in range(1, 31)]
    stacks = tuple(replace(crash.crashed_stack, thread=thread) for thread in threads)
    made = bt(crash, FoldedStack(stacks=stacks))
    assert made["stacks"][0]["count"] == 30
    assert [thread["pid"] for thread in made["stacks"][0]["threads"]] == list(range(1, 31))
    text = render_bt(made)
    assert "    30 tasks: 1 2 3 " in text
    assert "and 6 more" in text
    assert text.count(" machine_kexec at ") == 1


def test_bt_says_where_a_stack_ends_and_what_is_corrupt() -> None:
    crash = seed()
    broken = replace(
        crash.crashed_stack,
        end="return address 0x1234 is no kernel text",
        reason=Reason.CORRUPTED,
        damage="return address 0x1234 is no kernel text",
    )
    nothing = Stack(
        thread=crash.thread, running=False, frames=(), end="no note", reason=Reason.NOT_IN_DUMP
    )
    text = render_bt(bt(crash, *(FoldedStack(stacks=(stack,)) for stack in (broken, nothing))))
    assert "(the walk ends here: return address 0x1234 is no kernel text)" in text
    assert "(corrupt, nothing on it is proved: return address 0x1234" in text
    assert "(no stack trace: no note)" in text


@pytest.mark.parametrize(
    ("told", "said"), [(True, False), (False, True), (Unavailable("x", Reason.AMBIGUOUS), False)]
)
def test_bt_says_that_a_cpu_was_offline(
    monkeypatch: pytest.MonkeyPatch, told: bool | Unavailable, *, said: bool
) -> None:
    def was_online(_prog: Program, _cpu: int) -> bool:
        if isinstance(told, Unavailable):
            raise told
        return told

    monkeypatch.setattr("crashkit.report.bt.was_online", was_online)
    crash = seed()
    idle = Stack(
        thread=replace(crash.thread, pid=0, cpu=3), running=True, frames=crash.frames[-2:], end="."
    )
    made = bt(crash, FoldedStack(stacks=(crash.crashed_stack,)), FoldedStack(stacks=(idle,)))
    assert [stack["cpu_online"] for stack in made["stacks"]] == [
        True, None if isinstance(told, Unavailable) else told,
    ]  # fmt: skip
    assert ("(this CPU was offline)" in render_bt(made)) is said


def test_bt_names_the_stack_it_leaves() -> None:
    crash = seed()
    low, other = crash.frames[0].sp & ~0xFFF, 0xFFFF_FE00_0000_D000
    nmi = replace(crash.frames[0], function="crash_nmi_callback", sp=other + 8, slot=other,
                  segment=Segment.NMI)  # fmt: skip
    again = replace(crash.frames[10], index=1)
    stack = Stack(
        thread=crash.thread, running=True, frames=(nmi, again), end="user space",
        ranges=((low, low + 0x4000, Segment.TASK), (other, other + 0x1000, Segment.NMI)),
    )  # fmt: skip
    lines = render_bt(bt(crash, FoldedStack(stacks=(stack,)))).split("\n")
    at = lines.index("--- <NMI exception stack> ---")
    assert "    [exception RIP: nf_ct_deliver_cached_events+45] [nf_conntrack]" in lines[:at]
    assert lines[at + 1].startswith(" #1 [")


def test_bt_raw_words_two_to_a_row() -> None:
    made = bt(seed(), raw=True)
    row = "    ffff893c4f527800: 0000000057ac6e9d ????????????????"
    assert row in render_bt(made).split("\n")
    assert bt(seed())["frames"][0]["words"] == []


@pytest.mark.parametrize(
    ("number", "ctype", "text"),
    [
        (SKB, "struct sk_buff *", f"{SKB:016x}"),
        (0, "struct sk_buff *", "0"),
        (0xFFFFFFFF, "int", "-1"),
        (5, "int", "5"),
        ((1 << 64) - 110, "long", "-110"),
        (4095, "unsigned long", "4095"),
        (4096, "unsigned long", "0x1000"),
        (0x14000C0, "u64", "0x14000c0"),
        (1 << 40, "size_t", f"{1 << 40:016x}"),
        (4096, "unsigned int", "4096"),
        (0xDEAD_0000_0001, "gfp_t", "0000dead00000001"),
    ],
)
def test_values_are_written_as_their_type_asks(number: int, ctype: str, text: str) -> None:
    assert written(f"{number:#x}", ctype) == text


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("slab object nf_conntrack", "nf_conntrack"),
        ("free slab object filp+0x8", "filp+0x8, free"),
        ("init_net", "init_net"),
        ("stack of task 7", None),
        ("vmalloc area", None),
        (None, None),
    ],
)
def test_slab_identity_is_named_by_its_cache(words: str | None, short: str | None) -> None:
    assert identity(words) == short


def test_log_is_escaped_line_by_line() -> None:
    made = build_log("a\x1b[31mb\n\tc\n")
    assert made["lines"] == ["a\x1b[31mb", "\tc"]
    assert render_log(made) == "a\\x1b[31mb\n        c\n"


def run_triage(crash: FakeCrash, errors: tuple[RecipeError, ...] = ()) -> Report:
    return triage(as_crash(crash), recipes=Recipes(recipes=(), errors=errors))


@pytest.mark.parametrize(
    ("target", "types", "errors", "code"),
    [
        ({}, "btf", 0, 0),
        ({"truncated": True}, "btf", 0, 5),
        ({"missing_bytes": 4096}, "dwarf", 0, 5),
        ({"truncated": True}, "btf", 1, 1),
        ({"truncated": True}, "none", 1, 1),
        ({"truncated": True}, "none", 0, 5),
        ({}, "none", 1, 4),
        ({}, "symbols", 0, 4),
        ({"format": "text"}, "none", 0, 0),
    ],
)
def test_exit_codes(target: dict[str, Any], types: str, errors: int, code: int) -> None:
    facts_ = {"path": "vmcore", "format": "kdump", **target}
    crash = FakeCrash(target=Target(**facts_), types=types)
    broken = tuple(RecipeError("recipe x.py:1: broken") for _ in range(errors))
    report = run_triage(crash, broken)
    assert report.exit_code == code
    assert report["errors"] == [str(error) for error in broken]
    assert all(str(error) in report.text() for error in broken)


def test_report_is_the_document() -> None:
    report = run_triage(seed())
    assert report["schema"] == "crashkit.report/1"
    assert json.loads(report.json()) == report.document
    assert set(report["timing_s"]) == {"open", "recipes", "total"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\x00b\x1b[0m", "a\\x00b\\x1b[0m"),
        ("\udcff", "\\xff"),
        ("\u202e", "\\u202e"),
        ("é", "é"),
        ("line\nline", "line\\x0aline"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_safe_is_bounded() -> None:
    assert len(safe("x" * 1_000_000)) < 5000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0x0", "0"),
        ("0xa30", "0xa30"),
        ("0xffff893ca41e5140", "ffff893ca41e5140"),
        ("0x7ffd12345678", "00007ffd12345678"),
        (None, "?"),
        ("text", "text"),
    ],
)
def test_bare(text: str | None, shown: str) -> None:
    assert bare(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(92957.0, "1 day, 01:49:17"), (59.9, "00:00:59"), (172800.0, "2 days, 00:00:00"),
     (None, "unknown"), (-1.0, "unknown")],
)  # fmt: skip
def test_uptime(seconds: float | None, shown: str) -> None:
    assert uptime(seconds) == shown


def test_facts_write_kernel_addresses_as_such() -> None:
    made = facts({"skb": CT, "len": 102, "gone": None, "raw": b"\x01\xff",
                  "absent": {"gone": Reason.NOT_IN_DUMP}})  # fmt: skip
    assert made == {"skb": f"{CT:#x}", "len": 102, "gone": None, "raw": "01ff",
                    "absent": {"gone": "not-in-dump"}}  # fmt: skip
