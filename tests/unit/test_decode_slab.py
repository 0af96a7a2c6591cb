"""Slab identity over drgn's slab helpers, whose failures become reasons."""

from __future__ import annotations

from typing import Any

import pytest
from drgn import FaultError, Object, ObjectNotFoundError
from drgn.helpers.linux.common import IdentifiedSlabObject
from drgn.helpers.linux.slab import SlabCorruptionError, SlabObjectInfo

from crashkit.decode import address as address_module
from crashkit.decode import conntrack_cache, slab_identity
from crashkit.decode import identity as identity_module
from crashkit.errors import Reason, Unavailable
from tests.unit.kernel_doubles import Kernel, add_namespace
from tests.unit.netfilter_doubles import el7_kernel, modern_kernel
from tests.unit.slab_doubles import make_slab

STALE = 0xFFFF_893C_A41E_5140


def cache_named(kernel: Kernel, name: bytes) -> Object:
    cache = kernel.allocate("struct kmem_cache", object_size=0x138)
    text = cache.value_() + 48
    kernel.put(text, name.ljust(16, b"\0"))
    kernel.set(cache, {"name": text})
    return cache


def answer(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    def slab_object_info(_prog: object, _address: int) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("crashkit.decode.slab.slab_object_info", slab_object_info)


def info(cache: Object, start: int, allocated: bool | None) -> SlabObjectInfo:
    return SlabObjectInfo(cache, cache, start, allocated)


@pytest.mark.parametrize("kept_by", [0, 1])
def test_what_a_stopped_cpu_keeps_is_free(monkeypatch: pytest.MonkeyPatch, kept_by: int) -> None:
    made = make_slab(monkeypatch)
    head = made.link(2)
    made.kernel.set(made.own[kept_by], {"slab": made.slab.value_(), "freelist": head})
    found = {}
    for index in (1, 2):  # drgn has asked the online ones only: none of these
        answer(monkeypatch, SlabObjectInfo(made.cache, made.slab, made.start(index), True))
        found[index] = slab_identity(made.kernel.prog, made.start(index)).allocated
    assert found == {1: True, 2: False}


def test_a_damaged_free_list_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_slab(monkeypatch)
    made.kernel.set(made.slab, {"freelist": 0x41414141})
    for said in (True, None):
        answer(monkeypatch, SlabObjectInfo(made.cache, made.slab, made.start(0), said))
        found = slab_identity(made.kernel.prog, made.start(0))
        assert found.allocated is None
        assert found.absent["allocated"].reason is Reason.CORRUPTED


def test_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = modern_kernel()
    cache = cache_named(kernel, b"nf_\x1bconn")
    kernel.prog.cache["crashkit.slab_aliases"] = {cache.value_(): ("other",)}
    answer(monkeypatch, info(cache, STALE, True))
    found = slab_identity(kernel.prog, STALE + 0x38)
    assert (found.object_start, found.offset, found.is_start) == (STALE, 0x38, False)
    assert (found.cache_name, found.aliases) == ("nf_\\x1bconn", ("other",))
    assert (found.object_size, found.allocated) == (0x138, True)
    assert found.belongs_to(cache.value_())
    assert not found.belongs_to(cache.value_() + 64)
    assert not found.absent


def test_unknown_parts_keep_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = modern_kernel()
    cache = cache_named(kernel, b"nf_conntrack")
    kernel.set(cache, {"name": 0xFFFF_9000_0000_0000})
    answer(monkeypatch, info(cache, STALE, None))
    found = slab_identity(kernel.prog, STALE)
    assert found.is_start
    assert (found.cache_name, found.aliases, found.allocated) == (None, None, None)
    assert found.absent["cache_name"].reason is Reason.NOT_IN_DUMP
    assert found.absent["aliases"].reason is Reason.NO_DEBUGINFO
    assert found.absent["allocated"].reason is Reason.NOT_IN_DUMP


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, Reason.NOT_APPLICABLE),
        (FaultError("page not saved", STALE), Reason.NOT_IN_DUMP),
        (ObjectNotFoundError("no vmemmap", name="vmemmap"), Reason.NO_DEBUGINFO),
        (LookupError("could not find 'struct slab'"), Reason.NO_DEBUGINFO),
        (AttributeError("no member 'node_mem_map'"), Reason.NO_DEBUGINFO),
        (SlabCorruptionError("freelist contains cycle"), Reason.CORRUPTED),
        (NotImplementedError("architecture"), Reason.UNSUPPORTED),
    ],
)
def test_failures_become_reasons(
    monkeypatch: pytest.MonkeyPatch, result: Any, reason: Reason
) -> None:
    answer(monkeypatch, result)
    with pytest.raises(Unavailable) as caught:
        slab_identity(modern_kernel().prog, STALE)
    assert caught.value.reason is reason


