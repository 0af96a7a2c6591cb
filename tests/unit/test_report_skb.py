"""The document of ``crashkit skb``, its text, and capture files read back."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jsonschema
import pytest
from drgn import Program

from crashkit.cli.skb import _number
from crashkit.crash import Crash
from crashkit.crash.skb_places import FoundSkb, StackPlace
from crashkit.decode.skb_queues import QueuedSkb, UnreadQueue
from crashkit.errors import Reason, UsageError
from crashkit.report.pcap import LINKTYPE_ETHERNET, LINKTYPE_RAW, CapturedPacket, pcapng
from crashkit.report.skb import build_skb, skb_lines, skb_schema
from crashkit.report.skb_capture import skb_capture
from crashkit.report.text_packet import packet_words
from crashkit.report.text_skb import render_skb, render_skbs
from tests.unit.kernel_doubles import Kernel, add_namespace
from tests.unit.netfilter_doubles import (
    GOLDEN_HEADER,
    GOLDEN_PACKET,
    ens192,
    modern_kernel,
    skb_with,
    udp,
)
from tests.unit.report_doubles import FakeCrash, as_crash, seed

SKB = 0xFFFF_893C_9491_A500
OWNER = 0xFFFF_893C_9491_0000
UNREAD = UnreadQueue(place="qdisc", queue="qdisc cake", reason=Reason.UNSUPPORTED, detail="9 more")


@dataclass
class WithMemory(FakeCrash):
    """The seed's crash over a hand-made kernel."""

    kernel: Kernel | None = None

    @property
    def prog(self) -> Program:
        assert self.kernel is not None
        return self.kernel.prog


def crash_with(kernel: Kernel) -> Crash:
    made = seed()
    return as_crash(WithMemory(target=made.target, banner_=made.banner_, kernel=kernel))


def golden(packet: bytes = GOLDEN_PACKET) -> Kernel:
    kernel = modern_kernel()
    device = ens192(kernel)
    add_namespace(kernel, device)
    skb_with(kernel, packet, device, SKB)
    return kernel


def queued(name: str = "nfnetlink queue 0, packet 7, at POST_ROUTING") -> FoundSkb:
    place = QueuedSkb(
        address=SKB,
        place="nfqueue",
        queue="queue 0",
        owner_type="struct nf_queue_entry",
        owner=OWNER,
        owner_name=name,
        net=None,
    )
    return FoundSkb(address=SKB, queues=[place])


def document(kernel: Kernel, *found: FoundSkb) -> dict[str, Any]:
    made = build_skb(crash_with(kernel), found, [UNREAD])
    jsonschema.validate(made, skb_schema())
    return made


def test_the_document() -> None:
    made = document(golden(), queued())
    (entry,) = made["skbs"]
    assert entry["address"] == f"{SKB:#x}"
    assert entry["plausible"] is True
    assert entry["packet"]["transport"]["destination_port"] == 4789
    assert entry["queues"][0]["owner"] == f"{OWNER:#x}"
    assert made["unread"][0]["reason"] == "unsupported"


@pytest.mark.parametrize(
    ("queue", "owner", "known"),
    [
        ("rb_fragments", "an incomplete IPv4 packet", False),
        ("sk_receive_queue", "UDP socket 0.0.0.0:53", False),
        ("sk_receive_queue", "packet socket", True),
    ],
)
def test_the_device_is_not_told_where_its_bytes_hold_something_else(
    queue: str, owner: str, known: bool
) -> None:
    found = queued(owner)
    found.queues[0] = replace(found.queues[0], queue=queue)
    (entry,) = document(golden(), found)["skbs"]
    assert (entry["skb"]["device_name"] == "ens192") is known
    assert (entry["validation"]["device_registered"] is True) is known
    assert entry["plausible"] is True


def test_text_by_place() -> None:
    text = render_skbs(document(golden(), queued()), 1)
    assert text.startswith("1 socket buffers: 1 in nfnetlink queues\n")
    assert "\nnfnetlink queue 0\n" in text
    assert "ens192, IPv4 10.76.59.158 > 10.76.59.115, UDP 41000 > 4789, len 102" in text
    assert "packet 7, at POST_ROUTING; no conntrack" in text
    assert "(not read: qdisc cake: unsupported (9 more))" in text


def test_one_in_full() -> None:
    found = queued()
    found.stacks.append(StackPlace(stack="CPU 1, crashed", found_by="R13 of nf_reinject"))
    text = render_skb(document(golden(), found))
    assert text.startswith(f"SKB    {SKB:016x}\n")
    assert "R13 of nf_reinject (CPU 1, crashed)" in text
    assert "ip checksum yes" in text
    assert "len 102, data_len 0" in text


def test_an_address_that_is_no_skb() -> None:
    made = document(golden(), FoundSkb(address=0x10))
    (entry,) = made["skbs"]
    assert entry["skb"] is None
    assert entry["absent"]["skb"] == "corrupted"
    text = render_skb(made)
    assert "cannot be read: corrupted" in text
    assert "in no queue that was read" in text


def test_names_from_the_dump_do_not_reach_the_terminal() -> None:
    made = document(golden(), queued("nfnetlink \x1b[31mqueue"))
    for text in (render_skbs(made, 1), render_skb(made)):
        assert "\x1b" not in text
        assert "\\x1b[31m" in text


