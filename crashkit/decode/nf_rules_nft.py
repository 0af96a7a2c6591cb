"""nftables: tables, chains, sets by name, and rules written much as ``nft list`` does."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, container_of
from drgn.helpers.linux.list import list_for_each_entry

from crashkit.decode.fields import has_member, naming, text_at
from crashkit.decode.hooks import NFT_FAMILIES
from crashkit.decode.netns import net_generic
from crashkit.decode.nf_rules_nft_text import Expressions
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_OBJECTS = 1_000_000
_BASE = 1  # NFT_CHAIN_BASE (include/uapi/linux/netfilter/nf_tables.h: enum nft_chain_flags)
_HOOKS = {0: "prerouting", 1: "input", 2: "forward", 3: "output", 4: "postrouting"}
_POLICIES = {0: "drop", 1: "accept"}


@facts
class NftRule:
    """One rule."""

    handle: int
    text: str
    """Expressions in order, in nft's words where they are known here."""
    expressions: tuple[str, ...]
    """Their types, as the kernel names them."""


@facts
class NftChain:
    """One chain."""

    name: str
    kind: str | None
    """filter, nat, route; None: the chain hangs in no hook."""
    hook: str | None
    priority: int | None
    policy: str | None
    rules: tuple[NftRule, ...]


@facts
class NftTable:
    """One table."""

    family: str
    name: str
    chains: tuple[NftChain, ...]
    sets: tuple[str, ...]
    """Names; anonymous ones as the kernel names them."""


def nft_tables(net: Object) -> tuple[NftTable, ...]:
    """Decode the nftables tables of a namespace; objects of the next generation are left out.

    :param net: ``struct net *``
    :raises Unavailable: nf_tables is not loaded, its types are unknown, or a page is missing
    """
    with naming("nf_tables"):
        head, bit = _tables(net), 1 << _generation(net)
        walk = list_for_each_entry("struct nft_table", head.address_of_(), "list")
        tables = [t for t in bounded(walk, MAX_OBJECTS, "nft tables") if not t.genmask & bit]
        return tuple(_table(table, bit) for table in tables)


def _tables(net: Object) -> Object:
    # In net_generic data since Linux kernel commit 0854db2aaef3 ("netfilter: nf_tables: use
    # net_generic infra for transaction data") (in v5.13); before that, net->nft.tables.
    if has_member(net, "nft") and has_member(net.nft, "tables"):
        return net.nft.tables
    return net_generic(net, "nf_tables_net_id", "struct nftables_pernet").tables


def _generation(net: Object) -> int:
    # In struct netns_nftables as far as was seen (6.18); asked for beside the tables otherwise.
    if has_member(net, "nft") and has_member(net.nft, "gencursor"):
        return int(net.nft.gencursor.value_())
    data = net_generic(net, "nf_tables_net_id", "struct nftables_pernet")
    return int(data.gencursor.value_())


def _table(table: Object, bit: int) -> NftTable:
    chains = list_for_each_entry("struct nft_chain", table.chains.address_of_(), "list")
    sets = list_for_each_entry("struct nft_set", table.sets.address_of_(), "list")
    return NftTable(
        family=NFT_FAMILIES.get(int(table.family.value_()), "?"),
        name=_name(table),
        chains=tuple(
            _chain(chain, bit)
            for chain in bounded(chains, MAX_OBJECTS, "nft chains")
            if not chain.genmask & bit
        ),
        sets=tuple(_name(item) for item in bounded(sets, MAX_OBJECTS, "nft sets")),
    )


def _name(obj: Object) -> str:
    return text_at(obj.prog_, int(obj.name.value_()), 256)


def _chain(chain: Object, bit: int) -> NftChain:
    kind = hook = priority = policy = None
    if int(chain.flags.value_()) & _BASE:
        base = container_of(chain, "struct nft_base_chain", "chain")
        ops = base.ops if has_member(base.ops, "hooknum") else base.ops[0]
        kind = text_at(chain.prog_, int(base.type.name.value_()))
        hook = _HOOKS.get(int(ops.hooknum.value_()), str(int(ops.hooknum.value_())))
        priority = int(ops.priority.value_())
        policy = _POLICIES.get(int(base.policy.value_()))
    walk = list_for_each_entry("struct nft_rule", chain.rules.address_of_(), "list")
    return NftChain(
        name=_name(chain),
        kind=kind,
        hook=hook,
        priority=priority,
        policy=policy,
        rules=tuple(
            _rule(rule)
            for rule in bounded(walk, MAX_OBJECTS, "nft rules")
            if not rule.genmask & bit
        ),
    )


def _rule(rule: Object) -> NftRule:
    writer = Expressions()
    names = []
    for expression in _expressions(rule):
        name = text_at(rule.prog_, int(expression.ops.type.name.value_()))
        names.append(name)
        writer.add(name, expression)
    return NftRule(handle=int(rule.handle.value_()), text=writer.text, expressions=tuple(names))


def _expressions(rule: Object) -> Iterator[Object]:
    at, left = rule.data.address_ or 0, int(rule.dlen.value_())
    while left > 0:
        expression = Object(rule.prog_, "struct nft_expr *", at)
        size = int(expression.ops.size.value_())
        if not 8 <= size <= left:
            raise Unavailable("nft rule", Reason.CORRUPTED, f"an expression of {size} bytes")
        yield expression
        at, left = at + size, left - size
