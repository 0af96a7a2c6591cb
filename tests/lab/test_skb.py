"""Packets and netfilter state of the lab's guest "packets", against what the guest printed."""

from __future__ import annotations

import re
from collections.abc import Callable

import jsonschema
import pytest
from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.skb_places import find_all_skbs
from crashkit.decode.ip_headers import Checksum
from crashkit.decode.ip_packet import IpPacket
from crashkit.decode.netfilter_state import NetfilterState, netfilter_state
from crashkit.decode.skb import decode_skb
from crashkit.decode.skb_data import data_from, network_data
from crashkit.decode.skb_packet import Packet, decode_packet
from crashkit.decode.skb_queues import QueuedSkb, queued_skbs
from crashkit.errors import Unavailable
from crashkit.report.pcap import LINKTYPE_ETHERNET
from crashkit.report.skb import build_skb, skb_schema
from crashkit.report.skb_capture import skb_capture
from crashkit.report.text_netfilter import build_netfilter, render_netfilter
from crashkit.report.text_skb import render_skbs
from tests.lab.conftest import full_folder
from tests.unit.test_report_skb import read_back

pytestmark = pytest.mark.lab

Open = Callable[..., Crash]
DATA = b"crashkit " + bytes(b"abcdefghijklmnopqrstuvwxyz"[i % 26] for i in range(400_000))
SENT = ("sk_write_queue", "tcp_rtx_queue")
KERNELS = ("packets-6.1", "packets-6.12")
HOOKS = {
    "prerouting": "PRE_ROUTING",
    "input": "LOCAL_IN",
    "forward": "FORWARD",
    "output": "LOCAL_OUT",
    "postrouting": "POST_ROUTING",
}


class Guest:
    """A dump of the guest, and its console by section."""

    def __init__(self, crash: Crash, console: str) -> None:
        self.crash = crash
        text = console.replace("\r", "")
        parts = re.split(
            r"^lab: ([a-z-]+):\n", text.partition("lab: crashing")[0], flags=re.MULTILINE
        )
        self.said = dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def skbs(self) -> tuple[QueuedSkb, ...]:
        return queued_skbs(self.crash.prog).skbs

    def at(self, place: str, name: str = "", queue: str = "") -> list[Object]:
        """The skbs in a place, ``struct sk_buff *``."""
        return [
            Object(self.crash.prog, "struct sk_buff *", skb.address)
            for skb in self.skbs
            if skb.place == place and name in skb.owner_name and queue in skb.queue
        ]

    def packets(self, place: str, name: str = "", queue: str = "") -> list[Packet]:
        return [decode_packet(skb) for skb in self.at(place, name, queue)]

    def netfilter(self) -> NetfilterState:
        return netfilter_state(self.crash.prog["init_net"].address_of_())


@pytest.fixture(params=KERNELS)
def guest(request: pytest.FixtureRequest, opened: Open) -> Guest:
    folder = full_folder(request.param)
    return Guest(opened(request.param), (folder / "console.txt").read_text(errors="replace"))


def innermost(packet: IpPacket) -> tuple[list[tuple[str, int | None]], IpPacket]:
    """The tunnels around a packet, and the packet."""
    tunnels = []
    while packet.tunnel is not None:
        tunnels.append((packet.tunnel.kind, packet.tunnel.id))
        assert packet.inner is not None
        assert packet.inner.packet is not None
        packet = packet.inner.packet
    return tunnels, packet


def payload(skb: Object) -> bytes:
    data = network_data(skb)
    return data.read(0, data.available)


def test_every_queue_was_read(guest: Guest) -> None:
    assert queued_skbs(guest.crash.prog).unread == ()


