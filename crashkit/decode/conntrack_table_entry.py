"""One ``struct nf_conn`` of the table, seen through what all entries have in common."""

from __future__ import annotations

from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, NamedTuple

from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_columns import Row
from crashkit.decode.conntrack_columns_ext import Extensions
from crashkit.decode.conntrack_fast import ORIGINAL, REPLY, Record
from crashkit.decode.conntrack_tuple import WITH_PORTS, ConntrackTuple, invert_tuple
from crashkit.decode.ip_headers import NFPROTO_IPV4, NFPROTO_IPV6
from crashkit.decode.transport_headers import GRE, ICMP, ICMPV6
from crashkit.errors import Reason, Unavailable

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table import Table

FAMILIES = {NFPROTO_IPV4: AF_INET, NFPROTO_IPV6: AF_INET6}
_BYTES = {NFPROTO_IPV4: 4, NFPROTO_IPV6: 16}


class TableEntry(NamedTuple):
    """One ``struct nf_conn``, as its memory is in the dump."""

    table: Table
    record: Record
    lists: tuple[str, ...]
    """``hash``, ``unconfirmed``, ``dying``: where it was found."""

    @property
    def row(self) -> Row:
        """Its members."""
        return self.record.row

    @property
    def address(self) -> int:
        """``struct nf_conn *``."""
        return self.record.address

    @property
    def confirmed(self) -> bool:
        """Whether IPS_CONFIRMED is set."""
        return bool(self.row.status >> conntrack_status.CONFIRMED_BIT & 1)

    @property
    def replied(self) -> bool:
        """Whether IPS_SEEN_REPLY is set."""
        return bool(self.row.status >> conntrack_status.SEEN_REPLY_BIT & 1)

    @property
    def assured(self) -> bool:
        """Whether IPS_ASSURED is set."""
        return bool(self.row.status >> conntrack_status.ASSURED_BIT & 1)

    @property
    def dying(self) -> bool:
        """Whether IPS_DYING is set."""
        return bool(self.row.status >> conntrack_status.DYING_BIT & 1)

    @property
    def status_names(self) -> tuple[str, ...]:
        """Names of the status bits set, without ``IPS_``."""
        return self.table.status_names(self.row.status)

    @property
    def netns(self) -> int | None:
        """Inode number of its namespace; None: not a registered one, or not known."""
        return self.table.inodes.get(self.row.net)

    @property
    def state_number(self) -> int | None:
        """Number of the protocol's state; None for protocols without."""
        place = self.table.plan.state_offsets.get(self.row.protocol)
        if place is None:
            return None
        return int.from_bytes(self.row.protocol_data[place[0] : place[0] + place[1]], "little")

    @property
    def state(self) -> str | None:
        """Name of the state of TCP, SCTP or DCCP; None for other protocols."""
        number = self.state_number
        if number is None:
            return None
        return self.table.states_of[self.row.protocol].get(number, f"state {number}")

    @property
    def remaining(self) -> float | None:
        """Seconds until it expires, negative when it has; None: not confirmed, or no clock."""
        clock = self.table.clock
        if isinstance(clock, Unavailable) or not self.confirmed:
            return None
        bits = self.table.plan.timeout_bits
        ticks = (self.row.timeout - clock.now) & ((1 << bits) - 1)
        return (ticks - (1 << bits) if ticks >> (bits - 1) else ticks) / clock.hz

    @property
    def lifetime(self) -> float | None:
        """Seconds an unconfirmed entry is to live once it is confirmed; else None.

        ``timeout`` is relative until __nf_conntrack_confirm() adds the time to it.
        """
        clock = self.table.clock
        if isinstance(clock, Unavailable) or self.confirmed:
            return None
        return self.row.timeout / clock.hz

    @property
    def expired(self) -> bool | None:
        """Whether its time is over and nobody has removed it yet; None: not known."""
        remaining = self.remaining
        return None if remaining is None else remaining <= 0

    @property
    def original(self) -> ConntrackTuple:
        """The tuple of the direction that began.

        :raises Unavailable: it is neither IPv4 nor IPv6
        """
        r = self.row
        return _tuple(
            r.l3num, r.protocol, r.source, r.source_part, r.destination, r.destination_part, 0
        )

    @property
    def reply(self) -> ConntrackTuple:
        """The tuple of the answers.

        :raises Unavailable: it is neither IPv4 nor IPv6
        """
        r = self.row
        return _tuple(
            r.reply_l3num,
            r.reply_protocol,
            r.reply_source,
            r.reply_source_part,
            r.reply_destination,
            r.reply_destination_part,
            1,
        )

    @property
    def translated(self) -> bool | None:
        """Whether addresses or ports are translated: the reply is not the inverse.

        None: what the inverse would be is not known (other ICMP types, damaged tuples).
        """
        try:
            return invert_tuple(self.original) != self.reply
        except Unavailable:
            return None

    @property
    def zone(self) -> int | None:
        """Its zone; 0 is the default, None: not compiled in, or not read.

        An extension up to v4.2 (NF_CT_EXT_ZONE), a member since.
        """
        if self.row.zone is not None:
            return self.row.zone
        reader = self.table.extensions
        if isinstance(reader, Unavailable) or "zone" not in reader.kinds.values():
            return None
        try:
            zone = self.extensions.get("zone", 0)
        except Unavailable:
            return None
        return zone if isinstance(zone, int) else None

    @property
    def extensions(self) -> Extensions:
        """What it has besides the struct itself, by name.

        :raises Unavailable: the extensions cannot be read
        """
        if not self.row.ext:
            return {}
        reader = self.table.extensions
        if isinstance(reader, Unavailable):
            raise reader
        return reader.read(self.row.ext)

    @property
    def departures(self) -> tuple[str, ...]:
        """What is unusual about it where it was found, one word each."""
        return tuple(departures(self))


