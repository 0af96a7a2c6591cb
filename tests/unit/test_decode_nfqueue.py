"""NFQUEUE entries on both layouts, and the queues of a namespace."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode import (
    decode_queue_entry,
    for_each_queue,
    for_each_queue_entry,
    queue_instances,
)
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace, list_of
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel

SKB = 0xFFFF_893C_9491_A500


def with_queue(kernel: Kernel, *entries: Object) -> Object:
    net = add_namespace(kernel)
    data = kernel.allocate("struct nfnl_queue_net")
    generic = kernel.allocate("struct net_generic", **{"s.len": 3})
    kernel.put(generic.value_() + 16, data.value_().to_bytes(8, "little"))
    kernel.set(net, {"gen": generic.value_()})
    kernel.variable("nfnl_queue_net_id", "unsigned int", 2)
    queue = kernel.allocate(
        "struct nfqnl_instance", queue_num=7, queue_total=2, queue_maxlen=1024, peer_portid=129
    )
    kernel.set(data, {"instance_table[3].first": queue.value_()})
    list_of(kernel, queue.queue_list.address_of_(), "list", *entries)
    return net


def test_entry() -> None:
    kernel = modern_kernel()
    entry = kernel.allocate(
        "struct nf_queue_entry", skb=SKB, id=9, hook_index=1, **{"state.pf": 2, "state.hook": 4}
    )
    facts = decode_queue_entry(entry)
    assert (facts.skb, facts.id, facts.pf, facts.hook, facts.hook_index) == (SKB, 9, 2, 4, 1)
    assert (facts.in_device, facts.out_device, facts.net) == (0, 0, 0)
    assert not facts.absent


def test_older_entry() -> None:
    kernel = el7_kernel()
    entry = kernel.allocate("struct nf_queue_entry", skb=SKB, pf=10, hook=1, indev=0x1000)
    facts = decode_queue_entry(entry)
    assert (facts.skb, facts.pf, facts.hook, facts.in_device) == (SKB, 10, 1, 0x1000)
    assert facts.absent["hook_index"].reason is Reason.NOT_APPLICABLE
    assert facts.absent["net"].reason is Reason.NOT_APPLICABLE


def test_entry_wild_and_missing() -> None:
    kernel = modern_kernel()
    with pytest.raises(Unavailable) as caught:
        decode_queue_entry(Object(kernel.prog, "struct nf_queue_entry *", 0x5A5A5A5A5A5A5A5A))
    assert caught.value.reason is Reason.CORRUPTED
    entry = kernel.allocate("struct nf_queue_entry")
    kernel.drop(entry.value_())
    with pytest.raises(Unavailable) as caught:
        decode_queue_entry(entry)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_queues_and_their_packets() -> None:
    kernel = modern_kernel()
    packets = [kernel.allocate("struct nf_queue_entry", id=n) for n in (1, 2)]
    net = with_queue(kernel, *packets)
    (queue,) = queue_instances(kernel.prog, net)
    assert (queue.queue_number, queue.waiting, queue.maximum, queue.peer_port) == (7, 2, 1024, 129)
    (instance,) = for_each_queue(kernel.prog, net)
    waiting = [entry.id.value_() for entry in for_each_queue_entry(instance)]
    assert waiting == [1, 2]


def test_a_cycle_of_packets_is_corrupted() -> None:
    kernel = modern_kernel()
    packets = [kernel.allocate("struct nf_queue_entry", id=n) for n in (1, 2)]
    net = with_queue(kernel, *packets)
    kernel.set(packets[1], {"list.next": packets[0].value_()})
    (instance,) = for_each_queue(kernel.prog, net)
    with pytest.raises(Unavailable) as caught:
        list(for_each_queue_entry(instance))
    assert caught.value.reason is Reason.CORRUPTED


def test_a_cycle_of_queues_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crashkit.decode.nfqueue.MAX_QUEUES", 20)
    kernel = modern_kernel()
    net = with_queue(kernel)
    (instance,) = for_each_queue(kernel.prog, net)
    kernel.set(instance, {"hlist.next": instance.value_()})
    with pytest.raises(Unavailable) as caught:
        queue_instances(kernel.prog, net)
    assert caught.value.reason is Reason.BUDGET


def test_without_types_or_without_the_module() -> None:
    kernel = modern_kernel()
    net = with_queue(kernel)
    kernel.forget("nfnl_queue_net")
    with pytest.raises(Unavailable) as caught:
        queue_instances(kernel.prog, net)
    assert caught.value.reason is Reason.NO_DEBUGINFO
    kernel.struct("module", 64, ("name", "char [16]", 0), ("list", "struct list_head", 16))
    module = kernel.allocate("struct module", name=b"nf_conntrack")
    modules = kernel.variable("modules", "struct list_head")
    list_of(kernel, modules, "list", module)
    with pytest.raises(Unavailable) as caught:
        queue_instances(kernel.prog, net)
    assert caught.value.reason is Reason.NOT_APPLICABLE
    kernel.set(module, {"name": b"nfnetlink_queue"})
    with pytest.raises(Unavailable) as caught:
        queue_instances(kernel.prog, net)
    assert caught.value.reason is Reason.NO_DEBUGINFO
