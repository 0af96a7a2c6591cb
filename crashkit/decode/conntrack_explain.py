"""What the state of one tracked connection means, in sentences.

The words are about what is in the dump: status bits, the protocol's state, the timeouts
that are set. What happens next is said as what the kernel would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from drgn import Object, Program

from crashkit.decode.conntrack_timeout import StateTimeout, has_stream_delay, state_timeout
from crashkit.decode.fields import has_member
from crashkit.decode.netns import namespaces
from crashkit.decode.slab import conntrack_cache, slab_identity
from crashkit.decode.transport_headers import GRE, ICMP, ICMPV6, TCP, UDP, UDPLITE
from crashkit.errors import Reason, Unavailable, UsageError
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.decode.conntrack_table_entry import TableEntry

_TCP_WORDS = {
    "NONE": "no segment has been judged yet",
    "SYN_SENT": "a SYN was seen and no answer to it",
    "SYN_RECV": "SYN and SYN/ACK were seen, the last ACK of the handshake was not",
    "ESTABLISHED": "the handshake is complete and nobody has closed",
    "FIN_WAIT": "one side has sent a FIN that was not acknowledged yet",
    "CLOSE_WAIT": "one side has closed, the other has acknowledged that and not closed yet",
    "LAST_ACK": "both sides have sent a FIN, the last acknowledgement is missing",
    "TIME_WAIT": "both sides have closed",
    "CLOSE": "a reset was seen",
    "SYN_SENT2": "both sides have sent a SYN: a simultaneous open",
}
_LINGERING = ("TIME_WAIT", "CLOSE", "LAST_ACK")
_SLACK_S = 1.0


@facts
class Explanation:
    """What an entry's state means."""

    sentences: tuple[str, ...]
    timeout: StateTimeout | None
    """The timeout that its namespace gives to this state; None: not known."""


def require_conntrack(prog: Program, address: int) -> bool | None:
    """Check that an address is that of a ``struct nf_conn``, by the slab it lies in.

    :return: whether the object is allocated; None when the allocator does not tell
    :raises UsageError: it is something else, which is named
    """
    what = f"{address:#x} is no nf_conn"
    try:
        found = slab_identity(prog, address)
    except Unavailable as missing:
        if missing.reason is Reason.NOT_APPLICABLE:
            raise UsageError(f"{what}: it is {missing.detail}") from missing
        return None
    if found.cache not in _caches(prog):
        inside = f"{found.offset} bytes into" if found.offset else "the start of"
        raise UsageError(
            f"{what}: it is {inside} an object of {found.cache_name or 'another cache'}"
        )
    if found.offset:
        raise UsageError(
            f"{what}: it is {found.offset} bytes into the one at {found.object_start:#x}"
        )
    return found.allocated


def _caches(prog: Program) -> set[int]:
    if has_member(Object(prog, "struct net *", 0).ct, "nf_conntrack_cachep"):
        return {conntrack_cache(prog, net) for net in namespaces(prog)}
    return {conntrack_cache(prog)}


def explain_entry(entry: TableEntry) -> Explanation:
    """Say what the state of an entry means."""
    try:
        timeout: StateTimeout | None = state_timeout(entry)
    except Unavailable:
        timeout = None
    sentences = [*_replies(entry), *_protocol(entry), *_time(entry, timeout)]
    return Explanation(
        sentences=(*sentences, *_translation(entry), *_special(entry)), timeout=timeout
    )


def _replies(entry: TableEntry) -> Iterator[str]:
    if entry.row.use <= 0:
        yield (
            "Its reference count is 0: it is freed. The cache keeps the contents, so what "
            "follows is the connection that it was last."
        )
    if "TEMPLATE" in entry.status_names:
        yield "It is a template of a rule (-j CT), no connection."
        return
    if not entry.replied:
        yield (
            "Packets were seen in one direction only (UNREPLIED): to a rule they are NEW, "
            "however many there were."
        )
    else:
        yield (
            "Packets were seen in both directions: to a rule all further ones are ESTABLISHED. "
            "That word is conntrack's and means two-way traffic of any protocol, not a TCP state."
        )
    if entry.confirmed and not entry.dying and not entry.assured:
        yield "It is not ASSURED: a full table may drop it early to make room."