def departures(entry: TableEntry) -> Iterator[str]:
    """Yield what is unusual about an entry where it was found, one word each."""
    row, inodes = entry.row, entry.table.inodes
    if (row.direction, row.reply_direction) != (0, 1):
        yield "wrong-directions"
    families = (row.l3num, row.protocol), (row.reply_l3num, row.reply_protocol)
    if row.l3num not in FAMILIES or families[0] != families[1]:
        yield "tuples-disagree"
    if inodes and row.net is not None and row.net not in inodes:
        yield "unknown-namespace"
    if row.use <= 0:
        yield "freed"
    if "hash" in entry.lists:
        yield from _departures_in_hash(entry)


def _departures_in_hash(entry: TableEntry) -> Iterator[str]:
    if not entry.confirmed:
        yield "unconfirmed-in-hash"
    if entry.dying:
        yield "dying-in-hash"
    if entry.record.linked == ORIGINAL:
        yield "original-direction-only"
    # An entry that lost a clash is kept for its answers only (v5.7).
    if entry.record.linked == REPLY and "NAT_CLASH" not in entry.status_names:
        yield "reply-direction-only"
    if entry.expired:
        yield "expired"


def _tuple(
    l3num: int,
    protocol: int,
    source: bytes,
    source_part: bytes,
    destination: bytes,
    destination_part: bytes,
    direction: int,
) -> ConntrackTuple:
    family = FAMILIES.get(l3num)
    if family is None:
        raise Unavailable("conntrack tuple", Reason.CORRUPTED, f"l3num is {l3num}")
    here, there = int.from_bytes(source_part, "big"), int.from_bytes(destination_part, "big")
    part: dict[str, int] = {}
    if protocol in WITH_PORTS:
        part = {"source_port": here, "destination_port": there}
    elif protocol in (ICMP, ICMPV6):
        part = {"icmp_id": here, "icmp_type": there >> 8, "icmp_code": there & 0xFF}
    elif protocol == GRE:
        part = {"source_key": here, "destination_key": there}
    size = _BYTES[l3num]
    return ConntrackTuple(
        l3num=l3num,
        source=inet_ntop(family, source[:size]),
        destination=inet_ntop(family, destination[:size]),
        protocol=protocol,
        direction=direction,
        **part,
    )
