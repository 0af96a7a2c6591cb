"""Hook lists in the three shapes that kernels have, and damage."""

from __future__ import annotations

from itertools import pairwise

import pytest
from drgn import Object

from crashkit.decode import hooks as hooks_
from crashkit.decode.hooks import MAX_FUNCTIONS, hook_functions
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, list_of

FIRST, SECOND = 0xFFFF_FFFF_C086_0000, 0xFFFF_FFFF_C086_1000


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    made.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    made.struct(
        "nf_hook_ops",
        48,
        ("list", "struct list_head", 0),
        ("hook", "void *", 16),
        ("pf", "u8", 24),
        ("hooknum", "u32", 28),
        ("priority", "int", 32),
    )
    made.struct("module", 64, ("name", "char [32]", 0), ("taints", "unsigned long", 32))
    foreign = made.allocate("struct module", name=b"acme_fw", taints=1 << 12)
    own = made.allocate("struct module", name=b"nf_conntrack", taints=0)
    modules = {FIRST: own, SECOND: foreign}
    made.symbol("ipv4_confirm", FIRST, 16)
    made.symbol("acme_hook", SECOND, 16)
    monkeypatch.setattr(
        hooks_,
        "address_to_module",
        lambda prog, address: modules.get(address, Object(prog, "struct module *", 0)),
    )
    return made


def operations(kernel: Kernel, function: int, priority: int) -> Object:
    return kernel.allocate("struct nf_hook_ops", hook=function, priority=priority, pf=2, hooknum=4)


def arrays(kernel: Kernel, *functions: tuple[int, int]) -> Object:
    """A namespace of a kernel with ``struct nf_hook_entries``."""
    kernel.struct("nf_hook_entry", 16, ("hook", "void *", 0), ("priv", "void *", 8))
    kernel.struct(
        "nf_hook_entries",
        8,
        ("num_hook_entries", "u16", 0),
        ("hooks", "struct nf_hook_entry [0]", 8),
    )
    heads = "struct nf_hook_entries * [5]"
    kernel.struct("netns_nf", 80, ("hooks_ipv4", heads, 0), ("hooks_ipv6", heads, 40))
    kernel.struct(
        "net", 128, ("nf", "struct netns_nf", 0), ("dev_base_head", "struct list_head", 96)
    )
    net = kernel.allocate("struct net")
    list_of(kernel, net.dev_base_head.address_of_(), "dev_list")
    entries = 0xFFFF_8880_0077_0000
    kernel.put(entries, len(functions).to_bytes(8, "little"))
    at = entries + 8
    for function, _priority in functions:
        kernel.put(at, function.to_bytes(8, "little") + bytes(8))
        at += 16
    for function, priority in functions:
        kernel.put(at, operations(kernel, function, priority).value_().to_bytes(8, "little"))
        at += 8
    kernel.set(net, {"nf.hooks_ipv4[4]": entries})
    return net


def test_arrays(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_, "for_each_netdev", lambda _net: iter(()))
    net = arrays(kernel, (SECOND, -300), (FIRST, 0x7FFF_FFFF))
    first, second = hook_functions(net)
    assert (first.family, first.hook_name, first.position) == ("IPV4", "POST_ROUTING", 0)
    assert (first.symbol, first.module, first.out_of_tree) == ("acme_hook", "acme_fw", True)
    assert first.priority == -300
    assert (second.symbol, second.out_of_tree, second.priority) == (
        "ipv4_confirm",
        False,
        0x7FFF_FFFF,
    )


def test_a_function_that_is_in_nothing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_, "for_each_netdev", lambda _net: iter(()))
    (only,) = hook_functions(arrays(kernel, (0xFFFF_FFFF_C0DE_0000, 1)))
    assert (only.symbol, only.module, only.out_of_tree) == (None, None, None)
    assert only.function == 0xFFFF_FFFF_C0DE_0000


def test_an_impossible_count(kernel: Kernel) -> None:
    net = arrays(kernel, (FIRST, 0))
    entries = int(net.nf.hooks_ipv4[4])
    kernel.put(entries, (MAX_FUNCTIONS + 1).to_bytes(8, "little"))
    with pytest.raises(Unavailable) as caught:
        hook_functions(net)
    assert caught.value.reason is Reason.CORRUPTED


def chained(kernel: Kernel, *functions: tuple[int, int]) -> tuple[Object, list[Object]]:
    """A namespace of a kernel with ``struct nf_hook_entry`` linked by ``next``."""
    kernel.struct(
        "nf_hook_entry",
        72,
        ("next", "struct nf_hook_entry *", 0),
        ("ops", "struct nf_hook_ops", 8),
        ("orig_ops", "struct nf_hook_ops *", 56),
    )
    kernel.struct("netns_nf", 128, ("hooks", "struct nf_hook_entry * [5][3]", 0))
    kernel.struct("net", 128, ("nf", "struct netns_nf", 0))
    net = kernel.allocate("struct net")
    entries = [
        kernel.allocate("struct nf_hook_entry", **{"ops.hook": f, "ops.priority": p})
        for f, p in functions
    ]
    for here, following in pairwise(entries):
        kernel.set(here, {"next": following.value_()})
    kernel.set(net, {"nf.hooks[2][0]": entries[0].value_()})
    return net, entries


def test_chains(kernel: Kernel) -> None:
    net, _entries = chained(kernel, (FIRST, -200), (SECOND, 100))
    seen = [(h.family, h.hook_name, h.position, h.symbol, h.priority) for h in hook_functions(net)]
    assert seen == [
        ("IPV4", "PRE_ROUTING", 0, "ipv4_confirm", -200),
        ("IPV4", "PRE_ROUTING", 1, "acme_hook", 100),
    ]


def test_a_chain_that_is_a_cycle_ends(kernel: Kernel) -> None:
    net, entries = chained(kernel, (FIRST, 0), (SECOND, 0))
    kernel.set(entries[1], {"next": entries[0].value_()})
    with pytest.raises(Unavailable) as caught:
        hook_functions(net)
    assert caught.value.reason is Reason.BUDGET


def test_one_table_for_all_namespaces(kernel: Kernel) -> None:
    kernel.struct("net", 64, ("count", "int", 0))
    table = kernel.variable("nf_hooks", "struct list_head [3][2]")
    for pf in range(3):
        for hook in range(2):
            list_of(kernel, table[0][pf][hook].address_of_(), "list")
    list_of(
        kernel,
        table[0][2][1].address_of_(),
        "list",
        operations(kernel, FIRST, -400),
        operations(kernel, SECOND, 0),
    )
    seen = [
        (h.family, h.hook_name, h.symbol) for h in hook_functions(kernel.allocate("struct net"))
    ]
    assert seen == [("IPV4", "LOCAL_IN", "ipv4_confirm"), ("IPV4", "LOCAL_IN", "acme_hook")]


def test_a_missing_page(kernel: Kernel) -> None:
    net, entries = chained(kernel, (FIRST, 0))
    kernel.set(net, {"nf.hooks[2][0]": 0xFFFF_8880_0666_0000})
    assert entries
    with pytest.raises(Unavailable) as caught:
        hook_functions(net)
    assert caught.value.reason is Reason.NOT_IN_DUMP
