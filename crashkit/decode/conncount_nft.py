"""Connection limits in nftables: ``ct count``, and iptables-nft's connlimit match."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import FaultError, Object, Program, cast
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.conncount_rule import (
    FAMILIES,
    INVERT,
    ConncountRule,
    decode_connlimit,
)
from crashkit.decode.fields import Fields, has_member, naming, pointer, text_at
from crashkit.decode.netns import net_generic
from crashkit.decode.nf_rules_nft_text import Expressions
from crashkit.errors import Reason, Unavailable
from crashkit.layout import offset_of, size_of
from crashkit.memory import bounded
from crashkit.value import facts

MAX_TABLES = 4096
MAX_CHAINS = 100_000
MAX_RULES = 1_000_000
_DROP = 0  # NF_DROP, include/uapi/linux/netfilter.h
_VERDICT_REGISTER = 0  # NFT_REG_VERDICT, include/uapi/linux/netfilter/nf_tables.h
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}


@facts
class _Expression:
    name: str
    whole: Object
    """``struct nft_expr *``"""
    data: Object
    """``void *``: the expression's own data."""
    ops: Object
    """``const struct nft_expr_ops *``"""


@facts
class _Place:
    net: int
    family: int
    table: str
    chain: str
    number: int


def nft_rules(prog: Program, net: Object) -> Iterator[ConncountRule]:
    """Yield the rules of a namespace's nftables that count connections.

    Sets whose elements count (``add @set { ip saddr ct count ... }``) and named limits are not
    among them.

    :param net: ``struct net *``
    :raises Unavailable: the rules cannot be followed to their end
    """
    try:
        prog.type("struct nft_rule")
        tables = _tables(net)
    except LookupError:
        return
    with naming("nft rules"):
        for table in _walk("struct nft_table", tables, MAX_TABLES):
            for chain in _walk("struct nft_chain", table.chains.address_of_(), MAX_CHAINS):
                rules = _walk("struct nft_rule", chain.rules.address_of_(), MAX_RULES)
                for number, rule in enumerate(rules, 1):
                    place = _Place(
                        net=int(net),
                        family=int(table.family),
                        table=text_at(prog, int(table.name), 256),
                        chain=text_at(prog, int(chain.name), 256),
                        number=number,
                    )
                    yield from _of_rule(rule, place)


def _walk(kind: str, head: Object, limit: int) -> Iterator[Object]:
    yield from bounded(list_for_each_entry(kind, head, "list"), limit, kind)


def _tables(net: Object) -> Object:
    # In struct nftables_pernet since Linux kernel commit 0854db2aaef3 ("netfilter: nf_tables:
    # use net_generic infra for transaction data") (in v5.13); before that, net->nft.
    if has_member(net, "nft") and has_member(net.nft, "tables"):
        return net.nft.tables.address_of_()
    own = net_generic(net, "nf_tables_net_id", "struct nftables_pernet")
    return own.tables.address_of_()


def _expressions(rule: Object) -> Iterator[_Expression]:
    prog = rule.prog_
    length = int(rule.dlen)
    at = int(rule.value_()) + offset_of(rule.type_.type, "data")
    end = at + length
    header = offset_of(prog.type("struct nft_expr"), "data")
    while at < end:
        ops = Object(prog, "struct nft_expr *", at).ops.read_()
        pointer(ops, "nft_expr->ops")
        size = int(ops.size)
        if size < header or at + size > end:
            raise Unavailable("nft rule", Reason.CORRUPTED, f"an expression of {size} bytes")
        name = text_at(prog, int(ops.type.name))
        whole = Object(prog, "struct nft_expr *", at)
        yield _Expression(name=name, whole=whole, data=Object(prog, "void *", at + header), ops=ops)
        at += size


def _of_rule(rule: Object, place: _Place) -> Iterator[ConncountRule]:
    found = list(_expressions(rule))
    for position, one in enumerate(found):
        if one.name == "connlimit":
            yield _count(one, found[position + 1 :], place, _written(found[:position]))
        elif one.name == "match" and _match_name(one) == "connlimit":
            yield _match(one, found[position + 1 :], place, _written(found[:position]))