def test_nfnetlink_queues(guest: Guest) -> None:
    state = guest.netfilter()
    rows = [[int(n) for n in row.split()] for row in guest.said["queues"].splitlines()]
    printed = [(r[0], r[1], r[2], r[3], r[4], r[5], r[6]) for r in rows]
    decoded = [
        (q.queue_number, q.peer_port, q.waiting, q.copy_mode, q.copy_range, q.dropped,
         q.user_dropped)
        for q in state.queues or ()
    ]  # fmt: skip
    assert decoded == printed
    assert [p.destination_port for p in guest.packets("nfqueue")] == [7002] * printed[0][2]
    assert state.listeners == {1: True}


def test_qdisc_backlogs(guest: Guest) -> None:
    printed = re.findall(
        r"qdisc (\S+) (\w+:) dev (\S+) .*\n(?:.*\n)?.* backlog (\d+)b (\d+)p", guest.said["qdiscs"]
    )
    leaves = [row for row in printed if row[0] in ("netem", "pfifo_fast", "fq_codel", "pfifo")]
    assert len(leaves) == 4
    for kind, handle, device, size, count in leaves:
        found = guest.at("qdisc", f"{kind} {handle} of {device}")
        late = len(found) - int(count)  # IPv6 router solicitations between the line and the crash
        assert 0 <= late <= 6, (kind, device)
        grown = sum(decode_skb(skb).length or 0 for skb in found) - int(size)
        assert (grown == 0) if late == 0 else (0 < grown <= 200 * late), (kind, device)


@pytest.mark.parametrize(
    ("device", "port", "count"),
    [("s_pfifo_fast", 7320, 3), ("s_fq_codel", 7321, 4), ("s_pfifo", 7322, 5)],
)
def test_what_waits_in_a_qdisc(guest: Guest, device: str, port: int, count: int) -> None:
    ports = [p.destination_port for p in guest.packets("qdisc", f"of {device}")]
    assert ports.count(port) == count


def test_tunnels_and_tags(guest: Guest) -> None:
    seen = {}
    for skb in guest.at("qdisc", "of under"):
        packet = decode_packet(skb)
        tunnels, inner = innermost(packet)
        tags = tuple((tag.id, tag.in_band) for tag in packet.vlans or ())
        if inner.destination_port is not None and 7310 <= inner.destination_port <= 7316:
            seen[inner.destination_port] = (tunnels, tags, inner.destination)
            assert payload(skb).endswith(DATA[:100])
    assert seen == {
        7310: ([("vxlan", 42)], (), "10.21.0.2"),
        7311: ([("gre", 7)], (), "10.22.0.2"),
        7312: ([("ipip", None)], (), "10.23.0.2"),
        7313: ([("6in4", None)], (), "fd24::2"),
        7314: ([("geneve", 9)], (), "10.25.0.2"),
        7315: ([], ((100, False),), "10.26.0.2"),
        7316: ([], ((100, False), (200, True)), "10.27.0.2"),
    }


def test_fragments_sent(guest: Guest) -> None:
    parts = {}
    for skb in guest.at("qdisc", "of under"):
        packet = decode_packet(skb)
        if packet.ip.is_fragment:
            parts[packet.ip.fragment_offset] = payload(skb)[packet.ip.header_length :]
    assert sorted(parts) == [0, 1480, 2960]
    whole = b"".join(parts[at] for at in sorted(parts))
    assert whole[8:] == DATA[:4000]


def test_a_packet_whose_rest_never_came(guest: Guest) -> None:
    (skb,) = guest.at("fragments")
    assert "FRAG: inuse 1" in guest.said["fragments"]
    packet = decode_packet(skb)
    assert (packet.ip.identification, packet.ip.more_fragments) == (0x4242, True)
    assert (packet.source_port, packet.destination_port) == (5555, 7100)


def test_neighbours_that_do_not_answer(guest: Guest) -> None:
    silent = set(re.findall(r"(\S+) dev (\S+)\s+INCOMPLETE", guest.said["neighbours"]))
    found = {skb.owner_name for skb in guest.skbs if skb.place == "neighbour"}
    assert found == {f"neighbour {address} on {device}" for address, device in silent}
    assert [p.destination_port for p in guest.packets("neighbour")] == [7200, 7200]