def test_a_wild_address_and_a_wild_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = modern_kernel()
    with pytest.raises(Unavailable) as caught:
        slab_identity(kernel.prog, 0xA30)
    assert caught.value.reason is Reason.NOT_APPLICABLE
    wild = Object(kernel.prog, "struct kmem_cache *", 0x6B6B6B6B6B6B6B6B)
    answer(monkeypatch, info(wild, STALE, True))
    with pytest.raises(Unavailable) as caught:
        slab_identity(kernel.prog, STALE)
    assert caught.value.reason is Reason.CORRUPTED


def test_the_one_conntrack_cache() -> None:
    kernel = modern_kernel()
    with pytest.raises(Unavailable) as caught:
        conntrack_cache(kernel.prog)
    assert caught.value.reason is Reason.NO_DEBUGINFO
    cache = cache_named(kernel, b"nf_conntrack")
    kernel.variable("nf_conntrack_cachep", "struct kmem_cache *", cache.value_())
    assert conntrack_cache(kernel.prog) == cache.value_()


def test_the_conntrack_cache_of_a_namespace() -> None:
    kernel = el7_kernel()
    net = add_namespace(kernel)
    cache = cache_named(kernel, b"nf_conntrack_1")
    kernel.set(net, {"ct.nf_conntrack_cachep": cache.value_()})
    assert conntrack_cache(kernel.prog, net) == cache.value_()
    with pytest.raises(Unavailable) as caught:
        conntrack_cache(kernel.prog)
    assert caught.value.reason is Reason.AMBIGUOUS
    kernel.set(net, {"ct.nf_conntrack_cachep": 0})
    with pytest.raises(Unavailable) as caught:
        conntrack_cache(kernel.prog, net)
    assert caught.value.reason is Reason.CORRUPTED


def test_identify_symbols_and_nothing() -> None:
    kernel = modern_kernel()
    kernel.symbol("init_net", 0xFFFF_FFFF_A031_5E40, 0x1000)
    identify = identity_module.identify
    assert identify(kernel.prog, 0xFFFF_FFFF_A031_5E40) == "init_net"
    assert identify(kernel.prog, 0xFFFF_FFFF_A031_5E50) == "init_net+0x10"
    assert identify(kernel.prog, 0xFFFF_FFFF_B000_0000) is None
    assert identify(kernel.prog, 0xA30) is None


def test_identify_slab_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = modern_kernel()
    cache = cache_named(kernel, b"nf_conntrack")
    states = {True: "slab object", False: "free slab object", None: "slab object"}
    for allocated, words in states.items():
        found = IdentifiedSlabObject(STALE + 8, info(cache, STALE, allocated))

        def identified(*_args: object, found: object = found, **_more: object) -> Any:
            return iter([found])

        monkeypatch.setattr(address_module, "identify_address_all", identified)
        text = identity_module.identify(kernel.prog, STALE + 8)
        assert text == f"{words} nf_conntrack+0x8"


def test_identify_survives_what_drgn_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_more: object) -> Any:
        raise FaultError("page not saved", STALE)

    kernel = modern_kernel()
    monkeypatch.setattr(address_module, "identify_address_all", fails)
    answer(monkeypatch, None)
    assert identity_module.identify(kernel.prog, STALE) is None
    answer(monkeypatch, info(cache_named(kernel, b"nf_conntrack"), STALE, False))
    assert identity_module.identify(kernel.prog, STALE) == "free slab object nf_conntrack"


def test_identify_per_cpu_data() -> None:
    kernel = modern_kernel()
    kernel.struct("cpumask", 8, ("bits", "unsigned long [1]", 0))
    mask = kernel.variable("__cpu_possible_mask", "struct cpumask")
    kernel.set(mask, {"bits[0]": 3})
    kernel.variable("nr_cpu_ids", "unsigned int", 2)
    offsets = kernel.variable("__per_cpu_offset", "unsigned long [2]")
    kernel.put(offsets.value_() + 8, (0xFFFF_8882_0010_0000).to_bytes(8, "little"))
    kernel.put(offsets.value_(), (0xFFFF_8882_0000_0000).to_bytes(8, "little"))
    kernel.symbol("__per_cpu_start", 0, 1)
    kernel.symbol("__per_cpu_end", 0x3_4000, 1)
    kernel.symbol("runqueues", 0x2_0000, 0x1000)
    text = identity_module.identify(kernel.prog, 0xFFFF_8882_0012_0010)
    assert text == "per-CPU runqueues+0x10 of CPU 1"
