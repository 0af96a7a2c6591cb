"""net_device and struct net on both layouts, whole and damaged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drgn import Object

from crashkit.decode import decode_net, decode_net_device, net_generic
from crashkit.decode.net_device import is_device_name, is_registered
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace, list_of
from tests.unit.netfilter_doubles import el7_kernel, ens192, modern_kernel

MakeKernel = Callable[[], Kernel]
both = pytest.mark.parametrize("make", [modern_kernel, el7_kernel])


@both
def test_device(make: MakeKernel) -> None:
    kernel = make()
    device = ens192(kernel)
    wrapped = kernel.knows("possible_net")
    kernel.set(device, {"nd_net.net" if wrapped else "nd_net": 0xFFFFFFFFA0315E40})
    facts = decode_net_device(device)
    assert (facts.name, facts.ifindex, facts.mtu) == ("ens192", 2, 1500)
    assert facts.hardware_address == "00:50:56:aa:bb:cc"
    assert (facts.flags, facts.operstate, facts.reg_state) == (0x1003, 6, 1)
    assert facts.net == 0xFFFFFFFFA0315E40
    assert not facts.absent


def test_device_with_absurd_address_length_and_a_wild_address() -> None:
    kernel = modern_kernel()
    device = ens192(kernel)
    kernel.set(device, {"addr_len": 200})
    assert decode_net_device(device).absent["hardware_address"].reason is Reason.CORRUPTED
    kernel.set(device, {"addr_len": 6, "dev_addr": 0x4141})
    assert decode_net_device(device).absent["hardware_address"].reason is Reason.NOT_IN_DUMP
    kernel.set(device, {"addr_len": 0})
    assert decode_net_device(device).hardware_address == ""


@both
def test_device_wild_and_missing(make: MakeKernel) -> None:
    kernel = make()
    with pytest.raises(Unavailable) as caught:
        decode_net_device(Object(kernel.prog, "struct net_device *", 0x100))
    assert caught.value.reason is Reason.CORRUPTED
    device = ens192(kernel)
    kernel.drop(device.value_())
    with pytest.raises(Unavailable) as caught:
        decode_net_device(device)
    assert caught.value.reason is Reason.NOT_IN_DUMP


@pytest.mark.parametrize(
    ("name", "good"),
    [(b"ens192", True), (b"", False), (b"a/b", False), (b"a b", False), (b"\xff", False)],
)
def test_device_names(name: bytes, good: bool) -> None:
    assert is_device_name(name) is good


def test_registered_devices_over_a_damaged_list() -> None:
    kernel = modern_kernel()
    first, second, third = ens192(kernel), ens192(kernel), ens192(kernel)
    net = add_namespace(kernel, first, second)
    far = ens192(kernel, 0xFFFF_8880_0900_0000)
    list_of(kernel, net.dev_base_head.address_of_(), "dev_list", first, far, second)
    kernel.drop(far.value_())
    assert is_registered(kernel.prog, first.value_())
    with pytest.raises(Unavailable) as caught:
        is_registered(kernel.prog, third.value_())
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_a_cycle_of_devices_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crashkit.decode.net_device.MAX_DEVICES", 50)
    kernel = modern_kernel()
    first, second = ens192(kernel), ens192(kernel)
    add_namespace(kernel, first, second)
    kernel.set(second, {"dev_list.next": first.dev_list.address_of_().value_()})
    assert is_registered(kernel.prog, second.value_())
    with pytest.raises(Unavailable) as caught:
        is_registered(kernel.prog, ens192(kernel).value_())
    assert caught.value.reason is Reason.BUDGET


def test_namespace() -> None:
    kernel = modern_kernel()
    net = add_namespace(kernel)
    kernel.set(net, {"ns.inum": 4026531840, "ns.count": b"\3\0\0\0"})
    facts = decode_net(net)
    assert (facts.is_init_net, facts.inode, facts.count) == (True, 4026531840, 3)
    assert facts.listed is True
    dying = decode_net(kernel.allocate("struct net"))
    assert (dying.is_init_net, dying.count, dying.listed) == (False, 0, False)


def test_older_namespace() -> None:
    kernel = el7_kernel()
    net = add_namespace(kernel)
    kernel.set(net, {"proc_inum": 4026531968, "count": b"\2\0\0\0"})
    facts = decode_net(net)
    assert (facts.inode, facts.count) == (4026531968, 2)


@both
def test_namespace_wild_and_missing(make: MakeKernel) -> None:
    kernel = make()
    with pytest.raises(Unavailable) as caught:
        decode_net(Object(kernel.prog, "struct net *", 0))
    assert caught.value.reason is Reason.CORRUPTED
    kernel.forget("init_net")
    with pytest.raises(Unavailable):
        decode_net(Object(kernel.prog, "struct net *", 0xFFFF_9000_0000_0000))


@pytest.mark.parametrize(("make", "slot"), [(modern_kernel, 5), (el7_kernel, 4)])
def test_net_generic_indexes_as_the_kernel_does(make: MakeKernel, slot: int) -> None:
    kernel = make()
    net = add_namespace(kernel)
    array = kernel.type("struct net_generic").members
    assert array is not None
    base = next(m.offset for m in array if m.name == "ptr")
    generic = kernel.allocate("struct net_generic")
    kernel.put(generic.value_() + base, bytes(8 * 8))
    length = "s.len" if kernel.type("struct net_generic").has_member("s") else "len"
    data = 0xFFFF_8880_00AA_0000
    kernel.put(generic.value_() + base + 8 * slot, data.to_bytes(8, "little"))
    kernel.set(generic, {length: 8})
    kernel.set(net, {"gen": generic.value_()})
    kernel.variable("queue_id", "unsigned int", 5)
    found = net_generic(net, "queue_id", "struct nfnl_queue_net")
    assert found.value_() == data
    assert found.type_.type_name() == "struct nfnl_queue_net *"


def test_net_generic_beyond_its_length_is_corrupted() -> None:
    kernel = modern_kernel()
    net = add_namespace(kernel)
    generic = kernel.allocate("struct net_generic", **{"s.len": 3})
    kernel.set(net, {"gen": generic.value_()})
    kernel.variable("queue_id", "unsigned int", 3)
    with pytest.raises(Unavailable) as caught:
        net_generic(net, "queue_id", "struct nfnl_queue_net")
    assert caught.value.reason is Reason.CORRUPTED
    with pytest.raises(Unavailable) as caught:
        net_generic(net, "other_id", "struct nfnl_queue_net")
    assert caught.value.reason is Reason.NO_DEBUGINFO
