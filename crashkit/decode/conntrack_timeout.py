"""How long an entry may stay without a packet: the timeouts of a namespace.

They are in ``net->ct.nf_ct_proto``, in ticks, since Linux kernel commit 15f585bd76b2 and
its siblings (in v3.6), one number for each state of a protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.decode.fields import has_member, member, naming
from crashkit.decode.transport_headers import DCCP, GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDPLITE
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table_entry import TableEntry

_TCP_DEFAULTS = {
    "SYN_SENT": 120, "SYN_RECV": 60, "ESTABLISHED": 432_000, "FIN_WAIT": 120,
    "CLOSE_WAIT": 60, "LAST_ACK": 30, "TIME_WAIT": 120, "CLOSE": 10, "SYN_SENT2": 120,
}  # fmt: skip
# net/netfilter/nf_conntrack_proto_tcp.c: tcp_timeouts[], seconds


@facts
class StateTimeout:
    """The timeout that a namespace gives to one state of one protocol."""

    sysctl: str
    """Name of its sysctl, below net.netfilter."""
    seconds: float
    """What is set in the dump."""
    defaults: tuple[int, ...]
    """What kernels set by themselves, the newest first; empty: not known here."""

    @property
    def is_default(self) -> bool | None:
        """Whether it is one of the defaults; None: they are not known here."""
        return self.seconds in self.defaults if self.defaults else None


def state_timeout(entry: TableEntry) -> StateTimeout:
    """Read the timeout that applies to an entry as it is now.

    A policy of the entry's own (extension ``timeout``) or its helper may have set another.

    :raises Unavailable: the namespace, its table or HZ cannot be had
    """
    clock = entry.table.clock
    if isinstance(clock, Unavailable):
        raise clock
    if entry.row.net not in entry.table.inodes:
        raise Unavailable("conntrack timeouts", Reason.CORRUPTED, "its namespace is not registered")
    net = Object(entry.table.prog, "struct net *", entry.row.net)
    with naming("net->ct.nf_ct_proto"):
        name, defaults, ticks = _READERS.get(entry.row.protocol, _generic)(
            entry, member(net.ct, "nf_ct_proto")
        )
        return StateTimeout(
            sysctl=f"nf_conntrack_{name}", seconds=int(ticks) / clock.hz, defaults=defaults
        )


_Answer = tuple[str, tuple[int, ...], Object]


def _tcp(entry: TableEntry, timeouts: Object) -> _Answer:
    number, state = _state(entry)
    default = _TCP_DEFAULTS.get(state)
    defaults = () if default is None else (default,)
    return f"tcp_timeout_{state.lower()}", defaults, timeouts.tcp.timeouts[number]


def _by_state(part: str, array: str) -> Callable[[TableEntry, Object], _Answer]:
    def read(entry: TableEntry, timeouts: Object) -> _Answer:
        number, state = _state(entry)
        values = member(member(timeouts, part), array)
        return f"{part}_timeout_{state.lower()}", (), values[number]

    return read


def _two_way(
    part: str, once: int, stream: tuple[int, ...]
) -> Callable[[TableEntry, Object], _Answer]:
    def read(entry: TableEntry, timeouts: Object) -> _Answer:
        # The longer one is for streams; what makes one changed over time, but every
        # kernel marks a stream ASSURED.
        values = member(member(timeouts, part), "timeouts")
        if entry.assured or (part == "gre" and entry.replied):
            return f"{part}_timeout_stream", stream, values[1]
        return f"{part}_timeout", (once,), values[0]

    return read


def _one(part: str, default: int) -> Callable[[TableEntry, Object], _Answer]:
    def read(_entry: TableEntry, timeouts: Object) -> _Answer:
        return f"{part}_timeout", (default,), member(timeouts, part).timeout

    return read


def _state(entry: TableEntry) -> tuple[int, str]:
    number, state = entry.state_number, entry.state
    if number is None or state is None or number >= 16:
        raise Unavailable("conntrack timeout", Reason.CORRUPTED, f"state {number}")
    return number, state


_generic = _one("generic", 600)

_READERS: dict[int, Callable[[TableEntry, Object], _Answer]] = {
    TCP: _tcp,
    UDP: _two_way("udp", 30, (120, 180)),
    UDPLITE: _two_way("udp", 30, (120, 180)),
    GRE: _two_way("gre", 30, (180,)),
    ICMP: _one("icmp", 30),
    ICMPV6: _one("icmpv6", 30),
    SCTP: _by_state("sctp", "timeouts"),
    DCCP: _by_state("dccp", "dccp_timeout"),
}


def has_stream_delay(entry: TableEntry) -> bool:
    """Whether this kernel waits two seconds before it takes a UDP flow for a stream.

    Since Linux kernel commit d535c8a69c19 ("netfilter: conntrack: udp: only extend timeout
    to stream mode after 2s") (in v5.0), the time is kept in ``proto.udp.stream_ts``.
    """
    with naming("union nf_conntrack_proto"):
        ct = Object(entry.table.prog, "struct nf_conn *", entry.address)
        return has_member(ct.proto, "udp") and has_member(ct.proto.udp, "stream_ts")