def _protocol(entry: TableEntry) -> Iterator[str]:
    protocol = entry.row.protocol
    if protocol == TCP and entry.state is not None:
        words = _TCP_WORDS.get(entry.state, "a number that no TCP state has")
        yield f"TCP itself is in {entry.state}, as far as packets showed: {words}."
        if entry.state in _LINGERING:
            yield (
                "A closed connection is not removed at once; it stays until its timeout. Only a "
                "reset that answers an unreplied SYN removes an entry on the spot."
            )
    elif protocol in (UDP, UDPLITE):
        yield from _datagrams(entry)
    elif protocol in (ICMP, ICMPV6):
        yield (
            "A request and its answers share one entry, which stays until the timeout even when "
            "everything was answered. (Kernels as old as 2.6.9 removed it with the last answer, "
            "so that answered pings were hardly ever listed.)"
        )
    elif protocol == GRE:
        yield "GRE has no state of its own; the timeout is longer once there was an answer."
    elif entry.state is None:
        yield "The tracker knows no states of this protocol, only whether there was an answer."


def _datagrams(entry: TableEntry) -> Iterator[str]:
    if entry.assured:
        yield "UDP has no connections; this flow counts as a stream, and the longer timeout holds."
        return
    if not entry.replied:
        yield (
            "UDP has no connections: once the entry expires, an answer that comes late is a NEW "
            "packet to the rules."
        )
        return
    try:
        delayed = has_stream_delay(entry)
    except Unavailable:
        delayed = False
    later = " that come at least two seconds after the first" if delayed else ""
    yield f"UDP has no connections; further packets{later} would make this flow a stream."


def _time(entry: TableEntry, timeout: StateTimeout | None) -> Iterator[str]:
    if not entry.confirmed:
        if entry.lifetime is not None:
            yield (
                "It is not confirmed: its packet has not passed all hooks, and no lookup finds it. "
                f"Its timeout is relative: {_seconds(entry.lifetime)} from then on."
            )
        return
    remaining = entry.remaining
    if remaining is None:
        yield "When it expires is not known: the dump's clock cannot be read."
        return
    if "FIXED_TIMEOUT" in entry.status_names:
        yield "Its timeout was fixed from outside; packets do not extend it."
    if entry.dying:
        yield "It is DYING: out of the table, and kept only by those who still refer to it."
    elif remaining <= 0:
        yield (
            f"Its time ended {_seconds(-remaining)} before the dump. Lookups skip it; it is "
            "counted until the garbage collector or a lookup in its bucket removes it."
        )
    else:
        yield f"It expires {_seconds(remaining)} after the dump, unless a packet comes before."
    if timeout is not None:
        yield from _live(timeout, remaining)


def _live(timeout: StateTimeout, remaining: float) -> Iterator[str]:
    text = f"Each packet in this state gives it {_seconds(timeout.seconds)} ({timeout.sysctl}"
    if timeout.is_default is False:
        text += f", not the default of {' or '.join(map(str, timeout.defaults))} s"
    elif timeout.is_default:
        text += ", the default"
    yield f"{text})."
    if remaining > timeout.seconds + _SLACK_S:
        yield (
            "It has more time left than that: it was given in another state, under another "
            "setting, or from outside (conntrack -U, a timeout policy, a flow table)."
        )


def _translation(entry: TableEntry) -> Iterator[str]:
    if entry.translated:
        yield (
            f"Its addresses are translated: answers are expected as {entry.reply.text}. The "
            "mapping was chosen for the first packet and holds until the entry is gone, even if "
            "the rule is changed or deleted."
        )
    elif {"SRC_NAT_DONE", "DST_NAT_DONE"} & set(entry.status_names):
        yield (
            "No address is translated. That was decided with the first packet: a NAT rule added "
            "now would not touch this flow."
        )


_SPECIAL = {
    "EXPECTED": "A helper of another connection expected it: its first packet was RELATED.",
    "NAT_CLASH": "It lost a clash and is kept for its answers only: no lookup by the original "
    "direction finds it, and conntrack -L does not show it.",
    "OFFLOAD": "Its packets take the flow table's short cut, past the tracker: neither state nor "
    "timeout follow them.",
    "HW_OFFLOAD": "The hardware forwards it.",
    "HELPER": "A helper was attached to it by a rule.",
}


def _special(entry: TableEntry) -> Iterator[str]:
    for name, sentence in _SPECIAL.items():
        if name in entry.status_names:
            yield sentence
    if entry.row.master:
        yield f"It belongs to the connection at {entry.row.master:#x}, to which it refers."


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
