"""Observations of conntrack entries that recipes share: each reads, decides and shows.

Every function raises :class:`~crashkit.errors.Unavailable` when a value it rests on
cannot be had.
"""

from __future__ import annotations

from dataclasses import replace

from drgn import Object

from crashkit.decode.conntrack import Conntrack, decode_nf_conn
from crashkit.decode.conntrack_hash import find_in_hash
from crashkit.decode.conntrack_stat import decode_conntrack_stat
from crashkit.decode.conntrack_tuple import ConntrackTuple, invert_tuple, tuple_matches_packet
from crashkit.decode.fields import has_member
from crashkit.decode.netns import decode_net
from crashkit.decode.skb_packet import Packet
from crashkit.decode.slab import conntrack_cache, slab_identity
from crashkit.decode.values import expression, member_value, packet_text
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Observation, seen
from crashkit.symbols import find_symbol
from crashkit.value import Origin, Reread, Value


def is_conntrack_object(ct: Object, name: str) -> Observation:
    """Whether ``ct`` is the start of a slab object of the conntrack cache.

    :param ct: ``struct nf_conn *``
    :param name: what the report calls it
    """
    prog, address = ct.prog_, int(ct)
    found = slab_identity(prog, address)
    net = ct.ct_net.net if has_member(ct.ct_net, "net") else None
    shown = Value(
        name=name,
        value=address,
        origin=Origin.MEMORY,
        ctype="struct nf_conn *",
        identity=f"slab object {found.cache_name}",
        reread=Reread(
            crash=f"kmem {address:016x}", crashkit=f"slab_identity(prog, {address:#x}).object_start"
        ),
    )
    cache = Value(
        name="its kmem_cache",
        value=found.cache,
        origin=Origin.MEMORY,
        reread=Reread(
            crash="p nf_conntrack_cachep", crashkit=f"slab_identity(prog, {address:#x}).cache"
        ),
    )
    holds = found.is_start and found.belongs_to(conntrack_cache(prog, net))
    return seen(holds, shown, cache, note=f"{address:016x}")


def is_confirmed(ct: Object) -> Observation:
    """Whether IPS_CONFIRMED is set and IPS_DYING is not. ``ct``: ``struct nf_conn *``."""
    facts = decode_nf_conn(ct)
    status = _read(facts, "status", facts.status)
    names = ", ".join(facts.status_names or ())
    holds = facts.confirmed is True and facts.dying is False
    return seen(
        holds, member_value("status", ct, "status", status), note=f"status {status:#x} ({names})"
    )


def is_hashed(ct: Object) -> Observation:
    """Whether both directions can be reached in the hash. ``ct``: ``struct nf_conn *``."""
    places = find_in_hash(ct.prog_, ct)
    values = []
    for number, (direction, answer) in enumerate(places.items()):
        if isinstance(answer, Unavailable):
            raise answer
        name = f"tuplehash[{number}] in the hash"
        values.append(
            _reread(
                member_value(name, ct, "tuplehash", "yes" if answer else "no"),
                f"find_in_hash(prog, {expression(ct)})[{direction!r}]",
            )
        )
    return seen(all(answer is True for answer in places.values()), *values)


def is_used(ct: Object, least: int) -> Observation:
    """Whether at least ``least`` references are held. ``ct``: ``struct nf_conn *``."""
    facts = decode_nf_conn(ct)
    use = _read(facts, "use", facts.use)
    return seen(use >= least, _use_value(ct, use), note=f"use {use}")


def is_template(*named: tuple[str, Object]) -> Observation:
    """Whether one of the (name, ``struct nf_conn *``) pairs is a template."""
    values, templates = [], []
    for name, ct in named:
        facts = decode_nf_conn(ct)
        status = _read(facts, "status", facts.status)
        values.append(member_value(f"{name} status", ct, "status", status))
        templates.append(facts.template is True)
    return seen(any(templates), *values)


def describes_packet(ct: Object, packet: Packet) -> Observation:
    """Whether the entry's tuple is the packet's, as it stands or translated.

    A packet that was translated on its way carries what the reply tuple answers to.

    :param ct: ``struct nf_conn *``
    """
    facts = decode_nf_conn(ct)
    if facts.original is None or facts.reply is None:
        raise facts.absent["reply" if facts.original else "original"]
    matches = tuple_matches_packet(facts.original, packet)
    if matches is False:
        matches = tuple_matches_packet(invert_tuple(facts.reply), packet)
    if matches is None:
        raise Unavailable("ports of the packet", Reason.NOT_IN_DUMP, "only its addresses compare")
    carried = Value(
        name="packet",
        value=packet_text(packet),
        origin=Origin.MEMORY,
        address=packet.network_header,
    )
    return seen(matches, _tuple_value(ct, facts.original), carried, note=facts.original.text)