def test_lines() -> None:
    lines = list(skb_lines(crash_with(golden()), [queued()], [UNREAD]))
    parsed = [json.loads(line) for line in lines]
    assert [row["kind"] for row in parsed] == ["skb", "unread"]
    assert {row["schema"] for row in parsed} == {"crashkit.skb/1"}


def test_a_tunnel_in_words() -> None:
    inner = GOLDEN_HEADER[:2] + b"\0\x30" + GOLDEN_HEADER[4:] + udp(1, 53, bytes(20))
    frame = bytes(12) + b"\x08\0" + inner
    vxlan = b"\x08\0\0\0\0\0\x2a\0" + frame
    outer = GOLDEN_HEADER[:2] + (20 + 8 + len(vxlan)).to_bytes(2, "big") + GOLDEN_HEADER[4:]
    made = document(golden(outer + udp(41000, 4789, vxlan)), queued())
    words = packet_words(made["skbs"][0]["packet"], "ens192")
    at = words.index("in it VXLAN VNI 42")
    assert words[at + 1] == "Ethernet 00:00:00:00:00:00 > 00:00:00:00:00:00"
    assert words[at + 3] == "UDP 1 > 53"
    assert "IP checksum WRONG" in words  # the lengths were changed and the checksums were not


@dataclass
class Block:
    """A pcapng block."""

    kind: int
    body: bytes


def blocks(data: bytes) -> Iterator[Block]:
    """Read a little-endian pcapng file."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack("<II", data[at : at + 8])
        assert size % 4 == 0
        assert struct.unpack("<I", data[at + size - 4 : at + size])[0] == size
        yield Block(kind, data[at + 8 : at + size - 4])
        at += size
    assert at == len(data)


def options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        code, size = struct.unpack("<HH", data[at : at + 4])
        if code == 0:
            assert at + 4 == len(data)
            return found
        found[code] = data[at + 4 : at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    pytest.fail("the options do not end")


@dataclass
class Read:
    """A packet read back."""

    link: int
    data: bytes
    length: int
    seconds: float
    comment: str


def read_back(data: bytes) -> list[Read]:
    section, *rest = blocks(data)
    assert section.kind == 0x0A0D0D0A
    assert struct.unpack("<IHHq", section.body[:16]) == (0x1A2B3C4D, 1, 0, -1)
    links: list[int] = []
    packets = []
    for block in rest:
        if block.kind == 1:
            links.append(struct.unpack("<H", block.body[:2])[0])
            assert options(block.body[8:])[9] == b"\x09"
            continue
        assert block.kind == 6
        interface, high, low, size, length = struct.unpack("<IIIII", block.body[:20])
        more = options(block.body[20 + (size + 3) // 4 * 4 :])
        packets.append(
            Read(
                link=links[interface],
                data=block.body[20 : 20 + size],
                length=length,
                seconds=(high << 32 | low) / 1e9,
                comment=more[1].decode(),
            )
        )
    return packets


def test_a_capture_read_back() -> None:
    given = [
        CapturedPacket(data=b"abcde", length=9, ethernet=True, comment="first"),
        CapturedPacket(data=b"", length=0, ethernet=False, comment=""),
        CapturedPacket(data=bytes(64), length=64, ethernet=False, comment="ümlaut"),
    ]
    seen = read_back(pcapng(given, 1_700_000_000.5, "crashkit 0"))
    assert [(p.link, p.data, p.length, p.comment) for p in seen] == [
        (LINKTYPE_ETHERNET, b"abcde", 9, "first"),
        (LINKTYPE_RAW, b"", 0, ""),
        (LINKTYPE_RAW, bytes(64), 64, "ümlaut"),
    ]
    assert {p.seconds for p in seen} == {1_700_000_000.5}


def test_the_packets_of_skbs_in_a_capture() -> None:
    kernel = golden()
    data, count, without = skb_capture(
        crash_with(kernel), [queued(), FoundSkb(address=0x10)], "crashkit 0"
    )
    (packet,) = read_back(data)
    assert (packet.link, packet.data) == (LINKTYPE_RAW, GOLDEN_PACKET)
    assert f"sk_buff {SKB:016x}; queue 0 of nfnetlink queue 0" in packet.comment
    assert count == 1
    assert without == (
        "0000000000000010: struct sk_buff: corrupted (0x10 is not a kernel address)",
    )


def test_what_is_cut_in_the_dump_is_cut_in_the_capture() -> None:
    kernel = golden()
    skb = skb_with(kernel, GOLDEN_PACKET, address=SKB)
    kernel.set(skb, {"tail": 0xAA + 60, "len": 60})
    data, count, _without = skb_capture(crash_with(kernel), [queued()], "crashkit 0")
    (packet,) = read_back(data)
    assert (count, packet.data, packet.length) == (1, GOLDEN_PACKET[:60], 102)


@pytest.mark.parametrize("text", ["", "xyz", "-1", "0x", "1ffffffffffffffff", "ff_ff"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        _number(text)


def test_an_address() -> None:
    assert _number("0xFFFF893C9491a500") == _number("ffff893c9491a500") == SKB
