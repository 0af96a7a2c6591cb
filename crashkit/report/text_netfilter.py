"""Netfilter of a namespace as text: hooks, queues, rules, settings, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from crashkit.decode.netfilter_state import NetfilterState
from crashkit.decode.nf_rules_nft import NftTable
from crashkit.decode.nf_rules_xt import XtTable
from crashkit.report.columns import WIDTH, wrap
from crashkit.report.escape import safe_tree
from crashkit.report.parts import Json, Part, address, facts

_PRINTED = ("found", "invalid", "insert", "insert_failed", "drop", "early_drop", "error",
            "search_restart", "clash_resolve", "chaintoolong")  # fmt: skip
_LISTENS = {True: "listens", False: "is GONE", None: "not known"}
# the counters of ``conntrack -S``, in its order


def build_netfilter(state: NetfilterState) -> Json:
    """Build the JSON of a namespace's netfilter; addresses as ``0x…``, null with its reason."""
    part = Part({key: missing.reason for key, missing in state.absent.items()})
    part.put("net", address(state.net))
    part.put("hooks", _each(state.hooks))
    part.put("queues", _each(state.queues))
    part.put("listeners", facts(state.listeners))
    part.put("settings", _each(state.settings))
    part.put("statistics", facts(state.statistics))
    xt, nft = state.iptables, state.nftables
    part.put("iptables", None if xt is None else [_xt_table(table) for table in xt])
    part.put("nftables", None if nft is None else [_nft_table(table) for table in nft])
    return part.done()


def _each(items: Sequence[object] | None) -> list[Json] | None:
    # One by one: facts() cuts a long sequence, and a long rule set is not to be cut.
    return None if items is None else [facts(item) for item in items]


def _xt_table(table: XtTable) -> Json:
    chains = [
        {**facts(replace(chain, rules=())), "rules": _each(chain.rules)} for chain in table.chains
    ]
    return {**facts(replace(table, chains=())), "chains": chains}


def _nft_table(table: NftTable) -> Json:
    chains = [
        {**facts(replace(chain, rules=())), "rules": _each(chain.rules)} for chain in table.chains
    ]
    return {**facts(replace(table, chains=())), "chains": chains}


def render_netfilter(state: Json, verbose: int = 0) -> str:
    """Render what :func:`build_netfilter` made.

    :param verbose: with every setting, every CPU's counters and the rules' counts
    """
    state = safe_tree(state)
    lines = [f"NETFILTER of net {state['net']}"]
    for part in (_hooks, _queues, _iptables, _nftables, _settings, _statistics):
        lines += part(state, verbose)
    lines += [
        f"  (not read: {part}: {reason})"
        for part, reason in state.get("absent", {}).items()
        if reason != "not-applicable"
    ]
    return "\n".join(lines) + "\n"


def _hooks(state: Json, _verbose: int) -> Iterator[str]:
    last = None
    for hook in state["hooks"] or ():
        place = f"{hook['family']} {hook['hook_name']}"
        if place != last:
            yield f"  hook {place}"
            last = place
        name = str(hook["symbol"] or hook["function"])
        if hook["chain"]:
            name = f"chain {hook['chain']} ({name})"
        module = f" [{hook['module']}]" if hook["module"] else ""
        foreign = "  OUT OF TREE" if hook["out_of_tree"] else ""
        unknown = "  in no module and not in the kernel" if hook["symbol"] is None else ""
        priority = "?" if hook["priority"] is None else hook["priority"]
        yield f"    {priority:>11}  {name}{module}{foreign}{unknown}"


def _queues(state: Json, _verbose: int) -> Iterator[str]:
    alive = state["listeners"] or {}
    for queue in state["queues"] or ():
        listens = _LISTENS[alive.get(str(queue["queue_number"]))]
        yield (
            f"  nfnetlink queue {queue['queue_number']}: {queue['waiting']} of"
            f" {queue['maximum']} packets, {queue['dropped']} dropped when full,"
            f" {queue['user_dropped']} not delivered; port {queue['peer_port']} {listens}"
        )


def _iptables(state: Json, verbose: int) -> Iterator[str]:
    for table in state["iptables"] or ():
        yield f"  {table['family']}tables -t {table['name']}"
        for chain in table["chains"]:
            name = chain["name"]
            yield f"    -P {name} {chain['policy']}" if chain["policy"] else f"    -N {name}"
            for rule in chain["rules"]:
                counts = f"  [{rule['packets']}:{rule['bytes']}]" if verbose else ""
                yield from wrap(f"-A {name} {rule['text']}{counts}", WIDTH, " " * 8, " " * 4)


def _nftables(state: Json, _verbose: int) -> Iterator[str]:
    for table in state["nftables"] or ():
        yield f"  table {table['family']} {table['name']}"
        for chain in table["chains"]:
            hook = ""
            if chain["hook"]:
                hook = (
                    f": type {chain['kind']} hook {chain['hook']}"
                    f" priority {chain['priority']}, policy {chain['policy']}"
                )
            yield f"    chain {chain['name']}{hook}"
            for rule in chain["rules"]:
                yield from wrap(rule["text"], WIDTH, " " * 10, " " * 6)


def _settings(state: Json, verbose: int) -> Iterator[str]:
    known = [
        f"{setting['name'].removeprefix('nf_conntrack_')}={setting['value']}"
        for setting in state["settings"] or ()
        if setting["value"] is not None and (verbose or "timeout" not in setting["name"])
    ]
    if known:
        yield from wrap(" ".join(known), WIDTH, " " * 4, "  nf_conntrack_: ")


def _statistics(state: Json, verbose: int) -> Iterator[str]:
    by_cpu = state["statistics"] or {}
    rows = by_cpu if verbose else {}
    if by_cpu and not verbose:
        total = {
            key: sum(row[key] for row in by_cpu.values()) for key in next(iter(by_cpu.values()))
        }
        rows = {f"all {len(by_cpu)}": total}
    for cpu, row in rows.items():
        counters = " ".join(f"{key}={row[key]}" for key in _PRINTED if key in row)
        yield from wrap(counters, WIDTH, " " * 4, f"  cpu={cpu} ")
