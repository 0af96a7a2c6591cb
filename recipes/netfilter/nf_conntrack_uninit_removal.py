"""A connection was removed from the table before it was in it.

Up to v6.15 a new entry was marked CONFIRMED before it was inserted. A lookup or the garbage
collector that still had the slab object's former self in hand could then take it for an entry
that had expired (its timeout is a duration until it is inserted) and delete it.

Recognised by: a write through ``hnnode.pprev`` of an entry that is in no chain of the table, whose
reply direction still keeps the raw hash there, with a duration for its timeout, CONFIRMED and
DYING.

Told apart from: an entry of the table with a damaged or poisoned ``pprev``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from drgn import Object

from crashkit.crash import Crash
from crashkit.crash.others import slab_was_reported
from crashkit.crash.scenes import FaultScene
from crashkit.decode import conntrack_observed as see
from crashkit.decode import conntrack_status, decode_nf_conn
from crashkit.decode.conntrack import DIRECTIONS, Conntrack
from crashkit.decode.conntrack_hash import find_in_hash
from crashkit.decode.fields import member
from crashkit.decode.jiffies import jiffies, remaining_ticks
from crashkit.decode.values import expression, member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import (
    CheckSpec,
    Fix,
    Observation,
    excluding,
    necessary,
    seen,
    supporting,
)
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="nf-conntrack-uninit-removal",
    claim=(
        "a conntrack was deleted as confirmed although it had not been put into the table: its"
        " reply direction still holds the hash value, and its timeout is a duration"
    ),
    references=(
        "2d72afb34065 netfilter: nf_conntrack: fix crash due to removal of uninitialised entry",
        "CVE-2025-38472",
        "net/netfilter/nf_conntrack_core.c: __nf_conntrack_alloc() saves the hash in pprev",
    ),
    matches=("recipe-nf-conntrack-uninit-removal",),
    rejects=(
        "recipe-nf-conntrack-uninit-removal-lookalike",
        "recipe-nf-conntrack-uninit-removal-lookalike-small",
    ),
    told_apart_from=(
        "an entry of the table whose links were overwritten: it can still be reached there",
        "an entry that is deleted twice: its pprev is LIST_POISON2",
        "an entry that was set up: its timeout is a time, not a duration",
    ),
    fix=Fix(
        upstream="2d72afb34065",
        title="netfilter: nf_conntrack: fix crash due to removal of uninitialised entry",
        release="v6.16",
        stable=("6.15.8", "6.12.40", "6.6.100", "6.1.147"),
        distributions=("Debian 6.1: from 6.1.147 on",),
    ),
    history=(
        "CPU ?: an entry is freed, and its slab object becomes the entry of a new connection",
        "CPU ?: a lookup or the garbage collector still holds it by its former name",
        "CPU ?: the new entry is marked CONFIRMED before it is inserted",
        "its timeout, still a duration, looks like a time long past: it is deleted as expired",
        "the deletion unlinks nodes that were never linked",
    ),
)

_FAULTING = ("__nf_ct_delete_from_lists", "nf_ct_delete_from_lists")
_COLLECTORS = ("gc_worker", "nf_ct_gc_expired", "__nf_conntrack_find_get", "nf_conntrack_find_get")
_HASH_LIMIT = 1 << 32
# The saved hash is a u32; no kernel pointer is that small.
_WHERE = "hnnode.pprev"

# Protocol to the members of struct nf_ip_net (include/net/netns/conntrack.h) with its timeouts.
_TIMEOUTS = {
    1: ("icmp", "timeout"),
    6: ("tcp", "timeouts"),
    17: ("udp", "timeouts"),
    33: ("dccp", "dccp_timeout"),
    47: ("gre", "timeouts"),
    58: ("icmpv6", "timeout"),
    132: ("sctp", "timeouts"),
    136: ("udp", "timeouts"),
}
_GENERIC = ("generic", "timeout")


def applies(crash: Crash) -> bool:
    """Whether the removal of an entry from the table faulted."""
    return crash.faulting_function in _FAULTING


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    ct = scene.ct
    yield necessary(
        "no-pointer",
        "the address written to is no pointer: it fits into 32 bits",
        lambda: _is_no_pointer(scene),
    )
    yield necessary(
        "pprev", "it was read from hnnode.pprev of the entry", lambda: _is_from_pprev(scene)
    )
    yield necessary(
        "ct-object",
        "the entry is the start of a conntrack slab object",
        lambda: see.is_conntrack_object(ct(), "ct"),
    )
    yield necessary(
        "hash-kept", "its reply pprev is a hash value, not a link", lambda: _keeps_hash(ct())
    )
    yield necessary(
        "unhashed", "it is in no chain of the table", lambda: _is_in_no_chain(scene.ct())
    )
    yield necessary("status", "it is CONFIRMED and DYING", lambda: _is_confirmed_dying(ct()))
    yield necessary(
        "timeout", "its timeout is a duration, not a time", lambda: _timeout_is_duration(ct())
    )
    yield excluding("template", "a template", lambda: see.is_template(("ct", ct())))
    yield excluding(
        "slab-damage", "the kernel reported a damaged slab", lambda: slab_was_reported(crash)
    )
    yield supporting("collector", "it was found to have expired", lambda: _was_collected(crash))
    yield supporting("net", "its namespace is live", lambda: see.net_is_live(ct()))


class _Scene(FaultScene):
    @cached_property
    def _ct(self) -> tuple[Object, Origin, Certainty]:
        # struct nf_conn *: the entry that the faulting code worked on, and how surely.
        pointers = ("struct nf_conn *", "const struct nf_conn *")
        link = next((link for link in self.fault.chain if link.ctype in pointers), None)
        if link is None or not link.value or link.origin is None:
            reason = self.fault.absent.get("expression", Reason.AMBIGUOUS)
            detail = "the faulting expression does not give its value"
            raise Unavailable("the deleted conntrack", reason, detail)
        ct = Object(self.crash.prog, "struct nf_conn *", link.value)
        return ct, link.origin, link.certainty

    def ct(self) -> Object:
        return self._ct[0]

    def ct_value(self) -> Value:
        return pointer_value("ct", *self._ct)


def _is_no_pointer(scene: _Scene) -> Observation:
    address = scene.address
    return seen(int(address.value) < _HASH_LIMIT, address)


def _is_from_pprev(scene: _Scene) -> Observation:
    fault = scene.fault
    if fault.null_or_bad is None or fault.bad_register is None:
        reason = fault.absent.get("null_or_bad", Reason.AMBIGUOUS)
        raise Unavailable("what was bad", reason, fault.why.get("null_or_bad", "it is unknown"))
    held = Value(
        name=fault.null_or_bad,
        value=fault.registers[fault.bad_register],
        origin=Origin.REGISTER,
        reread=Reread(crash="bt", crashkit=f"crash.fault.registers[{fault.bad_register!r}]"),
    )
    holds = fault.access == "write" and fault.null_or_bad.endswith(_WHERE)
    note = f"{fault.instruction}: {fault.expression}"
    return seen(holds, held, scene.ct_value(), note=note)


def _keeps_hash(ct: Object) -> Observation:
    path = f"tuplehash[{DIRECTIONS['reply']}].hnnode.pprev"
    kept = int(ct.tuplehash[DIRECTIONS["reply"]].hnnode.pprev.value_())
    note = f"{kept:#x}"
    return seen(0 < kept < _HASH_LIMIT, member_value("reply pprev", ct, path, kept), note=note)


def _is_in_no_chain(ct: Object) -> Observation:
    values, linked = [], []
    for direction, answer in find_in_hash(ct.prog_, ct).items():
        if isinstance(answer, Unavailable):
            raise answer
        again = Reread(
            crash=f"struct -x nf_conn.tuplehash {int(ct):016x}",
            crashkit=f"find_in_hash(prog, {expression(ct)})[{direction!r}]",
        )
        values.append(
            Value(
                name=f"{direction} direction in the hash",
                value="yes" if answer else "no",
                origin=Origin.MEMORY,
                address=int(ct),
                reread=again,
            )
        )
        linked.append(answer)
    return seen(not any(linked), *values)


def _is_confirmed_dying(ct: Object) -> Observation:
    facts = decode_nf_conn(ct)
    if facts.status is None:
        raise facts.absent["status"]
    wanted = 1 << conntrack_status.CONFIRMED_BIT | 1 << conntrack_status.DYING_BIT
    names = ", ".join(facts.status_names or ())
    shown = member_value("status", ct, "status", facts.status)
    note = f"status {facts.status:#x} ({names})"
    return seen(facts.status & wanted == wanted, shown, note=note)


def _timeout_is_duration(ct: Object) -> Observation:
    facts = decode_nf_conn(ct)
    timeout = _had(facts, "timeout", facts.timeout)
    protocol, durations = _durations(ct, facts)
    clock = jiffies(ct.prog_)
    ticks = remaining_ticks(timeout, clock, 32)
    # An entry that the collector has not come to yet may have expired a while ago.
    is_time = -max(durations) <= ticks <= max(durations)
    is_duration = timeout in durations
    if is_time == is_duration:
        kind = "both a duration and a time" if is_time else "neither a duration nor a time"
        detail = f"{timeout} is {kind} of {protocol}'s timeouts"
        raise Unavailable("timeout", Reason.AMBIGUOUS, detail)
    shown = member_value("timeout", ct, "timeout", timeout)
    now = Value(
        name="jiffies",
        value=clock,
        origin=Origin.MEMORY,
        reread=Reread(crash="p jiffies", crashkit="prog['jiffies']"),
    )
    what = f"{protocol}'s timeout" if is_duration else f"{ticks} ticks from the dump's time"
    return seen(is_duration, shown, now, note=f"{timeout} ticks, {what}")


def _durations(ct: Object, facts: Conntrack) -> tuple[str, tuple[int, ...]]:
    # Name of the protocol's timeouts, and the timeouts of the entry's namespace, in ticks.
    if facts.original is None:
        raise facts.absent["original"]
    net = see.net_of(ct)
    name, path = _TIMEOUTS.get(facts.original.protocol, _GENERIC)
    found = member(member(member(net.ct, "nf_ct_proto"), name), path).value_()
    ticks = tuple(found) if isinstance(found, list) else (int(found),)
    return name, ticks


def _had(facts: Conntrack, name: str, value: int | None) -> int:
    if value is None:
        raise facts.absent[name]
    return value


def _was_collected(crash: Crash) -> Observation:
    printed = [str(line.function) for line in crash.oops.trace] if crash.oops else []
    if not crash.frames and not printed:
        raise Unavailable("who deleted it", Reason.NOT_SAVED, "there is no stack")
    for name in _COLLECTORS:
        if crash.has_frame(name):
            return seen(True, _frame_value(name))
        if name in printed:
            return seen(True, Value(name="call trace", value=name, origin=Origin.TEXT))
    return seen(False, _frame_value("none of a collector"))


def _frame_value(name: str) -> Value:
    again = Reread(crash="bt")
    return Value(name="frame", value=name, origin=Origin.MEMORY, reread=again)
