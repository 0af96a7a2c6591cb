"""An iptables table written by hand, and damage to it; nftables registers followed."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode import nf_rules_xt as xt
from crashkit.decode.nf_rules_nft_text import _field, _Loaded, _value
from crashkit.decode.nf_rules_xt import XtTable, xt_tables
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, list_of

ENTRY, TARGET = 112, 32
BLOB = 0xFFFF_8880_0055_0000
ENTRIES = BLOB + 64
ACCEPT, DROP, RETURN = -2, -1, -5


class Table:
    """Builds the entries of a table."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.data = bytearray()
        self.targets = {
            name: kernel.allocate("struct xt_target", name=name.encode() or b"\0").value_()
            for name in ("", "ERROR", "NFQUEUE", "ACME")
        }
        self.udp = kernel.allocate("struct xt_match", name=b"udp").value_()
        self.other = kernel.allocate("struct xt_match", name=b"acme", revision=3).value_()

    def add(
        self, target: str, payload: bytes, match: bytes = b"", protocol: int = 0, flags: int = 0
    ) -> int:
        """Add an entry; gives its offset."""
        at = len(self.data)
        payload += bytes(-len(payload) % 8)
        target_offset = ENTRY + len(match)
        size = target_offset + TARGET + len(payload)
        ip = bytes(80) + protocol.to_bytes(2, "little") + bytes([flags, 0])
        head = ip + bytes(4) + target_offset.to_bytes(2, "little") + size.to_bytes(2, "little")
        self.data += head.ljust(ENTRY, b"\0") + match
        self.data += (TARGET + len(payload)).to_bytes(8, "little")
        self.data += self.targets[target].to_bytes(8, "little") + bytes(16) + payload
        return at

    def verdict(self, number: int, match: bytes = b"", protocol: int = 0, flags: int = 0) -> int:
        payload = (number % (1 << 32)).to_bytes(4, "little")
        return self.add("", payload, match, protocol, flags)

    def chain(self, name: str) -> int:
        """Begin a user's chain; gives the offset of its first rule."""
        self.add("ERROR", name.encode().ljust(30, b"\0"))
        return len(self.data)

    def match(self, address: int, payload: bytes) -> bytes:
        head = (32 + len(payload)).to_bytes(8, "little") + address.to_bytes(8, "little")
        return head + bytes(16) + payload


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    made.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    for kind in ("match", "target"):
        made.struct(f"xt_{kind}", 64, ("name", "char [29]", 0), ("revision", "u8", 29))
        made.struct(f"xt_kernel_{kind}", 16, ("size", "u16", 0), (kind, f"struct xt_{kind} *", 8))
        made.union(
            f"xt_entry_{kind}_u",
            32,
            ("kernel", f"struct xt_kernel_{kind}", 0),
            (f"{kind}_size", "u16", 0),
        )
        made.struct(
            f"xt_entry_{kind}",
            32,
            ("u", f"union xt_entry_{kind}_u", 0),
            ("data", "unsigned char [0]", 32),
        )
    made.struct(
        "xt_standard_target", 40, ("target", "struct xt_entry_target", 0), ("verdict", "int", 32)
    )
    made.struct(
        "xt_error_target",
        64,
        ("target", "struct xt_entry_target", 0),
        ("errorname", "char [30]", 32),
    )
    made.struct("xt_NFQ_info", 2, ("queuenum", "u16", 0))
    made.struct("xt_udp", 10, ("spts", "u16 [2]", 0), ("dpts", "u16 [2]", 4), ("invflags", "u8", 8))
    made.struct(
        "ipt_ip",
        84,
        ("src", "__be32", 0), ("dst", "__be32", 4), ("smsk", "__be32", 8), ("dmsk", "__be32", 12),
        ("iniface", "char [16]", 16), ("outiface", "char [16]", 32),
        ("iniface_mask", "unsigned char [16]", 48), ("outiface_mask", "unsigned char [16]", 64),
        ("proto", "u16", 80), ("flags", "u8", 82), ("invflags", "u8", 83),
    )  # fmt: skip
    made.struct("xt_counters", 16, ("pcnt", "u64", 0), ("bcnt", "u64", 8))
    made.struct(
        "ipt_entry",
        ENTRY,
        ("ip", "struct ipt_ip", 0),
        ("target_offset", "u16", 88),
        ("next_offset", "u16", 90),
        ("counters", "struct xt_counters", 96),
        ("elems", "unsigned char [0]", ENTRY),
    )
    made.struct(
        "xt_table_info",
        64,
        ("size", "u32", 0),
        ("hook_entry", "u32 [5]", 12),
        ("underflow", "u32 [5]", 32),
        ("entries", "unsigned char [0]", 64),
    )
    made.struct(
        "xt_table",
        96,
        ("list", "struct list_head", 0),
        ("valid_hooks", "u32", 16),
        ("private", "struct xt_table_info *", 24),
        ("name", "char [32]", 40),
    )
    made.struct("netns_xt", 208, ("tables", "struct list_head [13]", 0))
    made.struct("net", 256, ("xt", "struct netns_xt", 0))
    monkeypatch.setattr(xt, "for_each_possible_cpu", lambda _prog: iter((0,)))
    return made


