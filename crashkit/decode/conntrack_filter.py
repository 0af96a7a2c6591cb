"""Which entries of the connection table are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING

from crashkit.decode.conntrack_status import SEEN_REPLY_BIT
from crashkit.decode.conntrack_tuple import WITH_PORTS
from crashkit.decode.ip_headers import NFPROTO_IPV4, NFPROTO_IPV6, PROTOCOL_NAMES
from crashkit.errors import UsageError
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table import Table
    from crashkit.decode.conntrack_table_entry import TableEntry

Test = Callable[["TableEntry"], bool]

_BITS = {NFPROTO_IPV4: 32, NFPROTO_IPV6: 128}
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+", re.ASCII)
_UNREPLIED = "UNREPLIED"


@facts
class Wanted:
    """What was asked for, as it was typed; None: everything."""

    proto: str | None = None
    """Name or number of an IP protocol."""
    src: str | None = None
    """Address or prefix of the original source."""
    dst: str | None = None
    sport: str | None = None
    """Original source port."""
    dport: str | None = None
    state: str | None = None
    """States of TCP, SCTP or DCCP, separated by commas: one of them."""
    status: str | None = None
    """Status bits, separated by commas: all of them; ``!NAME``: not set."""
    netns: str | None = None
    """Inode number, or address of the ``struct net``."""
    zone: str | None = None
    mark: str | None = None
    """Value, or value/mask."""


def entry_filter(wanted: Wanted, table: Table) -> Test | None:
    """Make a test of what is wanted; None when that is everything.

    :raises UsageError: a name that does not exist, or no number or address
    """
    makers: Mapping[str, Callable[[str, Table], Test]] = {
        "proto": _protocol,
        "src": lambda text, _table: _address("--src", text, "source"),
        "dst": lambda text, _table: _address("--dst", text, "destination"),
        "sport": lambda text, _table: _port("--sport", text, "source_part"),
        "dport": lambda text, _table: _port("--dport", text, "destination_part"),
        "state": _state,
        "status": _status,
        "netns": _namespace,
        "zone": _zone,
        "mark": _mark,
    }
    given = ((name, getattr(wanted, name)) for name in makers)
    tests = [makers[name](text, table) for name, text in given if text is not None]
    if not tests:
        return None
    return lambda entry: all(test(entry) for test in tests)


def number(option: str, text: str, limit: int) -> int:
    """Read a number, decimal or with 0x.

    :raises UsageError: it is none, or more than ``limit``
    """
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"{option} {text}: not a number")
    value = int(text, 16 if text.startswith("0x") else 10)
    if value > limit:
        raise UsageError(f"{option} {text}: more than {limit}")
    return value


def _protocol(text: str, _table: Table) -> Test:
    numbers = {name: value for value, name in PROTOCOL_NAMES.items()}
    if text.lower() in numbers:
        wanted = numbers[text.lower()]
    elif _NUMBER.fullmatch(text):
        wanted = number("--proto", text, 255)
    else:
        names = ", ".join(sorted(numbers))
        raise UsageError(f"--proto {text}: not a number, nor one of {names}")
    return lambda entry: entry.row.protocol == wanted


def _address(option: str, text: str, column: str) -> Test:
    try:
        network = ip_network(text, strict=False)
    except ValueError as wrong:
        raise UsageError(f"{option} {text}: not an address or address/length") from wrong
    family = NFPROTO_IPV4 if isinstance(network, IPv4Network) else NFPROTO_IPV6
    size, shift = _BITS[family] // 8, _BITS[family] - network.prefixlen
    prefix = int(network.network_address) >> shift

    def test(entry: TableEntry) -> bool:
        if entry.row.l3num != family:
            return False
        raw: bytes = getattr(entry.row, column)
        return int.from_bytes(raw[:size], "big") >> shift == prefix

    return test


def _port(option: str, text: str, column: str) -> Test:
    raw = number(option, text, 0xFFFF).to_bytes(2, "big")
    return lambda entry: getattr(entry.row, column) == raw and entry.row.protocol in WITH_PORTS


def _state(text: str, table: Table) -> Test:
    known = {name for names in table.states_of.values() for name in names.values()}
    wanted = {name.strip().upper() for name in text.split(",")}
    for name in sorted(wanted - known):
        raise UsageError(f"--state {name}: not one of {', '.join(sorted(known))}")
    return lambda entry: entry.state in wanted


def _status(text: str, table: Table) -> Test:
    bits = {name: bit for bit, names in table.status_bits.items() for name in names.split("|")}
    on = off = 0
    for item in text.split(","):
        name = item.strip().upper()
        negated, bare = name.startswith("!"), name.removeprefix("!")
        if bare == _UNREPLIED:
            negated, bare = not negated, table.status_bits[SEEN_REPLY_BIT]
        if bare not in bits:
            names = ", ".join([*sorted(bits), _UNREPLIED])
            raise UsageError(f"--status {item.strip()}: not one of {names}; !NAME is not set")
        if negated:
            off |= 1 << bits[bare]
        else:
            on |= 1 << bits[bare]
    return lambda entry: entry.row.status & (on | off) == on


def _namespace(text: str, table: Table) -> Test:
    wanted = number("--netns", text, (1 << 64) - 1)
    nets = {net for net, inode in table.inodes.items() if wanted in (net, inode)}
    if not nets:
        known = ", ".join(str(inode) for inode in table.inodes.values() if inode is not None)
        raise UsageError(f"--netns {text}: no such namespace; there are {known or 'none known'}")
    return lambda entry: entry.row.net in nets


def _zone(text: str, _table: Table) -> Test:
    wanted = number("--zone", text, 0xFFFF)
    return lambda entry: entry.zone == wanted


def _mark(text: str, _table: Table) -> Test:
    value, _slash, mask = text.partition("/")
    wanted = number("--mark", value, 0xFFFF_FFFF)
    bits = number("--mark", mask, 0xFFFF_FFFF) if mask else 0xFFFF_FFFF
    return lambda entry: entry.row.mark is not None and entry.row.mark & bits == wanted & bits