def test_datagrams_that_nobody_reads(guest: Guest) -> None:
    packets = guest.packets("socket", "UDP socket 0.0.0.0:7100")
    assert [p.ip.total_length for p in packets] == [728] * 3


def queue_bytes(skbs: list[Object]) -> bytes:
    """The payload of a socket's skbs, where skb->data is, page fragments included."""
    out = b""
    for skb in skbs:
        data = data_from(skb, int(skb.data))
        out += data.read(0, data.available)
    return out


def test_tcp_from_the_writer_to_the_reader(guest: Guest) -> None:
    # tx_queue and rx_queue of /proc/net/tcp; port 7100 is 1BBC
    rx = re.findall(r":1BBC \S+ 01 \w+:(\w+)", guest.said["tcp"])
    tx = re.findall(r"\S+:1BBC 01 (\w+):\w+", guest.said["tcp-client"])
    received = queue_bytes(guest.at("socket", "TCP socket 10.9.0.1:7100", "sk_receive_queue"))
    name = re.escape("TCP socket 10.9.0.2:") + r"\d+ > 10\.9\.0\.1:7100"
    owner = next(s.owner_name for s in guest.skbs if re.fullmatch(name, s.owner_name))
    unacknowledged = queue_bytes(guest.at("socket", owner, "tcp_rtx_queue"))
    unsent = queue_bytes(guest.at("socket", owner, "sk_write_queue"))
    assert len(received) == int(rx[0], 16)
    assert len(unacknowledged + unsent) == int(tx[0], 16)
    assert received + unacknowledged + unsent == DATA[: len(received + unacknowledged + unsent)]


def test_no_checksum_is_wrong(guest: Guest) -> None:
    seen = set()
    for skb in guest.skbs:
        try:
            packet: IpPacket = decode_packet(
                Object(guest.crash.prog, "struct sk_buff *", skb.address)
            )
        except Unavailable:
            continue
        while True:
            seen.add(packet.transport_checksum)
            assert packet.missing_bytes == 0
            if packet.inner is None or packet.inner.packet is None:
                break
            packet = packet.inner.packet
    assert Checksum.WRONG not in seen
    assert {Checksum.VALID, Checksum.PARTIAL, Checksum.ZERO} <= seen


def test_hooks_as_nft_lists_them(guest: Guest) -> None:
    listed: dict[tuple[str, str], list[tuple[int, str, str | None]]] = {}
    key = ("", "")
    for line in guest.said["hooks"].splitlines():
        if found := re.match(r"family (\S+) ", line):
            key = ({"ip": "IPV4", "ip6": "IPV6"}[found[1]], "")
        elif found := re.match(r"\s+hook (\S+) ", line):
            key = (key[0], HOOKS[found[1]])
        elif found := re.match(r"\s+([+-]?\d+) (.+?)(?: \[(\S+)\])?$", line):
            listed.setdefault(key, []).append((int(found[1]), found[2], found[3]))
    if not listed:
        pytest.skip("the kernel does not list its hooks: nfnetlink_hook is not built")
    decoded: dict[tuple[str, str], list[tuple[int, str, str | None]]] = {}
    for hook in guest.netfilter().hooks or ():
        name = f"chain {hook.chain}" if hook.chain else str(hook.symbol)
        row = (hook.priority or 0, name, hook.module)
        decoded.setdefault((hook.family, hook.hook_name), []).append(row)
    assert decoded == listed
    assert not any(hook.out_of_tree for hook in guest.netfilter().hooks or ())


def test_iptables_as_the_guest_saves_them(guest: Guest) -> None:
    saved = [line for line in guest.said["iptables"].splitlines() if line[:1] in "*:-"]
    decoded = []
    for table in guest.netfilter().iptables or ():
        decoded.append(f"*{table.name}")
        decoded += [f":{chain.name} {chain.policy}" for chain in table.chains]
        decoded += [f"-A {c.name} {r.text}" for c in table.chains for r in c.rules]
    assert decoded == [re.sub(r" \[\d+:\d+\]$", "", line) for line in saved]


