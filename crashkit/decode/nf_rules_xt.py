"""iptables and ip6tables rules from the kernel's own tables, as ``iptables -S`` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Object, cast, sizeof
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu_ptr

from crashkit.decode.conntrack_stat import MAX_CPUS
from crashkit.decode.fields import has_member, naming, pointer, printable
from crashkit.decode.netns import net_generic
from crashkit.decode.nf_rules_xt_text import address_words, match_words, target_words
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded
from crashkit.value import facts

MAX_TABLES = 256
MAX_RULES = 1_000_000
_FAMILIES = {2: "ipt", 10: "ip6t"}
_HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_VERDICTS = {-1: "DROP", -2: "ACCEPT", -4: "QUEUE", -5: "RETURN"}
# -verdict - 1 (net/netfilter/x_tables.c: verdict_ok()); XT_RETURN is -NF_REPEAT - 1
_GOTO = 2  # IPT_F_GOTO; IP6T_F_GOTO is 4


@facts
class XtRule:
    """One rule."""

    offset: int
    """Bytes from the table's first entry."""
    chain: str
    text: str
    """As after ``-A CHAIN``; a match or target not known here is named with its size."""
    target: str | None
    """Target, chain or verdict; None: the rule has none."""
    matches: tuple[str, ...]
    """Names of its matches."""
    packets: int | None
    bytes: int | None


@facts
class XtChain:
    """One chain."""

    name: str
    policy: str | None
    """Of a built-in chain; None: the chain is a user's."""
    rules: tuple[XtRule, ...]


@facts
class XtTable:
    """One table."""

    family: str
    """``ip`` or ``ip6``."""
    name: str
    chains: tuple[XtChain, ...]


def xt_tables(net: Object) -> tuple[XtTable, ...]:
    """Decode the iptables and ip6tables tables of a namespace.

    :param net: ``struct net *``
    :raises Unavailable: x_tables is not loaded, its types are unknown, or a page is missing
    """
    found: list[XtTable] = []
    with naming("x_tables"):
        lists = _lists(net)
        for pf in _FAMILIES:
            walk = list_for_each_entry("struct xt_table", lists[pf].address_of_(), "list")
            found += [_table(pf, table) for table in bounded(walk, MAX_TABLES, "x_tables")]
    return tuple(found)


def _lists(net: Object) -> Object:
    # net->xt.tables in older kernels, data of net_generic in newer ones.
    if has_member(net, "xt"):
        return net.xt.tables
    return net_generic(net, "xt_pernet_id", "struct xt_pernet").tables


@dataclass
class _Walk:
    # The table's entries, by offset from the first.
    kind: str
    start: int
    size: int
    entries: dict[int, Object]
    chains: dict[int, str]


def _table(pf: int, table: Object) -> XtTable:
    blob = table.private.read_()
    pointer(blob, "xt_table_info")
    start, size = blob.entries.address_ or 0, int(blob.size.value_())
    kind = _FAMILIES[pf]
    walk = _Walk(kind, start, size, dict(_entries(blob, kind, start, size)), {})
    valid = int(table.valid_hooks.value_())
    hooks = {
        int(blob.hook_entry[n].value_()): (name, int(blob.underflow[n].value_()))
        for n, name in enumerate(_HOOKS)
        if valid >> n & 1
    }
    chains = _chains(walk, hooks)
    name = printable(table.name.string_())
    return XtTable(family="ip" if pf == 2 else "ip6", name=name, chains=tuple(chains))


def _entries(blob: Object, kind: str, start: int, size: int) -> Iterator[tuple[int, Object]]:
    prog, offset = blob.prog_, 0
    least = sizeof(prog.type(f"struct {kind}_entry"))
    for _ in range(MAX_RULES):
        if offset >= size:
            return
        entry = Object(prog, f"struct {kind}_entry *", start + offset)
        step, target = int(entry.next_offset.value_()), int(entry.target_offset.value_())
        if not (least <= target < step and offset + step <= size):
            detail = f"entry at {offset} of {size} is {step} bytes"
            raise Unavailable("x_tables entries", Reason.CORRUPTED, detail)
        yield offset, entry
        offset += step
    raise Unavailable("x_tables entries", Reason.BUDGET, f"more than {MAX_RULES} rules")


