"""Netfilter hooks: which functions see a packet, in which order, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drgn import Object, Program, TypeKind, cast
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.module import address_to_module
from drgn.helpers.linux.net import for_each_netdev

from crashkit.decode.fields import has_member, naming, pointer, printable, resolve, text_at
from crashkit.decode.net_device import MAX_DEVICES
from crashkit.decode.nfqueue import HOOK_NAMES, PROTOCOL_FAMILY_NAMES
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, is_kernel_address
from crashkit.value import facts

MAX_FUNCTIONS = 1024
"""MAX_HOOK_COUNT in net/netfilter/core.c."""
_TAINT_OUT_OF_TREE = 12  # include/linux/panic.h: TAINT_OOT_MODULE
_BY_MEMBER = {"hooks_ipv4": 2, "hooks_ipv6": 10, "hooks_arp": 3, "hooks_bridge": 7}
_NETDEV = 5
_NETDEV_HOOKS = {0: "INGRESS", 1: "EGRESS"}
_ARP_HOOKS = {0: "IN", 1: "OUT", 2: "FORWARD"}
_BRIDGE_HOOKS = {**HOOK_NAMES, 5: "BROUTING"}


@facts
class HookFunction:
    """One function of a hook."""

    pf: int
    """NFPROTO_..."""
    family: str
    hook: int
    hook_name: str
    position: int
    """Place in the order in which the hook's functions are called, from 0."""
    function: int
    """Address."""
    symbol: str | None
    """Its name; None: no symbol is known."""
    module: str | None
    """Module it is in; None: in the kernel itself, or in no module that is loaded."""
    out_of_tree: bool | None
    """Whether that module is marked as not of the kernel's source; None: nothing is known there."""
    priority: int | None
    """Signed; functions with lower ones come first."""
    chain: str | None
    """nftables chain that it runs: ``inet lab input``."""


def hook_functions(net: Object) -> tuple[HookFunction, ...]:
    """List the functions of a namespace's hooks, in calling order.

    :param net: ``struct net *``
    :raises Unavailable: the kernel keeps them in a way not known here, or pages are missing
    """
    pointer(net, "struct net")
    with naming("netfilter hooks"):
        return tuple(
            _decode(pf, hook, position, entry)
            for pf, hook, entries in _hooks(net)
            for position, entry in enumerate(bounded(entries, MAX_FUNCTIONS, "hook functions"))
        )


@dataclass(frozen=True)
class _Entry:
    function: int
    ops: Object | None
    # ``struct nf_hook_ops *``


def _hooks(net: Object) -> Iterator[tuple[int, int, Iterator[_Entry]]]:
    with naming("net->nf"):
        found = False
        for name, pf in _BY_MEMBER.items():
            # One array for each family since v4.16 (include/net/netns/netfilter.h).
            if has_member(net, "nf") and has_member(net.nf, name):
                found = True
                yield from ((pf, hook, _of(head)) for hook, head in enumerate(net.nf.member_(name)))
        if found:
            yield from _device_hooks(net)
            return
        table = _older_table(net)
        for pf, row in enumerate(table):
            for hook, head in enumerate(row):
                yield pf, hook, _of(head)


def _device_hooks(net: Object) -> Iterator[tuple[int, int, Iterator[_Entry]]]:
    for dev in bounded(for_each_netdev(net), MAX_DEVICES, "devices"):
        for hook, name in enumerate(("nf_hooks_ingress", "nf_hooks_egress")):
            if has_member(dev, name):
                yield _NETDEV, hook, _of(dev.member_(name))


def _older_table(net: Object) -> Object:
    # net->nf.hooks since Linux kernel commit 085db2c04557 ("netfilter: Per network namespace
    # netfilter hooks.") (in v4.3); one global table of lists before.
    if has_member(net, "nf") and has_member(net.nf, "hooks"):
        return net.nf.hooks
    return net.prog_["nf_hooks"]


def _of(head: Object) -> Iterator[_Entry]:
    kind = resolve(head.type_)
    if kind.kind is not TypeKind.POINTER:
        return _from_list(head)
    name = resolve(kind.type).tag
    if name == "nf_hook_entries":
        return _from_array(head)
    if name == "nf_hook_entry":
        return _from_chain(head)
    raise Unavailable("netfilter hooks", Reason.UNSUPPORTED, f"they are struct {name}")


