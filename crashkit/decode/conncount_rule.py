"""A rule that counts connections, whoever holds it: iptables, iptables-nft or nftables."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from drgn import Object

from crashkit.decode.fields import Absent
from crashkit.decode.ip_headers import NFPROTO_IPV4
from crashkit.layout import offset_of
from crashkit.value import facts

INVERT = 1
DESTINATION = 2
# include/uapi/linux/netfilter/xt_connlimit.h: XT_CONNLIMIT_INVERT, _DADDR

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
# include/uapi/linux/netfilter.h: NFPROTO_*


@facts
class ConncountRule:
    """One rule with a connection limit. A None field has its reason in ``absent``."""

    kind: str
    """``xt`` (iptables), ``nft-xt`` (iptables-nft) or ``nft``."""
    net: int
    """``struct net *``"""
    family: int
    """``NFPROTO_*``"""
    table: str
    chain: str
    number: int
    """Place in its chain, from 1."""
    text: str
    """The rule as its tool prints it, as far as it is decoded; names escaped."""
    limit: int
    inverted: bool
    """xt: matches up to the limit. nft: matches above it."""
    mask: int | None
    """Length of the address prefix that is counted together; None for nft."""
    destination: bool
    """Whether the destination's address is the key, not the source's."""
    address: int
    """``struct xt_connlimit_info *``, or ``struct nft_connlimit *`` for nft."""
    data: int | None
    """``struct nf_conncount_data *``; None for a list by itself."""
    list: int | None
    """``struct nf_conncount_list *`` of a rule that has just one."""
    drops: bool
    """Whether a packet above the limit that comes to the rule's end is dropped or rejected."""
    packets: int | None
    """Packets that the rule's counter counted: those that came to its end."""
    absent: Absent


@facts
class Connlimit:
    """A ``struct xt_connlimit_info``."""

    address: int
    mask: int
    limit: int
    flags: int
    data: int

    @property
    def destination(self) -> bool:
        """Whether the destination's address is the key, not the source's."""
        return bool(self.flags & DESTINATION)

    @property
    def text(self) -> str:
        """As iptables-save prints it."""
        bound = "upto" if self.flags & INVERT else "above"
        key = "daddr" if self.destination else "saddr"
        return (
            f"-m connlimit --connlimit-{bound} {self.limit}"
            f" --connlimit-mask {self.mask} --connlimit-{key}"
        )


def decode_connlimit(address: int, like: Object, family: int) -> Connlimit:
    """Decode the match's own data.

    :param address: of the ``struct xt_connlimit_info``
    :param like: any object of the program
    """
    prog = like.prog_
    info = Object(prog, "struct xt_connlimit_info", address=address)
    size = 4 if family == NFPROTO_IPV4 else 16
    mask = prog.read(address + offset_of(info.type_, "mask"), size)
    return Connlimit(
        address=address,
        mask=sum(byte.bit_count() for byte in mask),
        limit=int(info.limit),
        flags=int(info.flags),
        data=int(info.data),
    )


def key_text(rule: ConncountRule, key: tuple[int, ...]) -> str | None:
    """Tell what a list's key means to the rule; None when the rule does not say.

    connlimit's key is the masked address and, behind it, the zone's number.
    """
    if rule.mask is None:
        return None
    size = 4 if rule.family == NFPROTO_IPV4 else 16
    raw = b"".join(word.to_bytes(4, "little") for word in key)
    if len(raw) < size:
        return None
    address = IPv4Address(raw[:4]) if size == 4 else IPv6Address(raw[:16])
    zone = int.from_bytes(raw[size : size + 4], "little")
    side = "dst" if rule.destination else "src"
    return f"{side} {address}/{rule.mask}" + (f" zone {zone}" if zone else "")