def _chains(walk: _Walk, hooks: dict[int, tuple[str, int]]) -> Iterator[XtChain]:
    # A user's chain begins behind an ERROR target that has its name; the last one ends the table.
    begins = {offset: name for offset, (name, _underflow) in hooks.items()}
    for offset, entry in walk.entries.items():
        name = _error_name(entry)
        if name is not None and offset + int(entry.next_offset.value_()) < walk.size:
            begins[offset + int(entry.next_offset.value_())] = name
    walk.chains = begins
    underflows = {offset: under for offset, (_name, under) in hooks.items()}
    starts = sorted(begins)
    for index, begin in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else walk.size
        inside = [(o, e) for o, e in walk.entries.items() if begin <= o < end]
        yield _chain(walk, begins[begin], inside, underflows.get(begin))


def _chain(
    walk: _Walk, name: str, inside: list[tuple[int, Object]], underflow: int | None
) -> XtChain:
    policy = None
    rules = []
    for offset, entry in inside:
        if _error_name(entry) is not None:
            continue
        if offset == underflow:
            policy = _rule(walk, name, offset, entry).target
            continue
        rules.append(_rule(walk, name, offset, entry))
    if underflow is None and rules and rules[-1].text == "-j RETURN":
        rules.pop()  # what every user's chain ends with
    return XtChain(name=name, policy=policy, rules=tuple(rules))


def _target(entry: Object) -> Object:
    at = int(entry.value_()) + int(entry.target_offset.value_())
    return Object(entry.prog_, "struct xt_entry_target *", at)


def _target_name(target: Object) -> str:
    kernel = target.u.kernel.target.read_()
    pointer(kernel, "xt_target")
    return printable(kernel.name.string_())


def _error_name(entry: Object) -> str | None:
    target = _target(entry)
    if _target_name(target) != "ERROR":
        return None
    return printable(cast("struct xt_error_target *", target).errorname.string_())


def _rule(walk: _Walk, chain: str, offset: int, entry: Object) -> XtRule:
    words, names = address_words(entry, walk.kind), []
    for match in _matches(entry):
        kernel = match.u.kernel.match.read_()
        pointer(kernel, "xt_match")
        name = printable(kernel.name.string_())
        names.append(name)
        words.append(match_words(name, int(kernel.revision.value_()), match, walk.kind))
    target, verdict = _verdict(walk, entry)
    if target:
        words.append(target)
    packets, size = _counters(entry)
    return XtRule(
        offset=offset,
        chain=chain,
        text=" ".join(word for word in words if word),
        target=verdict,
        matches=tuple(names),
        packets=packets,
        bytes=size,
    )


def _matches(entry: Object) -> Iterator[Object]:
    prog, base = entry.prog_, int(entry.value_())
    offset, end = entry.elems.address_ or 0, base + int(entry.target_offset.value_())
    while offset < end:
        match = Object(prog, "struct xt_entry_match *", offset)
        size = int(match.u.match_size.value_())
        if size < sizeof(match.type_.type) or offset + size > end:
            raise Unavailable("x_tables match", Reason.CORRUPTED, f"a match of {size} bytes")
        yield match
        offset += size


def _verdict(walk: _Walk, entry: Object) -> tuple[str, str | None]:
    target = _target(entry)
    name = _target_name(target)
    if name:
        revision = int(target.u.kernel.target.revision.value_())
        return target_words(name, revision, target), name
    verdict = int(cast("struct xt_standard_target *", target).verdict.value_())
    if verdict < 0:
        word = _VERDICTS.get(verdict, f"verdict {verdict}")
        return f"-j {word}", word
    if verdict == int(entry.value_()) - walk.start + int(entry.next_offset.value_()):
        return "", None  # a jump to the next rule: the rule has no target
    flags = entry.ip.flags if walk.kind == "ipt" else entry.ipv6.flags
    goto = int(flags.value_()) & (_GOTO if walk.kind == "ipt" else 4)
    chain = walk.chains.get(verdict, f"offset {verdict}")
    return f"{'-g' if goto else '-j'} {chain}", chain


def _counters(entry: Object) -> tuple[int | None, int | None]:
    # With several CPUs pcnt is the address of per-CPU counters (xt_percpu_counter_alloc(),
    # since Linux kernel commit 71ae0dff02d7 (in v4.2)).
    prog = entry.prog_
    try:
        with naming("rule counters"):
            cpus = list(bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"))
            if len(cpus) == 1:
                return int(entry.counters.pcnt.value_()), int(entry.counters.bcnt.value_())
            handle = int(entry.counters.pcnt.value_())
            if not handle:
                return None, None
            counters = Object(prog, "struct xt_counters *", handle)
            per_cpu = [per_cpu_ptr(counters, cpu) for cpu in cpus]
            packets = sum(int(one.pcnt.value_()) for one in per_cpu)
            return packets, sum(int(one.bcnt.value_()) for one in per_cpu)
    except Unavailable:
        return None, None
