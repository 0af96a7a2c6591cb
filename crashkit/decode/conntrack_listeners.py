"""Programs that listen to conntrack events, and how far behind they are.

A listener may ask to have undelivered events reported to the kernel (NETLINK_BROADCAST_ERROR):
its full socket then keeps every destroyed entry until the event fits in.
"""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program, cast
from drgn.helpers.linux.list import hlist_for_each

from crashkit.decode.fields import Absent, Fields, counter, naming, net_pointer, pointer
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of
from crashkit.memory import bounded
from crashkit.value import facts

MAX_SOCKETS = 65536

_NETLINK_NETFILTER = 12
# include/uapi/linux/netlink.h
_GROUPS = {1: "new", 2: "update", 3: "destroy"}
# enum nfnetlink_groups (include/uapi/linux/netfilter/nfnetlink.h)
_REPORTS_LOSS_BIT = 2
_CONGESTED_BIT = 0
# NETLINK_F_BROADCAST_SEND_ERROR, NETLINK_S_CONGESTED (net/netlink/af_netlink.h and .c)


@facts
class ConntrackListener:
    """A netlink socket in a conntrack event group. A None field has its reason in ``absent``."""

    address: int
    """``struct netlink_sock *``."""
    port: int | None
    """Netlink port id; a program's first socket usually has its process id."""
    net: int | None
    """``struct net *``."""
    events: tuple[str, ...]
    """Of ``new``, ``update``, ``destroy``."""
    queued: int | None
    """Bytes that wait to be read (``sk_rmem_alloc``)."""
    limit: int | None
    """Bytes that may wait (``sk_rcvbuf``)."""
    congested: bool | None
    """Whether the kernel has stopped sending to it."""
    reports_loss: bool | None
    """Whether an event that does not fit in counts as undelivered."""
    absent: Absent

    @property
    def holds_up(self) -> bool:
        """Whether it keeps destroyed entries: full, and its losses are reported."""
        if self.queued is None or self.limit is None:
            return False
        full = self.queued >= self.limit or self.congested is True
        return full and self.reports_loss is True and "destroy" in self.events


def for_each_listener(prog: Program) -> Iterator[ConntrackListener]:
    """Yield the listeners to conntrack events of all namespaces.

    :raises Unavailable: the table of netlink sockets cannot be followed
    """
    with naming("listeners to conntrack events"):
        table = prog["nl_table"].read_()
        pointer(table, "nl_table")
        node = offset_of(prog.type("struct sock"), "__sk_common.skc_bind_node")
        seen: set[int] = set()
        walk = hlist_for_each(table[_NETLINK_NETFILTER].mc_list.address_of_())
        for one in bounded(walk, MAX_SOCKETS, "netlink sockets"):
            if one.value_() in seen:
                raise Unavailable("netlink sockets", Reason.CORRUPTED, "a cycle")
            seen.add(one.value_())
            sock = Object(prog, "struct netlink_sock *", one.value_() - node)
            events = _events(sock)
            if events:
                yield _decode(sock, events)


def _events(sock: Object) -> tuple[str, ...]:
    if not int(sock.ngroups.value_()) or not sock.groups.value_():
        return ()
    groups = int(sock.groups[0].value_())
    return tuple(name for group, name in _GROUPS.items() if groups >> group - 1 & 1)


def _decode(sock: Object, events: tuple[str, ...]) -> ConntrackListener:
    fields = Fields(f"struct netlink_sock {sock.value_():#x}")
    base = cast("struct sock *", sock)
    return ConntrackListener(
        address=sock.value_(),
        port=fields.number("port", sock, "portid", "pid"),
        net=fields.take("net", lambda: net_pointer(base.member_("__sk_common").skc_net)),
        events=events,
        queued=fields.take("queued", lambda: counter(base.sk_backlog.rmem_alloc)),
        limit=fields.number("limit", base, "sk_rcvbuf"),
        congested=fields.take("congested", lambda: _bit(sock.state, _CONGESTED_BIT)),
        reports_loss=fields.take("reports_loss", lambda: _bit(sock.flags, _REPORTS_LOSS_BIT)),
        absent=fields.reasons(),
    )


def _bit(word: Object, bit: int) -> bool:
    return bool(int(word.value_()) >> bit & 1)
