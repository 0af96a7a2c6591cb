"""``struct nf_conn``: a tracked connection, and the one an skb belongs to."""

from __future__ import annotations

from drgn import Object, container_of, sizeof

from crashkit.decode import conntrack_status
from crashkit.decode.conntrack_tuple import ConntrackTuple, decode_tuple
from crashkit.decode.fields import (
    Absent,
    Fields,
    counter,
    has_member,
    member,
    names_of,
    naming,
    net_pointer,
    pointer,
)
from crashkit.decode.jiffies import jiffies, remaining_ticks, ticks_per_second
from crashkit.decode.skb import nfct_pointer
from crashkit.decode.transport_headers import TCP
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

DIRECTIONS = {"original": 0, "reply": 1}
"""``enum ip_conntrack_dir`` (include/uapi/linux/netfilter/nf_conntrack_tuple_common.h)."""


@facts
class Conntrack:
    """Facts of a ``struct nf_conn``. A None field has its reason in ``absent``.

    A freed object of this cache still looks like a connection (it is type-stable under
    RCU) and can be another one at once; the facts are those of the memory as dumped.
    """

    address: int
    use: int | None
    """``ct_general.use``, signed; 0: freed or about to be."""
    original: ConntrackTuple | None
    reply: ConntrackTuple | None
    status: int | None
    status_names: tuple[str, ...] | None
    """Names of the bits set, without ``IPS_``."""
    timeout: int | None
    """Ticks: when it expires; for an unconfirmed entry how long it is to live."""
    remaining: float | None
    """Seconds until it expires, negative when it has; confirmed entries only."""
    zone: int | None
    """Zone id; 0 is the default one."""
    net: int | None
    """``ct_net``, ``struct net *``."""
    mark: int | None
    master: int | None
    """``struct nf_conn *`` of the connection that expected this one; 0 is none."""
    cpu: int | None
    """CPU whose unconfirmed list holds it, on kernels that keep one (up to v5.18)."""
    tcp_state: str | None
    absent: Absent

    def has_status(self, bit: int) -> bool | None:
        """Whether a status bit is set; None when the status could not be read."""
        return None if self.status is None else bool(self.status >> bit & 1)

    @property
    def confirmed(self) -> bool | None:
        """Whether IPS_CONFIRMED is set."""
        return self.has_status(conntrack_status.CONFIRMED_BIT)

    @property
    def dying(self) -> bool | None:
        """Whether IPS_DYING is set."""
        return self.has_status(conntrack_status.DYING_BIT)

    @property
    def template(self) -> bool | None:
        """Whether IPS_TEMPLATE is set: no connection, a rule's -j CT."""
        return self.has_status(conntrack_status.TEMPLATE_BIT)


def decode_nf_conn(ct: Object) -> Conntrack:
    """Decode a conntrack entry.

    :param ct: ``struct nf_conn *``
    :raises Unavailable: it is no kernel pointer, or nothing of it is in the dump
    """
    address = pointer(ct, "struct nf_conn")
    fields = Fields(f"struct nf_conn {address:#x}")
    status = fields.number("status", ct, "status")
    original = fields.take("original", lambda: decode_tuple(ct.tuplehash[0].tuple))
    return Conntrack(
        address=address,
        use=fields.take("use", lambda: counter(ct.ct_general.use)),
        original=original,
        reply=fields.take("reply", lambda: decode_tuple(ct.tuplehash[1].tuple)),
        status=status,
        status_names=fields.take("status_names", lambda: _status_names(ct)),
        timeout=fields.take("timeout", lambda: int(_timeout(ct).value_())),
        remaining=fields.take("remaining", lambda: remaining_seconds(ct)),
        zone=fields.take("zone", lambda: zone_id(ct)),
        net=fields.take("net", lambda: net_pointer(ct.ct_net)),
        mark=fields.number("mark", ct, "mark"),
        master=fields.number("master", ct, "master"),
        cpu=fields.number("cpu", ct, "cpu"),
        tcp_state=fields.take("tcp_state", lambda: _tcp_state(ct, original)),
        absent=fields.reasons(),
    )


def nf_ct(skb: Object) -> tuple[Object | None, int | None]:
    """Give the conntrack entry of an skb, as nf_ct_get() does.

    :param skb: ``struct sk_buff *``
    :return: ``struct nf_conn *`` or None when the skb has none, and the ctinfo,
        None when it is not in the dump
    :raises Unavailable: no conntrack in this kernel, no types for it, or a missing page
    """
    with naming("skb->_nfct"):
        address, ctinfo = nfct_pointer(skb)
        if not address:
            return None, ctinfo
        general = Object(skb.prog_, "struct nf_conntrack *", address)
        return container_of(general, "struct nf_conn", "ct_general"), ctinfo


def _status_names(ct: Object) -> tuple[str, ...]:
    bits = conntrack_status.status_bit_names(ct.prog_)
    return names_of(int(ct.status.value_()), bits)


def _timeout(ct: Object) -> Object:
    # u32 since Linux kernel commit f330a7fdbe16 ("netfilter: conntrack: get rid of
    # conntrack timer") (in v4.9); before that, a struct timer_list.
    if has_member(ct.timeout, "expires"):
        return ct.timeout.expires
    return ct.timeout


def remaining_seconds(ct: Object) -> float:
    """Compute the seconds until a confirmed entry expires; negative: it has.

    :param ct: ``struct nf_conn *``
    :raises Unavailable: the entry is not confirmed (its timeout is then relative), or
        the clock cannot be had
    """
    if not int(ct.status.value_()) >> conntrack_status.CONFIRMED_BIT & 1:
        raise Unavailable("remaining time", Reason.NOT_APPLICABLE, "not confirmed")
    expires = _timeout(ct)
    ticks = remaining_ticks(int(expires.value_()), jiffies(ct.prog_), 8 * sizeof(expires))
    return ticks / ticks_per_second(ct.prog_)


def zone_id(ct: Object) -> int:
    """Read the zone of an entry; 0 is the default.

    Inline where ``nf_conn`` has a member ``zone`` (v4.9 does), else in the extension
    NF_CT_EXT_ZONE (v4.2 and el7).

    :param ct: ``struct nf_conn *``
    :raises Unavailable: zones are not compiled in
    """
    if has_member(ct, "zone"):
        return int(ct.zone.id.value_())
    identifier = _zone_extension(ct)
    extensions = ct.ext.read_()
    if not extensions:
        return 0
    pointer(extensions, "ct->ext")
    offset = int(extensions.offset[identifier].value_())
    if not offset:
        return 0
    address = extensions.value_() + offset
    return int(Object(ct.prog_, "struct nf_conntrack_zone", address=address).id.value_())


def _zone_extension(ct: Object) -> int:
    for enumerator in ct.prog_.type("enum nf_ct_ext_id").enumerators or ():
        if enumerator.name == "NF_CT_EXT_ZONE":
            return int(enumerator.value)
    raise Unavailable("zone", Reason.NOT_APPLICABLE, "kernel without conntrack zones")


def _tcp_state(ct: Object, original: ConntrackTuple | None) -> str:
    if original is None or original.protocol != TCP:
        raise Unavailable("TCP state", Reason.NOT_APPLICABLE, "not a TCP connection")
    state = int(member(ct.proto, "tcp").state.value_())
    return conntrack_status.TCP_STATE_NAMES.get(state, f"state {state}")
