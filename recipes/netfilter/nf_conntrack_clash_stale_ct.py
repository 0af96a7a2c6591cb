"""Conntrack events delivered for an entry that lost an insertion clash.

``nf_conntrack_confirm()`` keeps ``ct`` while ``__nf_conntrack_confirm()`` may lose the race
to insert it, drop it and point the skb at the winner. Events are then delivered for the
stale ``ct``; another CPU may have taken the object and not yet written its ``ct_net``.

Recognised by: ``ct->ct_net`` NULL in the faulting instruction, ``ct`` a conntrack object,
and the skb of the same path bound to another entry, confirmed, hashed, of its own packet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from drgn import Object

from crashkit.arguments import Argument
from crashkit.crash import Crash
from crashkit.crash.binary import reloads_between
from crashkit.crash.others import held_on_another_stack, slab_was_reported, stack_is_in_tree
from crashkit.decode import (
    Packet,
    decode_packet,
    decode_skb,
    nf_ct,
    queue_instances,
    validate_skb,
)
from crashkit.decode import conntrack_observed as see
from crashkit.decode.fields import has_member
from crashkit.decode.values import expression, member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Fix, Observation, excluding, necessary, seen, supporting
from crashkit.layout import offset_of
from crashkit.recipe import Meta
from crashkit.symbols import find_symbol
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="nf-conntrack-clash-stale-ct",
    claim=(
        "events were delivered for a conntrack that the packet no longer has: ct->ct_net was"
        " NULL, and skb->_nfct is another, confirmed conntrack of this very packet"
    ),
    references=(
        "56b14ecec97f netfilter: conntrack: re-fetch conntrack after insertion",
        "71d8c47fc653 netfilter: conntrack: introduce clash resolution on insertion race",
    ),
    matches=("clash-ct-net",),
    told_apart_from=(
        "a conntrack that was never valid: skb->_nfct is then the faulting ct itself",
        "a namespace being dismantled: it has no reference left",
        "a TCP packet: TCP clashes are not resolved; a flipped bit: 0 differs in many",
    ),
    fix=Fix(
        upstream="56b14ecec97f",
        title="netfilter: conntrack: re-fetch conntrack after insertion",
        release="v5.19",
        stable=("5.18.2", "5.17.13", "5.15.45", "5.10.120", "5.4.197"),
        distributions=("el7: no fixed build known (3.10.0-1160 and 1160.66.1 are not fixed)",),
    ),
    advice="untested: keep the clashing flows out of NFQUEUE or conntrack (-j CT --notrack)",
)

_FAULTING = ("nf_ct_deliver_cached_events", "__nf_conntrack_eventmask_report")
_CONFIRM = ("nf_confirm", "ipv4_confirm", "ipv6_confirm", "nf_conntrack_confirm")
_INSERT = "__nf_conntrack_confirm"
_EVENT_CB = "ct.nf_conntrack_event_cb"
_TCP = 6
# Protocols whose clashes the kernel resolves (allow_clash in nf_conntrack_proto_*.c).
_RESOLVED = {17: "UDP", 136: "UDPLITE", 47: "GRE, since 6.12"}


def applies(crash: Crash) -> bool:
    """Whether event delivery faulted."""
    return crash.faulting_function in _FAULTING


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    winner = scene.winner
    yield necessary(
        "net-null",
        "ct->ct_net was NULL where its event callback was read",
        lambda: _net_was_null(scene),
    )
    yield necessary(
        "ct-object",
        "ct is the start of a conntrack slab object",
        lambda: see.is_conntrack_object(scene.stale(), "ct"),
    )
    yield necessary("skb-valid", "the skb of this path is an skb", lambda: _skb_is_valid(scene))
    yield necessary("ct-differs", "skb->_nfct is not the faulting ct", lambda: _ct_differs(scene))
    yield necessary(
        "winner-object",
        "skb->_nfct is the start of a conntrack slab object",
        lambda: see.is_conntrack_object(winner(), "skb->_nfct"),
    )
    yield necessary(
        "winner-confirmed",
        "that conntrack is confirmed, not dying",
        lambda: see.is_confirmed(winner()),
    )
    yield necessary(
        "winner-hashed", "it is in the hash in both directions", lambda: see.is_hashed(winner())
    )
    yield necessary(
        "winner-used", "hash and skb refer to it (use >= 2)", lambda: see.is_used(winner(), 2)
    )
    yield necessary(
        "winner-tuple",
        "its tuple is the packet's",
        lambda: see.describes_packet(winner(), scene.packet),
    )
    yield from _exclusions(scene)
    yield from _support(scene)


def _exclusions(scene: _Scene) -> Iterator[CheckSpec]:
    winner = scene.winner
    yield excluding("tcp", "a TCP packet, whose clashes are not resolved", lambda: _is_tcp(scene))
    yield excluding("net-dying", "a namespace being dismantled", lambda: see.net_is_dying(winner()))
    yield excluding(
        "template",
        "a template",
        lambda: see.is_template(("ct", scene.stale()), ("skb->_nfct", winner())),
    )
    yield excluding(
        "slab-damage", "the kernel reported a damaged slab", lambda: slab_was_reported(scene.crash)
    )


def _support(scene: _Scene) -> Iterator[CheckSpec]:
    crash = scene.crash
    yield supporting(
        "net-rewritten", "ct->ct_net is a live net now", lambda: see.net_is_live(scene.stale())
    )
    yield supporting(
        "ct-reused",
        "ct is free or another flow's now",
        lambda: see.is_free_or_another_flow(scene.stale(), scene.packet),
    )
    yield supporting(
        "clash-resolved", "the kernel resolves this protocol's clashes", lambda: _resolved(scene)
    )
    yield supporting("nfqueue", "NFQUEUE sits between lookup and confirm", lambda: _queued(scene))
    yield supporting(
        "clash-counted",
        "clashes were resolved before",
        lambda: see.clashes_were_resolved(scene.winner()),
    )
    yield supporting(
        "other-cpu",
        "another CPU's stack holds ct",
        lambda: held_on_another_stack(crash, int(scene.stale())),
    )
    yield supporting(
        "in-tree", "no out-of-tree module on this stack", lambda: stack_is_in_tree(crash)
    )
    yield supporting(
        "no-bit-flip",
        "no single bit turns the value now into 0",
        lambda: see.net_is_no_bit_flip(scene.stale()),
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def _stale(self) -> tuple[Object, Origin, Certainty]:
        # struct nf_conn *: what the faulting code worked on, and how surely.
        fault = self.crash.fault
        what = "the faulting conntrack"
        if fault is None:
            raise Unavailable(what, Reason.NOT_APPLICABLE, "nothing faulted")
        pointers = ("struct nf_conn *", "const struct nf_conn *")
        link = next((link for link in fault.chain if link.ctype in pointers), None)
        if link is None or not link.value or link.origin is None:
            reason = fault.absent.get("expression", Reason.AMBIGUOUS)
            raise Unavailable(what, reason, "the faulting expression does not give its value")
        certainty = link.certainty
        passed = self._passed("nf_ct_deliver_cached_events", "ct")
        if passed is not None and passed.value != link.value:
            both = f"{link.expression} is {link.value:016x}, ct was {passed.value:016x}"
            raise Unavailable(what, Reason.AMBIGUOUS, both)
        if passed is not None:
            certainty = passed.certainty
        return Object(self.crash.prog, "struct nf_conn *", link.value), link.origin, certainty

    def _passed(self, function: str, name: str) -> Argument | None:
        # A proved argument: one read again from memory may be what the clash put there.
        frame = self.crash.find_frame(function)
        found, _missing = self.crash.arguments(frame) if frame else ((), ())
        proved = (a for a in found if a.certainty is Certainty.PROVED and a.conflict is None)
        return next((argument for argument in proved if argument.name == name), None)

    def stale(self) -> Object:
        return self._stale[0]

    @cached_property
    def _skb(self) -> tuple[Object, str, Origin, Certainty]:
        # struct sk_buff *, how it was found, and how surely.
        for function in _CONFIRM:
            passed = self._passed(function, "skb")
            if passed is not None:
                skb = Object(self.crash.prog, "struct sk_buff *", passed.value)
                return skb, passed.how, passed.origin, passed.certainty
        only = self.crash.skb()
        how = next(c.found_by for c in self.crash.skbs if c.address == int(only))
        return only, how, Origin.SAVED_REGISTER, Certainty.INFERRED

    def skb(self) -> Object:
        return self._skb[0]

    def how(self) -> str:
        skb, how, *_rest = self._skb
        seen_at = next((c for c in self.crash.skbs if c.address == int(skb)), None)
        return "; ".join((how, *(seen_at.also[:1] if seen_at else ())))

    def winner(self) -> Object:
        # struct nf_conn *: the conntrack the skb has now.
        found, _ctinfo = nf_ct(self.skb())
        if found is None:
            raise Unavailable("conntrack of the skb", Reason.NOT_APPLICABLE, "skb->_nfct is 0")
        return found

    @cached_property
    def packet(self) -> Packet:
        return decode_packet(self.skb())

    def ct_value(self) -> Value:
        stale, origin, certainty = self._stale
        return pointer_value("ct", stale, origin, certainty)

    def skb_value(self) -> Value:
        skb, _how, origin, certainty = self._skb
        return pointer_value("skb", skb, origin, certainty)

    def winner_value(self) -> Value:
        skb = self.skb()
        member = "_nfct" if has_member(skb, "_nfct") else "nfct"
        shown = member_value(f"skb->{member} & ~7", skb, member, int(self.winner()))
        reread = Reread(
            crash=f"struct -x sk_buff.{member} {int(skb):016x}",
            crashkit=f"nf_ct({expression(skb)})[0]",
        )
        return replace(shown, reread=reread)


def _net_was_null(scene: _Scene) -> Observation:
    fault = scene.crash.fault
    what = "the faulting expression"
    if fault is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "nothing faulted")
    if fault.conflict is not None:
        raise Unavailable(what, Reason.AMBIGUOUS, fault.conflict)
    if fault.null_or_bad is None or fault.bad_register is None or fault.address is None:
        reason = fault.absent.get("null_or_bad", Reason.AMBIGUOUS)
        raise Unavailable(what, reason, fault.why.get("null_or_bad", "what was NULL is unknown"))
    held = fault.registers[fault.bad_register]
    offset = offset_of(scene.crash.prog.type("struct net"), _EVENT_CB)
    member = Value(
        name=f"offsetof(struct net, {_EVENT_CB})",
        value=offset,
        origin=Origin.DATAFLOW,
        reread=Reread(
            crash=f"px &((struct net *)0)->{_EVENT_CB}",
            crashkit=f"offset_of(prog.type('struct net'), '{_EVENT_CB}')",
        ),
    )
    again = f"crash.fault.registers[{fault.bad_register!r}]"
    net = Value(
        name=fault.null_or_bad,
        value=held,
        origin=Origin.REGISTER,
        ctype="struct net *",
        reread=Reread(crash="bt", crashkit=again),
    )
    address = Value(
        name="fault address",
        value=fault.address,
        origin=Origin.REGISTER,
        reread=Reread(crash="log | grep CR2", crashkit="crash.fault.address"),
    )
    return seen(
        held == 0 and fault.address == offset and fault.null_or_bad.endswith("ct_net"),
        net,
        address,
        member,
        note=f"{held:x} in {fault.bad_register.upper()}, and {fault.address:#x} is offsetof"
        f"(struct net, {_EVENT_CB})",
    )


def _skb_is_valid(scene: _Scene) -> Observation:
    skb = scene.skb()
    tests = validate_skb(skb)
    made = {"device_named": tests.device_named, "ip_header": tests.ip_header}
    if tests.buffer_ordered is not None or not tests.plausible:
        made |= {"buffer_ordered": tests.buffer_ordered}
    if scene.packet.ip.version == 4:
        made |= {"ip_checksum": tests.ip_checksum}
    if False not in made.values():
        for test, outcome in made.items():
            if outcome is None:
                raise tests.absent.get(test) or Unavailable(test, Reason.NOT_APPLICABLE)
    name = decode_skb(skb).device_name or "?"
    device = member_value("skb->dev->name", skb, "dev", name)
    again = Reread(
        crash=f"struct sk_buff.dev {int(skb):016x}",
        crashkit=f"decode_skb({expression(skb)}).device_name",
    )
    words = f'{int(skb):016x}: dev "{name}", IP header checksum right; {scene.how()}'
    right = all(outcome is True for outcome in made.values())
    return seen(right, scene.skb_value(), replace(device, reread=again), note=words)


def _ct_differs(scene: _Scene) -> Observation:
    winner, stale = int(scene.winner()), int(scene.stale())
    note = f"{winner:016x}, not {stale:016x}"
    return seen(winner != stale, scene.winner_value(), scene.ct_value(), note=note)


def _protocol_value(scene: _Scene) -> Value:
    return Value(
        name="IP protocol",
        value=scene.packet.ip.protocol,
        origin=Origin.MEMORY,
        address=scene.packet.network_header,
        reread=Reread(
            crash=f"struct iphdr.protocol {scene.packet.network_header:016x}",
            crashkit=f"decode_packet({expression(scene.skb())}).ip.protocol",
        ),
    )


def _is_tcp(scene: _Scene) -> Observation:
    note = scene.packet.protocol_name
    return seen(scene.packet.ip.protocol == _TCP, _protocol_value(scene), note=note)


def _resolved(scene: _Scene) -> Observation:
    protocol = scene.packet.ip.protocol
    return seen(protocol in _RESOLVED, _protocol_value(scene), note=_RESOLVED.get(protocol, ""))


def _queued(scene: _Scene) -> Observation:
    frame = scene.crash.find_frame("nf_reinject", "nfqnl_reinject", "nfqnl_recv_verdict")
    again = Reread(crash="bt")
    if frame is not None:
        name, note = str(frame.function), f"frame #{frame.index}"
        return seen(
            True, Value(name="frame", value=name, origin=Origin.MEMORY, reread=again), note=note
        )
    net = see.net_of(scene.winner())
    queues = len(queue_instances(scene.crash.prog, net))
    again = Reread(crashkit=f"len(queue_instances(prog, {expression(net)}))")
    return seen(queues > 0, Value(name="queues", value=queues, origin=Origin.MEMORY, reread=again))


def fix(crash: Crash) -> Fix:
    """Say whether this binary reads skb->_nfct again after the insertion."""
    assert META.fix is not None
    skb = crash.prog.type("struct sk_buff")
    member = "_nfct" if any(m.name == "_nfct" for m in skb.members or ()) else "nfct"
    offset = offset_of(skb, member)
    on_stack = [str(f.function) for f in crash.outer_frames if f.function in _CONFIRM]
    for name in dict.fromkeys((*on_stack, *_CONFIRM)):
        symbol = find_symbol(crash.prog, name)
        if symbol is None:
            continue
        try:
            found = reloads_between(crash.prog, symbol, _INSERT, _FAULTING, offset)
        except Unavailable:
            continue
        return replace(META.fix, in_this_binary=found.reloads, how_seen=found.how)
    return replace(META.fix, in_this_binary=None, how_seen="no confirm function decides")


def history(crash: Crash) -> tuple[str, ...]:
    """Tell what led here; always inferred."""
    cpu = crash.thread.cpu
    here = "?" if cpu is None else cpu
    return (
        f"CPU {here}: confirm loses the insertion race, drops ct, skb->_nfct = the winner",
        f"CPU {here}: softirqs may run when bottom halves are enabled again",
        "CPU ?: allocates the freed ct again; its ct_net is 0 until it is written",
        f"CPU {here}: delivers events for the old ct and reads through ct_net = 0",
        "CPU ?: writes ct->ct_net",
    )
