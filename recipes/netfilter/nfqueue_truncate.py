"""A verdict of NFQUEUE cut a packet below its headers.

A program that listens on a queue may give a packet back with another payload. Up to v5.18 nothing
kept it from giving back less than the IP header. The stack then takes the header off, and
``skb->len`` falls below zero.

Recognised by: a BUG in the code for skbs below ``nfqnl_recv_verdict()``, an skb whose data ends
before its transport header, and whose length is negative.

Told apart from: an skb of the same path whose lengths disagree with its fragments.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from drgn import Object, sizeof

from crashkit.crash import Crash
from crashkit.decode import slab_identity
from crashkit.decode.fields import naming
from crashkit.decode.values import member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import CheckSpec, Fix, Observation, necessary, seen, supporting
from crashkit.oops import plain_name
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="nfqueue-truncate",
    claim=(
        "a packet that a queue gave back ends before its transport header, and taking its network"
        " header off made its length negative"
    ),
    references=(
        "99a63d36cb3e",
        "net/netfilter/nfnetlink_queue.c: nfqnl_mangle()",
        "CVE-2022-36946",
    ),
    matches=("recipe-nfqueue-truncate",),
    rejects=("recipe-nfqueue-truncate-lookalike",),
    told_apart_from=("an skb whose length counts fragments that it does not have",),
    fix=Fix(
        upstream="99a63d36cb3e",
        title=("netfilter: nf_queue: do not allow packet truncation below transport header offset"),
        release="v5.19",
        stable=("5.18.16",),
    ),
    history=(
        "a packet was queued, and given back with a shorter payload",
        "the stack took off the network header, more than there was",
    ),
)

_VERDICT = "nfqnl_recv_verdict"
_PREFIXES = ("skb_", "pskb_")
_KINDS = ("invalid-opcode-bug", "page-fault", "general-protection", "null-pointer-dereference")
_NEGATIVE = 1 << 31
# skb->len is an unsigned int; what is that long was subtracted from too often.


def applies(crash: Crash) -> bool:
    """Whether code for skbs failed while a verdict was carried out."""
    kind = crash.oops.kind if crash.oops else None
    failed = plain_name(crash.faulting_function or "").lstrip("_")
    return kind in _KINDS and failed.startswith(_PREFIXES) and _is_below_verdict(crash) is not None


def _is_below_verdict(crash: Crash) -> Origin | None:
    # Where it is said that nfqnl_recv_verdict() is on the stack.
    if crash.has_frame(_VERDICT):
        return Origin.MEMORY
    printed = crash.oops.trace if crash.oops else ()
    return Origin.TEXT if any(line.function == _VERDICT for line in printed) else None


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("verdict", "a verdict gave the packet back", lambda: _verdict_is_below(crash))
    yield necessary("skb", "the skb is the start of a slab object", lambda: _is_object(scene))
    yield necessary("length", "its length is negative", lambda: _is_negative(scene.skb()))
    yield necessary(
        "truncated",
        "its data ends before its transport header",
        lambda: _ends_before_transport(scene.skb()),
    )
    yield supporting("linear", "it has no fragments", lambda: _is_linear(scene.skb()))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def _skb(self) -> tuple[Object, Origin, Certainty]:
        # struct sk_buff *: the proved argument nearest to the fault.
        prog = self.crash.prog
        for frame in self.crash.outer_frames:
            found, _missing = self.crash.arguments(frame)
            for one in found:
                proved = one.certainty is Certainty.PROVED and one.conflict is None
                if one.name == "skb" and proved and one.value:
                    skb = Object(prog, "struct sk_buff *", one.value)
                    return skb, one.origin, one.certainty
            if frame.function == _VERDICT:
                break
        raise Unavailable("skb", Reason.NOT_SAVED, "no function below the verdict kept it")

    def skb(self) -> Object:
        return self._skb[0]

    def skb_value(self) -> Value:
        return pointer_value("skb", *self._skb)


def _verdict_is_below(crash: Crash) -> Observation:
    origin = _is_below_verdict(crash)
    if origin is None:
        raise Unavailable("the verdict", Reason.NOT_SAVED, f"{_VERDICT} is not on the stack")
    again = Reread(crash="bt")
    return seen(True, Value(name="frame", value=_VERDICT, origin=origin, reread=again))


def _is_object(scene: _Scene) -> Observation:
    skb = scene.skb()
    found = slab_identity(skb.prog_, int(skb))
    start = Value(
        name="slab object",
        value=found.object_start,
        origin=Origin.MEMORY,
        reread=Reread(
            crash=f"kmem {int(skb):016x}",
            crashkit=f"slab_identity(prog, {int(skb):#x}).object_start",
        ),
    )
    fits = found.object_size is None or found.object_size >= sizeof(skb.type_.type)
    return seen(found.is_start and fits, scene.skb_value(), start, note=str(found.cache_name))


def _is_negative(skb: Object) -> Observation:
    length = int(skb.len)
    signed = length - (1 << 32) if length >= _NEGATIVE else length
    return seen(length >= _NEGATIVE, member_value("skb->len", skb, "len", length), note=f"{signed}")


def _ends_before_transport(skb: Object) -> Observation:
    with naming("skb->transport_header"):
        transport, tail = int(skb.transport_header), int(skb.tail)
        network = int(skb.network_header)
    values = (
        member_value("skb->tail", skb, "tail", tail),
        member_value("skb->network_header", skb, "network_header", network),
        member_value("skb->transport_header", skb, "transport_header", transport),
    )
    kept, needed = tail - network, transport - network
    return seen(tail < transport, *values, note=f"{kept} bytes kept, headers have {needed}")


def _is_linear(skb: Object) -> Observation:
    counted = int(skb.data_len)
    return seen(counted == 0, member_value("skb->data_len", skb, "data_len", counted))
