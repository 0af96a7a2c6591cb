"""Names of what a protocol's tracker keeps: TCP, SCTP and DCCP states."""

from __future__ import annotations

from collections.abc import Mapping

from drgn import Program

from crashkit.decode.conntrack_status import TCP_STATE_NAMES
from crashkit.decode.transport_headers import DCCP, SCTP, TCP

_ENUMS = {
    TCP: ("enum tcp_conntrack", "TCP_CONNTRACK_"),
    SCTP: ("enum sctp_conntrack", "SCTP_CONNTRACK_"),
    DCCP: ("enum ct_dccp_states", "CT_DCCP_"),
}
# include/uapi/linux/netfilter/nf_conntrack_tcp.h, _sctp.h; net/netfilter/nf_conntrack_proto_dccp.c

_NO_STATE = ("MAX", "TIMEOUT_MAX", "IGNORE", "RETRANS", "UNACK", "LISTEN")
# Enumerators that count or mean something else; LISTEN is an old name of SYN_SENT2.


def state_names(prog: Program) -> Mapping[int, Mapping[int, str]]:
    """Give the names of states, by IP protocol and number, as conntrack prints them.

    The kernel's own enumerators name them; for TCP, whose numbers never changed, a table
    stands in where a kernel's types do not have them.
    """
    names: dict[int, Mapping[int, str]] = {TCP: TCP_STATE_NAMES, SCTP: {}, DCCP: {}}
    for protocol, (enum, prefix) in _ENUMS.items():
        try:
            enumerators = prog.type(enum).enumerators or ()
        except LookupError:
            continue
        named = (
            (e.value, e.name.removeprefix(prefix)) for e in enumerators if e.name.startswith(prefix)
        )
        found = {value: name for value, name in named if name not in _NO_STATE}
        names[protocol] = {**names[protocol], **found}
    return names