def test_nft_rules_as_the_guest_lists_them(guest: Guest) -> None:
    tables = guest.netfilter().nftables or ()
    rules = [rule.text for table in tables for chain in table.chains for rule in chain.rules]
    # -n prints numbers in its own way, and a state as a list where the rule has a mask
    listed = guest.said["nft"].replace("0x0000002a", "0x2a").replace("l4proto 17", "l4proto udp")
    listed = listed.replace("ct state 0x2,0x4", "ct state & 0x6 != 0x0")
    lines = [line.strip() for line in listed.splitlines()]
    rules_listed = [
        line for line in lines if line and not re.match(r"table|set|type|elem|chain|}", line)
    ]
    assert rules == rules_listed
    chains = {(c.name, c.kind, c.hook, c.priority, c.policy) for t in tables for c in t.chains}
    assert chains == {
        ("input", "filter", "input", 10, "accept"),
        ("out", "route", "output", -150, "accept"),
        ("other", None, None, None, None),
    }


def test_settings_as_proc_shows_them(guest: Guest) -> None:
    shown = dict(line.split(":") for line in guest.said["sysctls"].splitlines())
    decoded = {s.name: str(s.value) for s in guest.netfilter().settings or ()}
    missing = set(shown) - set(decoded)
    assert missing <= {f"nf_conntrack_frag6_{n}" for n in ("high_thresh", "low_thresh", "timeout")}
    del shown["nf_conntrack_count"]  # it may change until the crash
    assert {name: decoded[name] for name in set(shown) - missing} == {
        name: value for name, value in shown.items() if name not in missing
    }
    assert set(decoded) - set(shown) == {"nf_conntrack_count"}


def test_statistics_as_proc_shows_them(guest: Guest) -> None:
    header, *rows = guest.said["statistics"].splitlines()
    names = header.split()
    decoded = guest.netfilter().statistics or {}
    assert len(decoded) == len(rows)
    for cpu, row in enumerate(rows):
        shown = dict(zip(names, (int(word, 16) for word in row.split()), strict=False))
        for name in ("insert_failed", "drop", "early_drop", "search_restart", "expect_new"):
            assert decoded[cpu][name] == shown[name]


def test_the_document_and_the_capture(guest: Guest) -> None:
    found = find_all_skbs(guest.crash)
    document = build_skb(guest.crash, found.skbs, found.unread)
    jsonschema.validate(document, skb_schema())
    assert len(document["skbs"]) == len({skb.address for skb in guest.skbs})
    text = render_skbs(document, 1)
    for entry in document["skbs"]:
        assert entry["address"][2:] in text
    data, count, without = skb_capture(guest.crash, found.skbs, "test")
    packets = read_back(data)
    assert len(packets) == count
    assert count + len(without) == len(found.skbs)
    lost = {line[:16] for line in without}
    # what is not in the capture is what a TCP sender has without headers
    assert all(skb.queues[0].queue in SENT for skb in found.skbs if f"{skb.address:016x}" in lost)
    assert len(without) == sum(entry["packet"] is None for entry in document["skbs"])
    tagged = [p.data for p in packets if p.link == LINKTYPE_ETHERNET and p.data[12:14] == b"\x81\0"]
    # the outer tag is put in, as the device would: 100, and 200 in it
    assert {frame[14:16] for frame in tagged} == {b"\0\x64"}
    assert any(frame[16:20] == b"\x81\0\0\xc8" for frame in tagged)
    assert sum(p.data.endswith(DATA[:100]) for p in packets) >= 9


def test_the_state_as_text(guest: Guest) -> None:
    text = render_netfilter(build_netfilter(guest.netfilter()), 1)
    assert "nfnetlink queue 1: 3 of 1024 packets, 0 dropped when full" in text
    assert "chain inet lab input (nft_do_chain_inet) [nf_tables]" in text
    assert "udp_timeout=123" in text
    assert "[3:120]" in text
    assert "not read" not in text
