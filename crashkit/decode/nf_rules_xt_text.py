"""Matches and targets of x_tables as iptables writes them; unknown ones by name and size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from drgn import Object, cast

from crashkit.decode.fields import big_endian, naming, printable
from crashkit.decode.ip_headers import PROTOCOL_NAMES
from crashkit.errors import Unavailable
from crashkit.memory import read_bytes

_STATES = {0: "INVALID", 3: "NEW", 1: "ESTABLISHED", 2: "RELATED", 6: "UNTRACKED"}
# XT_CONNTRACK_STATE_INVALID is bit 0, STATE_BIT(ctinfo) bit ctinfo % IP_CT_IS_REPLY + 1
_TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_REJECT = ("icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable",
           "icmp-port-unreachable", "echo-reply", "icmp-net-prohibited",
           "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited")  # fmt: skip


def address_words(entry: Object, kind: str) -> list[str]:
    """Write the addresses, devices and protocol of an entry.

    :param entry: ``struct ipt_entry *`` or ``struct ip6t_entry *``
    :param kind: ``ipt`` or ``ip6t``
    """
    ip = entry.ip if kind == "ipt" else entry.ipv6
    inverted = int(ip.invflags.value_())
    words = []
    # IPT_INV_SRCIP 0x08, _DSTIP 0x10, _VIA_IN 0x01, _VIA_OUT 0x02, _PROTO 0x40 (ip_tables.h)
    for option, address, mask, bit in (("-s", "src", "smsk", 8), ("-d", "dst", "dmsk", 16)):
        text = _network(ip.member_(address).to_bytes_(), ip.member_(mask).to_bytes_())
        if text:
            words.append(_not(inverted & bit, f"{option} {text}"))
    for option, name, bit in (("-i", "iniface", 1), ("-o", "outiface", 2)):
        device = _device(ip.member_(name).to_bytes_(), ip.member_(f"{name}_mask").to_bytes_())
        if device:
            words.append(_not(inverted & bit, f"{option} {device}"))
    protocol = int(ip.proto.value_())
    if protocol:
        name = PROTOCOL_NAMES.get(protocol, str(protocol))
        words.append(_not(inverted & 0x40, f"-p {name}"))
    return words


def _not(inverted: int, text: str) -> str:
    return f"! {text}" if inverted else text


def _network(address: bytes, mask: bytes) -> str:
    if not any(mask):
        return ""
    number = int.from_bytes(mask, "big")
    bits = 8 * len(mask)
    length = number.bit_count()
    contiguous = number == ((1 << length) - 1) << (bits - length)
    if len(address) == 4:
        return (
            str(IPv4Network((address, length), False))
            if contiguous
            else (f"{IPv4Address(address)}/{IPv4Address(mask)}")
        )
    return (
        str(IPv6Network((address, length), False))
        if contiguous
        else (f"{IPv6Address(address)}/{IPv6Address(mask)}")
    )


def _device(name: bytes, mask: bytes) -> str:
    if not any(mask):
        return ""
    shown = printable(name.partition(b"\0")[0])
    exact = mask[len(name.partition(b"\0")[0])] if len(name.partition(b"\0")[0]) < 16 else 1
    return shown if exact else f"{shown}+"


def match_words(name: str, revision: int, match: Object, kind: str) -> str:
    """Write a match as iptables does.

    :param match: ``struct xt_entry_match *``
    :param kind: ``ipt`` or ``ip6t``
    """
    size = int(match.u.match_size.value_())
    known: Known = {**_MATCHES, ("connlimit", 1): (_CONNLIMIT, partial(_connlimit, family=kind))}
    return _words("-m", name, revision, size, match, known)


def target_words(name: str, revision: int, target: Object) -> str:
    """Write a target that is neither a verdict nor a chain. ``struct xt_entry_target *``."""
    size = int(target.u.target_size.value_())
    return _words("-j", name, revision, size, target, _TARGETS)


Known = dict[tuple[str, int], tuple[str, Callable[[Object], str]]]


def _words(option: str, name: str, revision: int, size: int, obj: Object, known: Known) -> str:
    found = known.get((name, revision))
    if found is not None:
        ctype, write = found
        try:
            with naming(name):
                rest = write(cast(f"{ctype} *", obj.data.address_of_()))
            return f"{option} {name} {rest}".rstrip()
        except Unavailable:
            pass  # without the module's types its name and size is all there is
    return f"{option} {name} [revision {revision}, {size} bytes]"


def _range(option: str, ports: Object, inverted: int) -> str:
    first, last = (int(port.value_()) for port in ports)
    if (first, last) == (0, 0xFFFF):
        return ""
    return _not(inverted, f"{option} {first}" + (f":{last}" if last != first else ""))


def _tcp(data: Object) -> str:
    inverted = int(data.invflags.value_())  # XT_TCP_INV_SRCPT 1, _DSTPT 2, _FLAGS 4
    mask, wanted = int(data.flg_mask.value_()), int(data.flg_cmp.value_())
    flags = ""
    if mask or inverted & 4:
        flags = _not(inverted & 4, f"--tcp-flags {_flag_names(mask)} {_flag_names(wanted)}")
    words = (
        _range("--sport", data.spts, inverted & 1),
        _range("--dport", data.dpts, inverted & 2),
        flags,
        f"--tcp-option {int(data.option.value_())}" if data.option else "",
    )
    return " ".join(word for word in words if word)


def _flag_names(flags: int) -> str:
    return ",".join(name for bit, name in enumerate(_TCP_FLAGS) if flags >> bit & 1) or "NONE"


def _udp(data: Object) -> str:
    inverted = int(data.invflags.value_())
    words = (_range("--sport", data.spts, inverted & 1), _range("--dport", data.dpts, inverted & 2))
    return " ".join(word for word in words if word)


def _conntrack(data: Object) -> str:
    flags, inverted = int(data.match_flags.value_()), int(data.invert_flags.value_())
    if flags != 1:  # XT_CONNTRACK_STATE alone
        return f"[match flags {flags:#x}]"
    mask = int(data.state_mask.value_())
    states = ",".join(name for bit, name in _STATES.items() if mask >> bit & 1)
    return _not(inverted & 1, f"--ctstate {states}")


def _connlimit(data: Object, family: str) -> str:
    flags = int(data.flags.value_())  # XT_CONNLIMIT_INVERT 1, XT_CONNLIMIT_DADDR 2
    raw = data.mask.to_bytes_()
    raw = raw[:4] if family == "ipt" else raw
    option = "--connlimit-upto" if flags & 1 else "--connlimit-above"
    address = "daddr" if flags & 2 else "saddr"
    bits = int.from_bytes(raw, "big").bit_count()
    return f"{option} {int(data.limit.value_())} --connlimit-mask {bits} --connlimit-{address}"


def _comment(data: Object) -> str:
    raw = read_bytes(data.prog_, int(data.value_()), 256, "comment")
    return f'--comment "{printable(raw.partition(bytes(1))[0])}"'


def _mark(data: Object) -> str:
    value, mask = int(data.mark.value_()), int(data.mask.value_())
    text = f"--mark {value:#x}" + (f"/{mask:#x}" if mask != 0xFFFF_FFFF else "")
    return _not(int(data.invert.value_()), text)


def _length(data: Object) -> str:
    low, high = int(data.min.value_()), int(data.max.value_())
    text = f"--length {low}" + (f":{high}" if high != low else "")
    return _not(int(data.invert.value_()), text)


def _nfqueue(data: Object) -> str:
    number = int(data.queuenum.value_())
    return f"--queue-num {number}"


def _nfqueues(data: Object) -> str:
    first, count = int(data.queuenum.value_()), int(data.queues_total.value_())
    # NFQ_FLAG_BYPASS 1, NFQ_FLAG_CPU_FANOUT 2; in revision 2 a member called bypass
    flags = int(data.flags.value_())
    words = f"--queue-balance {first}:{first + count - 1}" if count > 1 else f"--queue-num {first}"
    return words + " --queue-bypass" * (flags & 1) + " --queue-cpu-fanout" * (flags >> 1 & 1)


def _reject(data: Object) -> str:
    number = int(data.member_("with").value_())
    return f"--reject-with {_REJECT[number]}" if number < len(_REJECT) else f"[with {number}]"


_NAT_IPS, _NAT_PROTO = 1, 2  # NF_NAT_RANGE_MAP_IPS, NF_NAT_RANGE_PROTO_SPECIFIED


def _redirect(data: Object) -> str:
    return _ports("--to-ports", data.range[0])


def _to(option: str) -> Callable[[Object], str]:
    def write(data: Object) -> str:
        item = data.range[0]
        ports = _ports("", item).strip()
        low, high = (IPv4Address(item.member_(n).to_bytes_()) for n in ("min_ip", "max_ip"))
        address = ""
        if int(item.flags.value_()) & _NAT_IPS:
            address = str(low) if low == high else f"{low}-{high}"
        return f"{option} {address}" + (f":{ports}" if ports else "")

    return write


def _ports(option: str, item: Object) -> str:
    if not int(item.flags.value_()) & _NAT_PROTO:
        return ""
    low, high = big_endian(item.min.all), big_endian(item.max.all)
    return f"{option} {low}" + (f"-{high}" if low != high else "")


_CONNLIMIT = "struct xt_connlimit_info"
_RANGE = "struct nf_nat_ipv4_multi_range_compat"
_MATCHES: Known = {
    ("tcp", 0): ("struct xt_tcp", _tcp),
    ("udp", 0): ("struct xt_udp", _udp),
    ("conntrack", 3): ("struct xt_conntrack_mtinfo3", _conntrack),
    ("conntrack", 2): ("struct xt_conntrack_mtinfo2", _conntrack),
    ("comment", 0): ("void", _comment),
    ("mark", 1): ("struct xt_mark_mtinfo1", _mark),
    ("length", 0): ("struct xt_length_info", _length),
}
_TARGETS: Known = {
    ("NFQUEUE", 0): ("struct xt_NFQ_info", _nfqueue),
    ("NFQUEUE", 3): ("struct xt_NFQ_info_v3", _nfqueues),
    ("REJECT", 0): ("struct ipt_reject_info", _reject),
    ("REDIRECT", 0): (_RANGE, _redirect),
    ("DNAT", 0): (_RANGE, _to("--to-destination")),
    ("SNAT", 0): (_RANGE, _to("--to-source")),
    ("MASQUERADE", 0): (_RANGE, _redirect),
}
