"""Words for the numbers in a ``struct nf_conn``."""

from __future__ import annotations

from collections.abc import Mapping

from drgn import Program

CONFIRMED_BIT = 3
SEEN_REPLY_BIT = 1
ASSURED_BIT = 2
DYING_BIT = 9
TEMPLATE_BIT = 11
CLASH_BIT = 12
OFFLOAD_BIT = 14

_NAMES = {
    0: "EXPECTED", 1: "SEEN_REPLY", 2: "ASSURED", 3: "CONFIRMED", 4: "SRC_NAT", 5: "DST_NAT",
    6: "SEQ_ADJUST", 7: "SRC_NAT_DONE", 8: "DST_NAT_DONE", 9: "DYING", 10: "FIXED_TIMEOUT",
    11: "TEMPLATE", 12: "UNTRACKED|NAT_CLASH", 13: "HELPER", 14: "OFFLOAD", 15: "HW_OFFLOAD",
}  # fmt: skip
# enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h)

TCP_STATE_NAMES = {
    0: "NONE", 1: "SYN_SENT", 2: "SYN_RECV", 3: "ESTABLISHED", 4: "FIN_WAIT", 5: "CLOSE_WAIT",
    6: "LAST_ACK", 7: "TIME_WAIT", 8: "CLOSE", 9: "SYN_SENT2",
}  # fmt: skip
"""``enum tcp_conntrack`` (include/uapi/linux/netfilter/nf_conntrack_tcp.h)."""


def status_bit_names(prog: Program) -> Mapping[int, str]:
    """Give the names of ``nf_conn.status`` bits, without ``IPS_``.

    Bit 12 was UNTRACKED up to v4.11 and is NAT_CLASH since Linux kernel commit
    6a757c07e51f ("netfilter: conntrack: allow insertion of clashing entries") (in
    v5.7), so the enumerators are asked; without them it has both names.
    """
    try:
        enumerators = prog.type("enum ip_conntrack_status").enumerators or ()
    except LookupError:
        return _NAMES
    known = {enumerator.name for enumerator in enumerators}
    if known & {"IPS_NAT_CLASH", "IPS_NAT_CLASH_BIT"}:
        return {**_NAMES, CLASH_BIT: "NAT_CLASH"}
    if "IPS_UNTRACKED_BIT" in known:
        return {**_NAMES, CLASH_BIT: "UNTRACKED"}
    return _NAMES
