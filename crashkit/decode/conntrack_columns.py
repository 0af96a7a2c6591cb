"""``struct nf_conn`` as one row of numbers: where its members lie, worked out once.

A table can have a million entries, and a drgn object for each member of each would take
minutes. The types are asked once, and the bytes of an entry are then taken apart by one
``struct.Struct``. A member that this kernel does not have is None in every row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

from drgn import Object, Program, Type, TypeKind, sizeof

from crashkit.decode.fields import has_member, naming, resolve
from crashkit.errors import Reason, Unavailable

MAX_SIZE = 4096
"""A ``struct nf_conn`` larger than this is none."""


class Row(NamedTuple):
    """The members of one ``struct nf_conn``, as they stand in memory.

    Addresses, ports and ids are bytes in network order; pointers are addresses.
    """

    use: int
    """``ct_general.use``, signed."""
    status: int
    timeout: int
    """Ticks; see :class:`RowPlan` for its width."""
    net: int
    """``ct_net``, ``struct net *``; None without network namespaces."""
    master: int
    zone: int | None
    """``zone.id``; None where zones are an extension or not compiled in."""
    mark: int | None
    secmark: int | None
    ext: int | None
    """``struct nf_ct_ext *``."""
    cpu: int | None
    l3num: int
    protocol: int
    source: bytes
    source_part: bytes
    """Port, ICMP id or GRE key: two bytes."""
    destination: bytes
    destination_part: bytes
    """Port, ICMP type and code, or GRE key: two bytes."""
    direction: int
    reply_l3num: int
    reply_protocol: int
    reply_source: bytes
    reply_source_part: bytes
    reply_destination: bytes
    reply_destination_part: bytes
    reply_direction: int
    protocol_data: bytes
    """The beginning of ``proto``, a union of what each protocol keeps."""


class RowPlan(NamedTuple):
    """How to take the bytes of a ``struct nf_conn`` apart."""

    size: int
    """Bytes of the struct."""
    nodes: tuple[int, int]
    """Offset of ``tuplehash[0].hnnode`` and ``tuplehash[1].hnnode``."""
    direction: int
    """Bytes from an ``hnnode`` to its ``tuple.dst.dir``."""
    timeout_bits: int
    """64 for a ``struct timer_list``, 32 since Linux kernel commit f330a7fdbe16
    ("netfilter: conntrack: get rid of conntrack timer") (in v4.9)."""
    state_offsets: dict[int, tuple[int, int]]
    """IP protocol to offset and size of its state within ``protocol_data``."""
    unpack: Callable[[bytes, int], Row]
    """Make a row of a buffer and the offset of the struct in it."""


_STATES = {6: "tcp", 33: "dccp", 132: "sctp"}
# IP protocol to the member of union nf_conntrack_proto that has a ``state``

_TUPLE = ("src.l3num", "dst.protonum", "src.u3", "src.u", "dst.u3", "dst.u", "dst.dir")


def row_plan(prog: Program) -> RowPlan:
    """Work out where the members are; done once per program.

    :raises Unavailable: the type or one of its necessary members is not described
    """
    cached: RowPlan | None = prog.cache.get("crashkit.conntrack_plan")
    if cached is None:
        with naming("struct nf_conn"):
            cached = prog.cache["crashkit.conntrack_plan"] = _plan(prog)
    return cached


def _plan(prog: Program) -> RowPlan:
    type_ = prog.type("struct nf_conn")
    if not type_.is_complete() or not 0 < sizeof(type_) <= MAX_SIZE:
        raise Unavailable("struct nf_conn", Reason.NO_DEBUGINFO, "its members are not known")
    ct = Object(prog, type_, address=0)
    proto, states = _protocol_data(ct)
    timeout = ct.timeout.expires if has_member(ct.timeout, "expires") else ct.timeout
    members: list[Object | None] = [_number(ct.ct_general.use), ct.status, timeout]
    members += [_net(ct), ct.master, ct.zone.id if has_member(ct, "zone") else None]
    members += [_optional(ct, name) for name in ("mark", "secmark", "ext", "cpu")]
    for direction in (0, 1):
        members += [_member(ct.tuplehash[direction].tuple, path) for path in _TUPLE]
    hashed = ct.tuplehash[0]
    return RowPlan(
        size=sizeof(type_),
        nodes=(_at(ct.tuplehash[0].hnnode), _at(ct.tuplehash[1].hnnode)),
        direction=_at(hashed.tuple.dst.dir) - _at(hashed.hnnode),
        timeout_bits=8 * sizeof(timeout),
        state_offsets=states,
        unpack=_unpacker([*members, proto], sizeof(type_)),
    )


def _protocol_data(ct: Object) -> tuple[Object | None, dict[int, tuple[int, int]]]:
    if not has_member(ct, "proto"):
        return None, {}
    states: dict[int, tuple[int, int]] = {}
    for protocol, name in _STATES.items():
        part = _optional(ct.proto, name)
        if part is not None and has_member(part, "state"):
            states[protocol] = (_at(part.state) - _at(ct.proto), sizeof(part.state))
    return ct.proto, states


def _number(obj: Object) -> Object:
    # atomic_t, or refcount_t since Linux kernel commit 719774377622 ("netfilter: conntrack:
    # convert to refcount_t api") (in v5.17)
    for wrapper in ("refs", "counter"):
        if has_member(obj, wrapper):
            obj = obj.member_(wrapper)
    return obj


def _net(ct: Object) -> Object | None:
    if has_member(ct.ct_net, "net"):
        return ct.ct_net.net
    return None if sizeof(ct.ct_net) == 0 else ct.ct_net


def _optional(obj: Object, name: str) -> Object | None:
    return obj.member_(name) if has_member(obj, name) else None


def _member(obj: Object, path: str) -> Object:
    for name in path.split("."):
        obj = obj.member_(name)
    return obj


def _at(obj: Object) -> int:
    assert obj.address_ is not None
    return int(obj.address_)


_CODES = {(1, False): "B", (2, False): "H", (4, False): "I", (8, False): "Q",
          (1, True): "b", (2, True): "h", (4, True): "i", (8, True): "q"}  # fmt: skip


def _code(obj: Object) -> str:
    type_: Type = resolve(obj.type_)
    if type_.kind is TypeKind.INT:
        return _CODES[sizeof(type_), type_.is_signed]
    if type_.kind is TypeKind.POINTER:
        return _CODES[sizeof(type_), False]
    return f"{sizeof(type_)}s"


def _unpacker(members: list[Object | None], size: int) -> Callable[[bytes, int], Row]:
    # Members in the order of their offsets, then put into the order of the row.
    there = sorted((m for m in members if m is not None), key=_at)
    text, end = "<", 0
    for member in there:
        if _at(member) < end:
            raise Unavailable("struct nf_conn", Reason.CORRUPTED, "its members overlap")
        text += f"{_at(member) - end}x{_code(member)}"
        end = _at(member) + sizeof(member)
    plan = struct.Struct(text + f"{size - end}x")
    places = {_at(member): place for place, member in enumerate(there)}
    order = itemgetter(*(-1 if m is None else places[_at(m)] for m in members))
    unpack_from, nothing, make = plan.unpack_from, (None,), Row._make

    def unpack(buffer: bytes, offset: int) -> Row:
        return make(order(unpack_from(buffer, offset) + nothing))

    return unpack