def _from_array(head: Object) -> Iterator[_Entry]:
    # Since Linux kernel commit 960632ece694 ("netfilter: convert hook list to an array") (in
    # v4.14). The ops follow the array: nf_hook_entries_get_hook_ops().
    entries = head.read_()
    if not entries:
        return
    pointer(entries, "nf_hook_entries")
    count = int(entries.num_hook_entries.value_())
    if count > MAX_FUNCTIONS:
        raise Unavailable("netfilter hooks", Reason.CORRUPTED, f"{count} functions")
    behind = cast("struct nf_hook_ops **", entries.hooks[count].address_of_())
    for index in range(count):
        yield _Entry(int(entries.hooks[index].hook.value_()), behind[index].read_())


def _from_chain(head: Object) -> Iterator[_Entry]:
    # v4.9 to v4.13: entries linked by ``next``; ops in the entry, by pointer since v4.10
    entry = head.read_()
    while entry:
        pointer(entry, "nf_hook_entry")
        ops = entry.member_("ops" if has_member(entry, "ops") else "orig_ops")
        if resolve(ops.type_).kind is not TypeKind.POINTER:
            ops = ops.address_of_()
        yield _Entry(int(ops.hook.value_()), ops.read_())
        entry = entry.next.read_()


def _from_list(head: Object) -> Iterator[_Entry]:
    for ops in list_for_each_entry("struct nf_hook_ops", head.address_of_(), "list"):
        yield _Entry(int(ops.hook.value_()), ops)


def _decode(pf: int, hook: int, position: int, entry: _Entry) -> HookFunction:
    names = {3: _ARP_HOOKS, 5: _NETDEV_HOOKS, 7: _BRIDGE_HOOKS}.get(pf, HOOK_NAMES)
    ops = entry.ops
    prog = None if ops is None else ops.prog_
    module = None if prog is None else _module(prog, entry.function)
    symbol = None if prog is None else symbol_name(prog, entry.function)
    return HookFunction(
        pf=pf,
        family=PROTOCOL_FAMILY_NAMES.get(pf, str(pf)),
        hook=hook,
        hook_name=names.get(hook, str(hook)),
        position=position,
        function=entry.function,
        symbol=symbol,
        module=None if module is None else printable(module.name.string_()),
        out_of_tree=_is_out_of_tree(module, symbol),
        priority=_priority(ops),
        chain=_chain(ops),
    )


def symbol_name(prog: Program, address: int) -> str | None:
    """Name the function at an address; None when no symbol begins there."""
    try:
        symbol = prog.symbol(address)
    except LookupError:
        return None
    return symbol.name if symbol.address == address else None


def _module(prog: Program, address: int) -> Object | None:
    with naming("modules"):
        found = address_to_module(prog, address)
    return found or None


def _is_out_of_tree(module: Object | None, symbol: str | None) -> bool | None:
    if module is None:  # a symbol in no module is the kernel's own
        return None if symbol is None else False
    return bool(int(module.taints.value_()) >> _TAINT_OUT_OF_TREE & 1)


def _priority(ops: Object | None) -> int | None:
    if ops is None or not is_kernel_address(int(ops.value_())):
        return None
    with naming("nf_hook_ops"):
        return int(ops.priority.value_())


def _chain(ops: Object | None) -> str | None:
    # NF_HOOK_OP_NF_TABLES since Linux kernel commit 7b4b2fa37587 ("netfilter: annotate nf_tables
    # base hook ops") (in v5.14): priv is the chain.
    if ops is None or not has_member(ops, "hook_ops_type"):
        return None
    with naming("nft chain"):
        kinds = {e.name: e.value for e in ops.hook_ops_type.type_.enumerators or ()}
        if int(ops.hook_ops_type.value_()) != kinds.get("NF_HOOK_OP_NF_TABLES"):
            return None
        chain = cast("struct nft_chain *", ops.priv.read_())
        pointer(chain, "nft chain")
        table = chain.table.read_()
        family = NFT_FAMILIES.get(int(table.family.value_()), "?")
        prog = ops.prog_
        names = [text_at(prog, int(obj.name.value_()), 256) for obj in (table, chain)]
        return " ".join((family, *names))


NFT_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
"""NFPROTO_... to the word ``nft`` has for it."""