def is_free_or_another_flow(ct: Object, packet: Packet) -> Observation:
    """Whether the object is free, or an entry of another flow than the packet's, by now.

    :param ct: ``struct nf_conn *``
    """
    facts = decode_nf_conn(ct)
    use = _read(facts, "use", facts.use)
    if facts.original is None:
        raise facts.absent["original"]
    other = tuple_matches_packet(facts.original, packet) is False
    tuple_ = _tuple_value(ct, facts.original)
    note = "free" if use == 0 else ""
    return seen(use == 0 or other, _use_value(ct, use), tuple_, note=note)


def net_is_live(ct: Object) -> Observation:
    """Whether ``ct->ct_net`` is a registered namespace now. ``ct``: ``struct nf_conn *``."""
    facts = decode_nf_conn(ct)
    address = _read(facts, "net", facts.net)
    if not address:
        return seen(False, net_value(ct, address))
    first = find_symbol(ct.prog_, "init_net")
    if first is not None and first.address == address:
        return seen(True, net_value(ct, address), note="the first, which is never freed")
    net = decode_net(_net(ct, address))
    if net.listed is None:
        raise net.absent["listed"]
    return seen(net.listed, net_value(ct, address))


def net_is_no_bit_flip(ct: Object) -> Observation:
    """Whether more than one bit parts ``ct->ct_net`` now from 0. ``ct``: ``struct nf_conn *``."""
    facts = decode_nf_conn(ct)
    address = _read(facts, "net", facts.net)
    bits = address.bit_count()
    return seen(bits > 1, net_value(ct, address), note=f"{address:016x} has {bits} bits set")


def net_is_dying(ct: Object) -> Observation:
    """Whether the entry's namespace has no reference left. ``ct``: ``struct nf_conn *``."""
    net = decode_net(net_of(ct))
    if net.count is None:
        raise net.absent["count"]
    value = Value(
        name="references of the namespace",
        value=net.count,
        origin=Origin.MEMORY,
        address=net.address,
        reread=Reread(
            crash=f"struct net.ns {net.address:016x}",
            crashkit=f"decode_net({expression(_net(ct, net.address))}).count",
        ),
    )
    return seen(net.count <= 0, value, note="init_net" if net.is_init_net else f"net:[{net.inode}]")


def clashes_were_resolved(ct: Object) -> Observation:
    """Whether the namespace's statistics count resolved clashes. ``ct``: ``struct nf_conn *``."""
    found = decode_conntrack_stat(net_of(ct)).counters
    # Since Linux kernel commit bc92470413f3 ("netfilter: conntrack: add clash resolution
    # stat counter") (in v5.10); before, insert_failed counts every clash and drop those
    # that were not resolved.
    if "clash_resolve" in found:
        name, count = "clash_resolve", found["clash_resolve"]
    else:
        name, count = "insert_failed - drop", max(found["insert_failed"] - found["drop"], 0)
    net = net_of(ct)
    again = f"decode_conntrack_stat({expression(net)}).counters"
    reread = Reread(
        crash=f"struct ip_conntrack_stat {int(net.ct.stat):016x}:a",
        crashkit=f"{again}['clash_resolve']" if name == "clash_resolve" else None,
    )
    value = Value(name=name, value=count, origin=Origin.MEMORY, reread=reread)
    return seen(count > 0, value, note="as conntrack -S")


def net_of(ct: Object) -> Object:
    """Return the entry's namespace, ``struct net *``. ``ct``: ``struct nf_conn *``.

    :raises Unavailable: it cannot be read, or is NULL
    """
    facts = decode_nf_conn(ct)
    address = _read(facts, "net", facts.net)
    if not address:
        raise Unavailable("namespace of the conntrack", Reason.CORRUPTED, "ct_net is NULL")
    return _net(ct, address)


def net_value(ct: Object, address: int) -> Value:
    """Make a Value of what ``ct->ct_net`` holds in the dump. ``ct``: ``struct nf_conn *``."""
    shown = member_value("ct->ct_net now", ct, "ct_net", address)
    return _reread(shown, f"decode_nf_conn({expression(ct)}).net")


def _use_value(ct: Object, use: int) -> Value:
    shown = member_value("use", ct, "ct_general", use)
    return _reread(shown, f"decode_nf_conn({expression(ct)}).use")


def _tuple_value(ct: Object, tuple_: ConntrackTuple) -> Value:
    shown = member_value("tuple", ct, "tuplehash", tuple_.text)
    return _reread(shown, f"decode_nf_conn({expression(ct)}).original.text")


def _reread(value: Value, again: str) -> Value:
    # The crash command shows the member as it is; the expression decodes it.
    assert value.reread is not None
    return replace(value, reread=replace(value.reread, crashkit=again))


def _net(ct: Object, address: int) -> Object:
    return Object(ct.prog_, "struct net *", address)


def _read(facts: Conntrack, name: str, value: int | None) -> int:
    if value is None:
        raise facts.absent[name]
    return value
