"""Which tuples have a confirmed connection: what nf_conntrack_find_get() would find."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from drgn import Object, Program, sizeof

from crashkit.decode.conncount_layout import packed, tuple_bytes
from crashkit.decode.conncount_memory import Pages
from crashkit.decode.conntrack_hash import TableScan, hash_table, scan_table
from crashkit.decode.conntrack_status import CONFIRMED_BIT
from crashkit.decode.fields import has_member, naming
from crashkit.decode.jiffies import jiffies, remaining_ticks
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.value import facts

_NODE = struct.Struct("<Q")
_U32 = 0xFFFF_FFFF

Zone = tuple[int, int]
"""Zone id as it counts for one direction, and that direction (0 original, 1 reply)."""


@facts
class LiveTuples:
    """The tuples in a namespace's connection table, each direction for itself."""

    by_zone: Mapping[Zone, frozenset[bytes]]
    """What nf_ct_tuple_equal() compares, as bytes."""
    connections: int
    """Confirmed entries of the namespace that have not expired."""

    def of_zone(self, zone: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """Give the tuples an entry of connlimit is looked for in: either direction's.

        :param zone: bytes of the entry's ``struct nf_conntrack_zone``: u16 id, u8 flags, u8 dir
        """
        number, mask = int.from_bytes(zone[:2], "little"), zone[3]
        found = (self.by_zone.get((_id(number, mask, way), way)) for way in (0, 1))
        first, second = (tuples or frozenset() for tuples in found)
        return first, second


def _id(number: int, mask: int, direction: int) -> int:
    # nf_ct_zone_id(): a zone may count for one direction only.
    return number if mask >> direction & 1 else 0


def live_tuples(prog: Program, net: int) -> LiveTuples:
    """Collect the tuples of a namespace's confirmed connections; done once per namespace.

    :param net: ``struct net *``
    :raises Unavailable: any part of the table cannot be read; what it held is then not known
    """
    key = ("crashkit.conncount.live", net)
    cached = prog.cache.get(key)
    if cached is None:
        with naming("the connection table"):
            cached = prog.cache[key] = _collect(prog, net)
    found: LiveTuples = cached
    return found


def _collect(prog: Program, net: int) -> LiveTuples:
    scan = _whole_scan(prog, net)
    reader = _Reader(prog)
    by_zone: dict[Zone, set[bytes]] = {}
    connections = 0
    for node in scan.buckets:
        read = reader.read(node)
        if read is None or read[0] != net:
            continue
        _net, zone, tuple_ = read
        by_zone.setdefault(zone, set()).add(tuple_)
        connections += zone[1] == 0
    frozen = {zone: frozenset(tuples) for zone, tuples in by_zone.items()}
    return LiveTuples(by_zone=frozen, connections=connections)


def _whole_scan(prog: Program, net: int) -> TableScan:
    scan = scan_table(prog, hash_table(prog, Object(prog, "struct net *", net)))
    if scan.broken:
        first = scan.broken[0]
        what = "the connection table"
        raise Unavailable(what, first.reason, f"cannot be read whole: {first.detail}")
    return scan


class _Reader:
    # Reads nf_conn by the addresses of their hash nodes; offsets come from the types.
    def __init__(self, prog: Program) -> None:
        ct, hashed = prog.type("struct nf_conn"), prog.type("struct nf_conntrack_tuple_hash")
        if not has_member(Object(prog, "struct nf_conn *", 0), "zone"):
            raise Unavailable("zones", Reason.UNSUPPORTED, "kept in an extension on this kernel")
        self._pages = Pages(prog)
        self._now = jiffies(prog)
        self._hashes = offset_of(ct, "tuplehash") + offset_of(hashed, "hnnode")
        self._stride = sizeof(hashed)
        start = offset_of(hashed, "tuple") - offset_of(hashed, "hnnode")
        size = tuple_bytes(prog)
        self._tuple = packed(((start, f"{size}s"), (start + size, "B")))
        self._entry, order = _entry_layout(prog)
        self._at = [order.index(name) for name in ("net", "status", "timeout", "id", "dir")]

    def read(self, node: int) -> tuple[int, Zone, bytes] | None:
        # Namespace, zone and tuple; None: not confirmed, expired, or of no direction.
        what = "the connection table"
        tuple_, direction = self._pages.unpack(self._tuple, node, what)
        if direction not in (0, 1):
            return None
        ct = node - self._hashes - direction * self._stride
        values = self._pages.unpack(self._entry, ct, what)
        net, status, timeout, number, mask = [values[place] for place in self._at]
        if not status >> CONFIRMED_BIT & 1:
            return None
        if remaining_ticks(timeout, self._now & _U32, 32) <= 0:
            return None
        return net, (_id(number, mask, direction), direction), tuple_


def _entry_layout(prog: Program) -> tuple[struct.Struct, tuple[str, ...]]:
    ct = prog.type("struct nf_conn")
    if sizeof(ct.member("timeout").type) != 4:
        raise Unavailable("timeout", Reason.UNSUPPORTED, "a timer on this kernel")
    places = {
        "timeout": (offset_of(ct, "timeout"), "I"),
        "id": (offset_of(ct, "zone.id"), "H"),
        "dir": (offset_of(ct, "zone.dir"), "B"),
        "status": (offset_of(ct, "status"), "Q"),
        "net": (offset_of(ct, "ct_net"), "Q"),
    }
    order = tuple(sorted(places, key=lambda name: places[name]))
    return packed(tuple(places.values())), order
