"""Decoders: a kernel object in, a frozen dataclass of facts out.

A field that could not be had is None and has its reason in ``absent``. An object of
which nothing can be read raises :class:`crashkit.errors.Unavailable`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crashkit.decode.address import classify_address
    from crashkit.decode.address_facts import AddressFacts
    from crashkit.decode.address_walk import PageWalk, walk_page_tables
    from crashkit.decode.conncount import (
        Conncount,
        Counted,
        conncount_list_at,
        has_conncount,
        longest_count,
        read_conncount,
    )
    from crashkit.decode.conncount_binary import collection
    from crashkit.decode.conncount_list import PER_PASS, ConncountList, Ticks
    from crashkit.decode.conncount_rule import ConncountRule
    from crashkit.decode.conntrack import Conntrack, decode_nf_conn, nf_ct
    from crashkit.decode.conntrack_accounting import NamespaceAccount, account, account_of
    from crashkit.decode.conntrack_crowding import (
        conntrack_count_place,
        conntrack_max,
        is_worth_listing,
        seems_unlisted,
    )
    from crashkit.decode.conntrack_expectations import Expectation, for_each_expectation
    from crashkit.decode.conntrack_hash import (
        ChainPlace,
        find_in_chains,
        find_in_hash,
        for_each_conntrack,
    )
    from crashkit.decode.conntrack_holders import HeldBy, Holders, holders_of
    from crashkit.decode.conntrack_listeners import ConntrackListener, for_each_listener
    from crashkit.decode.conntrack_lists import (
        UnhashedConntrack,
        for_each_dying,
        for_each_unconfirmed,
    )
    from crashkit.decode.conntrack_stat import ConntrackStat, conntrack_count, decode_conntrack_stat
    from crashkit.decode.conntrack_tuple import (
        ConntrackTuple,
        decode_tuple,
        invert_tuple,
        tuple_matches_packet,
    )
    from crashkit.decode.conntrack_unhashed import (
        LEAK,
        KeptConntrack,
        most_common_flows,
        unhashed_by_keeper,
    )
    from crashkit.decode.hook_point import HookPoint
    from crashkit.decode.identity import identify
    from crashkit.decode.locks import Lock, decode_lock
    from crashkit.decode.locks_spin import SpinLock, decode_rwlock, decode_spinlock
    from crashkit.decode.net_device import NetDevice, decode_net_device
    from crashkit.decode.netfilter_state import netfilter_states
    from crashkit.decode.netns import NetNamespace, decode_net, net_generic
    from crashkit.decode.nfqueue import (
        QueueEntry,
        QueueInstance,
        decode_queue_entry,
        for_each_queue,
        for_each_queue_entry,
        queue_instances,
    )
    from crashkit.decode.skb import SkBuff, decode_skb
    from crashkit.decode.skb_packet import Packet, decode_packet
    from crashkit.decode.skb_packet import decode_packet as packet
    from crashkit.decode.skb_queues import for_each_queued_skb, queued_skbs
    from crashkit.decode.skb_validation import SkbValidation, validate_skb
    from crashkit.decode.slab import SlabIdentity, cache_of_variable, conntrack_cache, slab_identity

__all__ = [
    "AddressFacts",
    "ChainPlace",
    "Conncount",
    "ConncountList",
    "ConncountRule",
    "Conntrack",
    "ConntrackListener",
    "ConntrackStat",
    "ConntrackTuple",
    "Counted",
    "Expectation",
    "HeldBy",
    "Holders",
    "HookPoint",
    "KeptConntrack",
    "LEAK",
    "Lock",
    "NamespaceAccount",
    "NetDevice",
    "NetNamespace",
    "PER_PASS",
    "Packet",
    "PageWalk",
    "QueueEntry",
    "QueueInstance",
    "SkBuff",
    "SkbValidation",
    "SlabIdentity",
    "SpinLock",
    "Ticks",
    "UnhashedConntrack",
    "account",
    "account_of",
    "cache_of_variable",
    "classify_address",
    "collection",
    "conncount_list_at",
    "conntrack_cache",
    "conntrack_count",
    "conntrack_count_place",
    "conntrack_max",
    "decode_conntrack_stat",
    "decode_lock",
    "decode_net",
    "decode_net_device",
    "decode_nf_conn",
    "decode_packet",
    "decode_queue_entry",
    "decode_rwlock",
    "decode_skb",
    "decode_spinlock",
    "decode_tuple",
    "find_in_chains",
    "find_in_hash",
    "for_each_conntrack",
    "for_each_dying",
    "for_each_expectation",
    "for_each_listener",
    "for_each_queue",
    "for_each_queue_entry",
    "for_each_queued_skb",
    "for_each_unconfirmed",
    "has_conncount",
    "holders_of",
    "identify",
    "invert_tuple",
    "is_worth_listing",
    "longest_count",
    "most_common_flows",
    "net_generic",
    "netfilter_states",
    "nf_ct",
    "packet",
    "queue_instances",
    "queued_skbs",
    "read_conncount",
    "seems_unlisted",
    "slab_identity",
    "tuple_matches_packet",
    "unhashed_by_keeper",
    "validate_skb",
    "walk_page_tables",
]

# Loaded when first used: a triage of one kind of crash needs few of them.
_MODULES = {
    "address": ("classify_address",),
    "address_facts": ("AddressFacts",),
    "address_walk": (
        "PageWalk",
        "walk_page_tables",
    ),
    "conncount": (
        "Conncount",
        "Counted",
        "conncount_list_at",
        "has_conncount",
        "longest_count",
        "read_conncount",
    ),
    "conncount_binary": ("collection",),
    "conncount_list": (
        "ConncountList",
        "PER_PASS",
        "Ticks",
    ),
    "conncount_rule": ("ConncountRule",),
    "conntrack": (
        "Conntrack",
        "decode_nf_conn",
        "nf_ct",
    ),
    "conntrack_accounting": (
        "NamespaceAccount",
        "account",
        "account_of",
    ),
    "conntrack_crowding": (
        "conntrack_count_place",
        "conntrack_max",
        "is_worth_listing",
        "seems_unlisted",
    ),
    "conntrack_expectations": (
        "Expectation",
        "for_each_expectation",
    ),
    "conntrack_hash": (
        "ChainPlace",
        "find_in_chains",
        "find_in_hash",
        "for_each_conntrack",
    ),
    "conntrack_holders": (
        "HeldBy",
        "Holders",
        "holders_of",
    ),
    "conntrack_listeners": (
        "ConntrackListener",
        "for_each_listener",
    ),
    "conntrack_lists": (
        "UnhashedConntrack",
        "for_each_dying",
        "for_each_unconfirmed",
    ),
    "conntrack_stat": (
        "ConntrackStat",
        "conntrack_count",
        "decode_conntrack_stat",
    ),
    "conntrack_tuple": (
        "ConntrackTuple",
        "decode_tuple",
        "invert_tuple",
        "tuple_matches_packet",
    ),
    "conntrack_unhashed": (
        "KeptConntrack",
        "LEAK",
        "most_common_flows",
        "unhashed_by_keeper",
    ),
    "hook_point": ("HookPoint",),
    "identity": ("identify",),
    "locks": (
        "Lock",
        "decode_lock",
    ),
    "locks_spin": (
        "SpinLock",
        "decode_rwlock",
        "decode_spinlock",
    ),
    "net_device": (
        "NetDevice",
        "decode_net_device",
    ),
    "netfilter_state": ("netfilter_states",),
    "netns": (
        "NetNamespace",
        "decode_net",
        "net_generic",
    ),
    "nfqueue": (
        "QueueEntry",
        "QueueInstance",
        "decode_queue_entry",
        "for_each_queue",
        "for_each_queue_entry",
        "queue_instances",
    ),
    "skb": (
        "SkBuff",
        "decode_skb",
    ),
    "skb_packet": (
        "Packet",
        "decode_packet",
        "packet",
    ),
    "skb_queues": (
        "for_each_queued_skb",
        "queued_skbs",
    ),
    "skb_validation": (
        "SkbValidation",
        "validate_skb",
    ),
    "slab": (
        "SlabIdentity",
        "cache_of_variable",
        "conntrack_cache",
        "slab_identity",
    ),
}
_NAMED_OTHERWISE = {"packet": "decode_packet"}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOME[name]}")
    found = globals()[name] = getattr(module, _NAMED_OTHERWISE.get(name, name))
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