def _written(expressions: list[_Expression]) -> str:
    # What comes before the count, and a space behind it.
    writer = Expressions()
    for one in expressions:
        writer.add(one.name, one.whole)
    return f"{writer.text} " if writer.text else ""


def _match_name(one: _Expression) -> str:
    # nft_compat: ops->data is the struct xt_match.
    match = cast("struct xt_match *", one.ops.data)
    return text_at(match.prog_, int(match.name.address_), 29)


def _count(one: _Expression, rest: list[_Expression], place: _Place, before: str) -> ConncountRule:
    limit = cast("struct nft_connlimit *", one.data)
    # A pointer since Linux kernel commit 37f319f37d90 ("netfilter: nft_connlimit: move stateful
    # fields out of expression data") (in v5.17); before that, the list itself.
    held = limit.list
    own = int(held) if size_of(held.type_) == 8 else int(held.address_)
    words = f"{before}ct count {'over ' if limit.invert else ''}{int(limit.limit)}"
    over = bool(limit.invert)
    return _rule(
        "nft",
        place,
        words,
        rest,
        limit=int(limit.limit),
        inverted=over,
        above=over,
        list_=own,
        address=int(limit),
    )


def _match(one: _Expression, rest: list[_Expression], place: _Place, before: str) -> ConncountRule:
    limit = decode_connlimit(int(one.data), one.data, place.family)
    upto = bool(limit.flags & INVERT)
    return _rule(
        "nft-xt",
        place,
        before + limit.text,
        rest,
        limit=limit.limit,
        inverted=upto,
        above=not upto,
        mask=limit.mask,
        destination=limit.destination,
        data=limit.data,
        address=limit.address,
    )


def _rule(
    kind: str,
    place: _Place,
    words: str,
    rest: list[_Expression],
    *,
    limit: int,
    inverted: bool,
    above: bool,
    address: int,
    mask: int | None = None,
    destination: bool = False,
    data: int | None = None,
    list_: int | None = None,
) -> ConncountRule:
    fields = Fields(f"rule {place.number} of {place.chain}")
    verdict, drops = _verdict(rest)
    family = FAMILIES.get(place.family, str(place.family))
    shown = f"{family} {place.table} {place.chain}: {words} {verdict}".rstrip()
    return ConncountRule(
        kind=kind,
        net=place.net,
        family=place.family,
        table=place.table,
        chain=place.chain,
        number=place.number,
        text=shown,
        limit=limit,
        inverted=inverted,
        mask=mask,
        destination=destination,
        address=address,
        data=data,
        list=list_,
        drops=drops and above,
        packets=fields.take("packets", lambda: _packets(rest)),
        absent=fields.absent,
    )


def _verdict(rest: list[_Expression]) -> tuple[str, bool]:
    for one in rest:
        if one.name == "reject":
            return "reject", True
        if one.name == "target":
            target = cast("struct xt_target *", one.ops.data)
            name = text_at(target.prog_, int(target.name.address_), 29)
            return f"-j {name}", name == "REJECT"
        if one.name == "immediate":
            held = cast("struct nft_immediate_expr *", one.data)
            if int(held.dreg) == _VERDICT_REGISTER:
                code = int.from_bytes(
                    int(held.data.verdict.code).to_bytes(8, "little", signed=True)[:4],
                    "little",
                    signed=True,
                )
                return _VERDICTS.get(code, f"verdict {code}"), code == _DROP
    return "", False


def _packets(rest: list[_Expression]) -> int:
    for one in rest:
        if one.name == "counter":
            own = cast("struct nft_counter_percpu_priv *", one.data).counter
            cpus = bounded(for_each_possible_cpu(own.prog_), 8192, "possible CPUs")
            try:
                return sum(_packets_on(own, cpu) for cpu in cpus)
            except FaultError as fault:
                raise Unavailable("packets", Reason.NOT_IN_DUMP, str(fault)) from fault
    raise Unavailable("packets", Reason.NOT_APPLICABLE, "the rule has no counter")


def _packets_on(own: Object, cpu: int) -> int:
    # s64, or on newer kernels u64_stats_t, a wrapper of the same eight bytes.
    return int.from_bytes(per_cpu_ptr(own, cpu).packets.to_bytes_(), "little")
