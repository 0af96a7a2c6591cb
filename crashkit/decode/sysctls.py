"""The conntrack settings of a namespace, by their names in /proc/sys/net/netfilter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from drgn import Object, Program

from crashkit.decode.conntrack_stat import conntrack_count
from crashkit.decode.fields import has_member, naming, pointer
from crashkit.decode.jiffies import ticks_per_second
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts


@facts
class Setting:
    """One setting."""

    name: str
    """As in /proc/sys/net/netfilter."""
    value: int | None
    """As that file shows it: timeouts in seconds. None: see ``unavailable``."""
    unavailable: Unavailable | None = None


_GLOBALS = {
    "nf_conntrack_max": "nf_conntrack_max",
    "nf_conntrack_buckets": "nf_conntrack_htable_size",
    "nf_conntrack_expect_max": "nf_ct_expect_max",
}
_FLAGS = {
    "nf_conntrack_acct": "sysctl_acct",
    "nf_conntrack_checksum": "sysctl_checksum",
    "nf_conntrack_events": "sysctl_events",
    "nf_conntrack_helper": "sysctl_auto_assign_helper",
    "nf_conntrack_log_invalid": "sysctl_log_invalid",
    "nf_conntrack_timestamp": "sysctl_tstamp",
}
# ``struct netns_ct``; those a kernel does not have are left out
_TCP_NUMBERS = {
    "nf_conntrack_tcp_loose": ("tcp_loose", "tcp_tcp_loose"),
    "nf_conntrack_tcp_be_liberal": ("tcp_be_liberal",),
    "nf_conntrack_tcp_max_retrans": ("tcp_max_retrans",),
    "nf_conntrack_tcp_ignore_invalid_rst": ("tcp_ignore_invalid_rst",),
}
_STATES = {
    # Protocol: the enumeration that indexes its timeouts, the prefix of its names, the member
    "tcp": ("enum tcp_conntrack", "TCP_CONNTRACK_", "timeouts"),
    "sctp": ("enum sctp_conntrack", "SCTP_CONNTRACK_", "timeouts"),
    "udp": ("enum udp_conntrack", "UDP_CT_", "timeouts"),
    "gre": ("enum gre_conntrack", "GRE_CT_", "timeouts"),
    "dccp": ("enum ct_dccp_states", "CT_DCCP_", "dccp_timeout"),
}
_RENAMED = {"retrans": "max_retrans", "unack": "unacknowledged", "replied": "stream"}
_WITHOUT = ("none", "listen", "syn_sent2", "max", "ignore", "heartbeat_acked",
            "timeout_max", "invalid",
            "data_sent")  # fmt: skip
# states whose timeouts have no file; heartbeat_acked lost its own in v6.1
_SINGLE = ("generic", "icmp", "icmpv6")


def conntrack_settings(net: Object) -> tuple[Setting, ...]:
    """Read the settings of a namespace; one the kernel does not have is left out.

    :param net: ``struct net *``
    :raises Unavailable: it is no kernel pointer
    """
    pointer(net, "struct net")
    prog, found = net.prog_, []
    found.append(_read("nf_conntrack_count", lambda: conntrack_count(net)))
    for name, symbol in _GLOBALS.items():
        found.append(_read(name, partial(_global, prog, symbol)))
    with naming("net->ct"):
        for name, member in _FLAGS.items():
            if has_member(net.ct, member):
                found.append(_read(name, partial(_number, net.ct, member)))
        if has_member(net.ct, "nf_ct_proto"):
            found += _protocols(net.ct.nf_ct_proto)
    return tuple(sorted(found, key=lambda setting: setting.name))


def _protocols(protocols: Object) -> list[Setting]:
    found = []
    for name, members in _TCP_NUMBERS.items():
        for member in members:
            if has_member(protocols.tcp, member):
                found.append(_read(name, partial(_number, protocols.tcp, member)))
                break
    for protocol in _SINGLE:
        if has_member(protocols, protocol):
            timeout = protocols.member_(protocol).timeout
            found.append(_seconds(f"nf_conntrack_{protocol}_timeout", timeout))
    if has_member(protocols, "dccp"):
        loose = protocols.dccp.dccp_loose
        found.append(_read("nf_conntrack_dccp_loose", lambda: int(loose.value_())))
    for protocol in _STATES:
        if has_member(protocols, protocol):
            found += _timeouts(protocol, protocols.member_(protocol))
    return found


def _timeouts(protocol: str, data: Object) -> list[Setting]:
    enumeration, prefix, member = _STATES[protocol]
    timeouts = data.member_(member)
    try:
        enumerators = data.prog_.type(enumeration).enumerators or ()
    except LookupError as unknown:
        name = f"nf_conntrack_{protocol}_timeout"
        missing = Unavailable(name, Reason.NO_DEBUGINFO, str(unknown))
        return [Setting(name=name, value=None, unavailable=missing)]
    found = []
    for enumerator in enumerators:
        state = enumerator.name.removeprefix(prefix).lower()
        if state in _WITHOUT or enumerator.value >= (timeouts.type_.length or 0):
            continue
        state = _RENAMED.get(state, state)
        end = "" if state == "unreplied" else f"_{state}"
        found.append(_seconds(f"nf_conntrack_{protocol}_timeout{end}", timeouts[enumerator.value]))
    return found


def _global(prog: Program, symbol: str) -> int:
    return int(prog[symbol].value_())


def _number(obj: Object, member: str) -> int:
    return int(obj.member_(member).value_())


def _seconds(name: str, ticks: Object) -> Setting:
    return _read(name, lambda: int(ticks.value_()) // ticks_per_second(ticks.prog_))


def _read(name: str, read: Callable[[], int]) -> Setting:
    try:
        with naming(name):
            return Setting(name=name, value=read())
    except Unavailable as missing:
        return Setting(name=name, value=None, unavailable=missing)
