"""Entries of the connection table as lines of JSON, many and fast.

A table holds a million entries of a few dozen shapes: same protocol, status bits, state.
The first entry of a shape is built with :func:`build_entry`; its line, with holes for
what differs from entry to entry, serves all others. So there is one place that says what
an entry looks like. Entries that are unusual in any way are built one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import partial
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import TYPE_CHECKING

from crashkit.decode.conntrack_fast import BOTH
from crashkit.decode.conntrack_tuple import WITH_PORTS
from crashkit.decode.transport_headers import ICMP, ICMPV6
from crashkit.errors import Unavailable
from crashkit.report.conntrack_entry import build_entry
from crashkit.report.parts import Json

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table import Table
    from crashkit.decode.conntrack_table_entry import TableEntry

_IPV4, _IPV6 = 2, 10
_ICMP = (ICMP, ICMPV6)
_CONFIRMED, _DYING = 1 << 3, 1 << 9
_TIMEOUT_BITS, _U32 = 32, 0xFFFF_FFFF
_big = int.from_bytes
_ntop6 = partial(inet_ntop, AF_INET6)
_MAX_SHAPES = 4096
_dumps = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

_HOLES = {"address": '"0x%x"', "use": "%d", "timeout": "%d", "remaining_s": "%.3f", "mark": "%d",
          "secmark": "%d", "master": '"0x%x"', "extensions": "%s"}  # fmt: skip
_TUPLE_HOLES = {"src": '"%s"', "dst": '"%s"', "sport": "%d", "dport": "%d", "id": "%d%.0s"}
# In the order of build_entry(), for the values of LineWriter; an ICMP id stands where two ports do


def entry_line(entry: TableEntry) -> str:
    """Write one entry as a line of JSON, whatever it is."""
    return _dumps(build_entry(entry)) + "\n"


class LineWriter:
    """Writes entries of one table as lines, fast where they are of a known shape.

    :ivar departures: what was unusual about the others, and how often
    """

    def __init__(self, table: Table) -> None:
        self.departures: Counter[str] = Counter()
        self._shapes: dict[tuple[object, ...], str] = {}
        self._inodes = table.inodes
        self._places = table.plan.state_offsets
        self._now, self._hz, self._past = 0, 1, 0  # without a clock, no entry is regular
        if not isinstance(table.clock, Unavailable) and table.plan.timeout_bits == _TIMEOUT_BITS:
            self._now, self._hz, self._past = table.clock.now, table.clock.hz, 1 << 31

    def line(self, entry: TableEntry) -> str:
        """Write one entry as a line of JSON."""
        address, linked, row = entry.record
        (use, status, timeout, net, master, zone, mark, secmark, ext, cpu,
         l3num, protocol, source, source_part, destination, destination_part, direction,
         reply_l3num, reply_protocol, reply_source, reply_source_part, reply_destination,
         reply_destination_part, reply_direction, data) = row  # fmt: skip
        ticks = (timeout - self._now) & _U32
        # Whether what the shape and the values say is all there is to say.
        if not (
            0 < ticks < self._past and use > 0 and status & (_CONFIRMED | _DYING) == _CONFIRMED
            and linked == BOTH and direction == 0 and reply_direction == 1
            and l3num == reply_l3num and protocol == reply_protocol
            and net in self._inodes and zone is not None and cpu is None
        ):  # fmt: skip
            return self._one(entry)
        if l3num == _IPV4:
            source, destination = source[:4], destination[:4]
            reply_source, reply_destination = reply_source[:4], reply_destination[:4]
            text = inet_ntoa
        elif l3num == _IPV6:
            text = _ntop6
        else:
            return self._one(entry)
        same = source == reply_destination and destination == reply_source
        kind: object = None
        if protocol in _ICMP:
            kind = (
                same and source_part == reply_source_part,
                destination_part,
                reply_destination_part,
            )
        elif protocol in WITH_PORTS:
            kind = (
                same
                and source_part == reply_destination_part
                and destination_part == reply_source_part
            )
        extensions = self._extensions(entry) if ext else "{}"
        if kind is None or extensions is None:
            return self._one(entry)
        place = self._places.get(protocol)
        state = None if place is None else data[place[0] : place[0] + place[1]]
        shape = l3num, protocol, status, state, net, zone, kind, entry.lists
        template = self._shapes.get(shape) or self._new_shape(shape, entry)
        return template % (
            address,
            text(source), text(destination),
            _big(source_part, "big"), _big(destination_part, "big"),
            text(reply_source), text(reply_destination),
            _big(reply_source_part, "big"), _big(reply_destination_part, "big"),
            use, timeout, ticks / self._hz, mark, secmark, master, extensions,
        )  # fmt: skip

    def _one(self, entry: TableEntry) -> str:
        self.departures.update(entry.departures)
        return entry_line(entry)

    def _extensions(self, entry: TableEntry) -> str | None:
        try:
            return _dumps(entry.extensions)
        except Unavailable:
            return None

    def _new_shape(self, shape: tuple[object, ...], entry: TableEntry) -> str:
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes[shape] = _template(build_entry(entry))
        return self._shapes[shape]


def _template(built: Json) -> str:
    # The line of an entry with holes for what its shape does not tell. A null takes the
    # place of a value that this kernel has for no entry; its hole prints nothing.
    def cut(part: Json, holes: Mapping[str, str], way: str) -> Json:
        return {key: f"<{way}{key}>" if key in holes else value for key, value in part.items()}

    ways = {way: cut(built[way], _TUPLE_HOLES, way) for way in ("original", "reply")}
    text = _dumps({**cut(built, _HOLES, ""), **ways}).replace("%", "%%")
    for way in ways:
        for key, hole in _TUPLE_HOLES.items():
            text = text.replace(f'"<{way}{key}>"', hole)
    for key, hole in _HOLES.items():
        text = text.replace(f'"<{key}>"', "null%.0s" if built[key] is None else hole)
    return text + "\n"
