"""Decoders: a kernel object in, a frozen dataclass of facts out.

A field that could not be had is None and has its reason in ``absent``. An object of
which nothing can be read raises :class:`crashkit.errors.Unavailable`.
"""

from crashkit.decode.conntrack import Conntrack, decode_nf_conn, nf_ct
from crashkit.decode.conntrack_hash import (
    ChainPlace,
    find_in_chains,
    find_in_hash,
    for_each_conntrack,
)
from crashkit.decode.conntrack_stat import ConntrackStat, conntrack_count, decode_conntrack_stat
from crashkit.decode.conntrack_tuple import (
    ConntrackTuple,
    decode_tuple,
    invert_tuple,
    tuple_matches_packet,
)
from crashkit.decode.identity import identify
from crashkit.decode.net_device import NetDevice, decode_net_device
from crashkit.decode.netns import NetNamespace, decode_net, net_generic
from crashkit.decode.nfqueue import (
    QueueEntry,
    QueueInstance,
    decode_queue_entry,
    for_each_queue,
    for_each_queue_entry,
    queue_instances,
)
from crashkit.decode.packet import Packet, decode_packet
from crashkit.decode.packet import decode_packet as packet
from crashkit.decode.skb import SkBuff, decode_skb
from crashkit.decode.skb_validation import SkbValidation, validate_skb
from crashkit.decode.slab import SlabIdentity, cache_of_variable, conntrack_cache, slab_identity

__all__ = [
    "ChainPlace",
    "Conntrack",
    "ConntrackStat",
    "ConntrackTuple",
    "NetDevice",
    "NetNamespace",
    "Packet",
    "QueueEntry",
    "QueueInstance",
    "SkBuff",
    "SkbValidation",
    "SlabIdentity",
    "cache_of_variable",
    "conntrack_cache",
    "conntrack_count",
    "decode_conntrack_stat",
    "decode_net",
    "decode_net_device",
    "decode_nf_conn",
    "decode_packet",
    "decode_queue_entry",
    "decode_skb",
    "decode_tuple",
    "find_in_chains",
    "find_in_hash",
    "for_each_conntrack",
    "for_each_queue",
    "for_each_queue_entry",
    "identify",
    "invert_tuple",
    "net_generic",
    "nf_ct",
    "packet",
    "queue_instances",
    "slab_identity",
    "tuple_matches_packet",
    "validate_skb",
]
