"""Per-CPU conntrack statistics and the entry count."""

from __future__ import annotations

import pytest
from drgn import Object

from crashkit.decode import conntrack_count, decode_conntrack_stat
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel

CPU_AREA = 0xFFFF_8882_0000_0000
STRIDE = 0x10_0000
STAT = 0x2_0000


def with_cpus(kernel: Kernel, *counters: tuple[int, int, int]) -> Object:
    net = add_namespace(kernel)
    kernel.struct("cpumask", 8, ("bits", "unsigned long [1]", 0))
    kernel.variable("__cpu_possible_mask", "struct cpumask")
    mask = kernel.prog["__cpu_possible_mask"]
    kernel.set(mask.address_of_(), {"bits[0]": (1 << len(counters)) - 1})
    kernel.variable("nr_cpu_ids", "unsigned int", len(counters))
    kernel.variable("__per_cpu_offset", "unsigned long [8]")
    for cpu, (found, failed, drop) in enumerate(counters):
        area = CPU_AREA + cpu * STRIDE
        offsets = kernel.prog["__per_cpu_offset"][cpu]
        assert offsets.address_ is not None
        kernel.put(offsets.address_, area.to_bytes(8, "little"))
        kernel.allocate(
            "struct ip_conntrack_stat", area + STAT, found=found, insert_failed=failed, drop=drop
        )
    kernel.set(net, {"ct.stat": STAT})
    return net


def test_sums_over_cpus() -> None:
    stat = decode_conntrack_stat(with_cpus(modern_kernel(), (1, 2, 3), (10, 20, 30)))
    assert stat.counters == {"found": 11, "insert_failed": 22, "drop": 33}
    assert (stat.cpus, stat.missing_cpus) == (2, ())


def test_a_cpu_whose_page_is_missing_is_named() -> None:
    kernel = modern_kernel()
    net = with_cpus(kernel, (1, 2, 3), (10, 20, 30))
    kernel.drop(CPU_AREA + STRIDE + STAT)
    stat = decode_conntrack_stat(net)
    assert (stat.counters["found"], stat.cpus, stat.missing_cpus) == (1, 1, (1,))
    kernel.drop(CPU_AREA + STAT)
    with pytest.raises(Unavailable) as caught:
        decode_conntrack_stat(net)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_wild_namespace_and_unknown_masks() -> None:
    kernel = modern_kernel()
    with pytest.raises(Unavailable) as caught:
        decode_conntrack_stat(Object(kernel.prog, "struct net *", 16))
    assert caught.value.reason is Reason.CORRUPTED
    with pytest.raises(Unavailable) as caught:
        decode_conntrack_stat(add_namespace(kernel))
    assert caught.value.reason is Reason.NO_DEBUGINFO


def test_count_in_the_namespace() -> None:
    kernel = el7_kernel()
    net = add_namespace(kernel)
    kernel.set(net, {"ct.count": (123).to_bytes(4, "little")})
    assert conntrack_count(net) == 123


def test_count_in_generic_data() -> None:
    kernel = modern_kernel()
    net = add_namespace(kernel)
    data = kernel.allocate("struct nf_conntrack_net")
    kernel.set(data, {"count": (456).to_bytes(4, "little")})
    generic = kernel.allocate("struct net_generic", **{"s.len": 3})
    kernel.put(generic.value_() + 16, data.value_().to_bytes(8, "little"))
    kernel.set(net, {"gen": generic.value_()})
    kernel.variable("nf_conntrack_net_id", "unsigned int", 2)
    assert conntrack_count(net) == 456
    kernel.forget("nf_conntrack_net_id")
    with pytest.raises(Unavailable) as caught:
        conntrack_count(net)
    assert caught.value.reason is Reason.NO_DEBUGINFO