def installed(kernel: Kernel, table: Table, hook: int, underflow: int) -> Object:
    """Put a table with one built-in chain, INPUT, into a namespace."""
    net = kernel.allocate("struct net")
    for pf in range(13):
        list_of(kernel, net.xt.tables[pf].address_of_(), "list")
    kernel.put(BLOB, bytes(64))
    kernel.put(ENTRIES, bytes(table.data))
    blob = Object(kernel.prog, "struct xt_table_info *", BLOB)
    kernel.set(blob, {"size": len(table.data), "hook_entry[1]": hook, "underflow[1]": underflow})
    row = kernel.allocate("struct xt_table", valid_hooks=2, private=BLOB, name=b"filter")
    list_of(kernel, net.xt.tables[2].address_of_(), "list", row)
    return net


def filled(kernel: Kernel) -> tuple[Object, Table]:
    table = Table(kernel)
    ports = bytes.fromhex("0000ffff 5a1b5a1b 00 00").ljust(16, b"\0")
    hook = table.add("NFQUEUE", b"\x05\0", table.match(table.udp, ports), protocol=17)
    jump = table.verdict(0)
    table.verdict(0, flags=2)
    table.add("ACME", bytes(16), table.match(table.other, bytes(8)))
    none = table.verdict(0)
    underflow = table.verdict(ACCEPT)
    user = table.chain("LOGGING")
    table.verdict(DROP, protocol=132)
    table.verdict(RETURN)
    table.chain("ERROR")
    for at, number in ((jump, user), (jump + 152, user), (none, none + 152)):
        table.data[at + ENTRY + TARGET : at + ENTRY + TARGET + 4] = number.to_bytes(4, "little")
    return installed(kernel, table, hook, underflow), table


def only(tables: tuple[XtTable, ...]) -> XtTable:
    (table,) = tables
    return table


def test_a_table(kernel: Kernel) -> None:
    net, _table = filled(kernel)
    table = only(xt_tables(net))
    assert (table.family, table.name) == ("ip", "filter")
    seen = {
        chain.name: (chain.policy, [rule.text for rule in chain.rules]) for chain in table.chains
    }
    assert seen == {
        "INPUT": (
            "ACCEPT",
            [
                "-p udp -m udp --dport 7002 -j NFQUEUE --queue-num 5",
                "-j LOGGING",
                "-g LOGGING",
                "-m acme [revision 3, 40 bytes] -j ACME [revision 0, 48 bytes]",
                "",
            ],
        ),
        "LOGGING": (None, ["-p sctp -j DROP"]),
    }
    assert [rule.packets for rule in table.chains[0].rules] == [0] * 5


def test_without_the_modules_types_a_match_is_named(kernel: Kernel) -> None:
    net, _table = filled(kernel)
    kernel.forget("xt_udp")
    texts = [rule.text for rule in only(xt_tables(net)).chains[0].rules]
    assert texts[0] == "-p udp -m udp [revision 0, 48 bytes] -j NFQUEUE --queue-num 5"


@pytest.mark.parametrize(
    ("offset", "value"), [(90, 0), (90, 100), (90, 0xFFFF), (88, 0), (88, 0xFFFF)]
)
def test_damaged_entries(kernel: Kernel, offset: int, value: int) -> None:
    net, _table = filled(kernel)
    kernel.put(ENTRIES + offset, value.to_bytes(2, "little"))
    with pytest.raises(Unavailable) as caught:
        xt_tables(net)
    assert caught.value.reason is Reason.CORRUPTED


def test_a_damaged_match(kernel: Kernel) -> None:
    net, _table = filled(kernel)
    for size in (0, 31, 5000):
        kernel.put(ENTRIES + ENTRY, size.to_bytes(2, "little"))
        with pytest.raises(Unavailable) as caught:
            xt_tables(net)
        assert caught.value.reason is Reason.CORRUPTED


def test_a_missing_page(kernel: Kernel) -> None:
    net, _table = filled(kernel)
    kernel.drop(BLOB)
    with pytest.raises(Unavailable) as caught:
        xt_tables(net)
    assert caught.value.reason is Reason.NOT_IN_DUMP


@pytest.mark.parametrize(
    ("base", "offset", "length", "transport", "expected"),
    [
        (2, 2, 2, "tcp", "tcp dport"),
        (2, 0, 2, "th", "th sport"),
        (1, 12, 4, "th", "ip saddr"),
        (1, 16, 2, "th", "ip daddr"),
        (1, 9, 1, "th", "ip protocol"),
        (1, 8, 16, "th", "ip6 saddr"),
        (1, 24, 8, "th", "ip6 daddr"),
        (1, 2, 2, "th", "@nh,16,16"),
        (0, 0, 6, "th", "@ll,0,48"),
    ],
)
def test_fields_by_their_place(
    base: int, offset: int, length: int, transport: str, expected: str
) -> None:
    assert _field(base, offset, length, transport)[0] == expected


@pytest.mark.parametrize(
    ("value", "form", "length", "expected"),
    [
        (b"\x0a\x42", "address", 2, "10.66.0.0/16"),
        (bytes([192, 0, 2, 1]), "address", 4, "192.0.2.1"),
        (b"under\0\0\0", "text", 16, '"under"'),
        (b"\x1b\x3f", "number", 2, "6975"),
        (b"\x11", "protocol", 1, "udp"),
        (b"\x2a\0\0\0", "host", 4, "0x2a"),
        (b"\x01\x02", "hex", 2, "0x0102"),
    ],
)
def test_values_by_their_form(value: bytes, form: str, length: int, expected: str) -> None:
    assert _value(value, _Loaded("", form, length)) == expected
