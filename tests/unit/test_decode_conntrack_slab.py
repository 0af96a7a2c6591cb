"""Slabs found in a memory map, and the free lists of their objects."""

from __future__ import annotations

from typing import Any

import pytest
from drgn import Object

from crashkit.decode.conntrack_slab import CacheSlabs, find_slabs
from crashkit.errors import Reason, Unavailable
from tests.unit.accounting_doubles import CPU_AREA, STRIDE, add_cpus
from tests.unit.kernel_doubles import Kernel, list_of
from tests.unit.netfilter_doubles import modern_kernel

MAP = 0xFFFF_EA00_0000_0000
OBJECTS = 0xFFFF_8890_0000_0000
PAGES = 256
SIZE, COUNT, LINK = 256, 16, 128
OWN = 0x4_0000
SECRET = 0x1234_5678_9ABC_DEF0


def make_kernel(monkeypatch: pytest.MonkeyPatch, *, hardened: bool = False) -> Kernel:
    """A memory map of 256 pages; pages 3 and 200 are slabs of the cache."""
    kernel = modern_kernel()
    kernel.struct("page", 64, ("flags", "unsigned long", 0))
    kernel.struct(
        "slab",
        64,
        ("slab_cache", "struct kmem_cache *", 8),
        ("freelist", "void *", 16),
        ("objects", "u32", 24),
    )
    kernel.struct("kmem_cache_cpu", 8, ("freelist", "void *", 0))
    secret = (("random", "unsigned long", 24),) if hardened else ()
    kernel.struct(
        "kmem_cache",
        64,
        ("size", "u32", 0),
        ("offset", "u32", 4),
        ("cpu_slab", "struct kmem_cache_cpu *", 16),
        *secret,
    )
    add_cpus(kernel, 2)
    cache = kernel.allocate("struct kmem_cache", size=SIZE, offset=LINK, cpu_slab=OWN)
    if hardened:
        kernel.set(cache, {"random": SECRET})
    kernel.variable("made_up", "unsigned long", cache.value_())
    for page in range(0, PAGES * 64, 4096):
        kernel.put(MAP + page, bytes(1))
    for number in (3, 200):
        kernel.allocate("struct slab", MAP + 64 * number, slab_cache=cache.value_(), objects=COUNT)
        kernel.put(objects_of(number), bytes(SIZE * COUNT))
    for cpu in range(2):
        kernel.put(CPU_AREA + cpu * STRIDE + OWN, bytes(8))
    patch(monkeypatch, kernel)
    return kernel


def patch(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    def pages(_prog: object) -> Any:
        yield 0, PAGES, Object(kernel.prog, "struct page *", MAP)

    def virt(page: Object) -> Object:
        return Object(kernel.prog, "unsigned long", objects_of((page.value_() - MAP) // 64))

    where = "crashkit.decode.conntrack_slab."
    monkeypatch.setattr(where + "for_each_valid_page_range", pages)
    monkeypatch.setattr(where + "page_to_virt", virt)
    monkeypatch.setattr(where + "PageSlab", lambda page: page.flags.value_() != 1)


def objects_of(page: int) -> int:
    return OBJECTS + 0x1000 * page


def found(kernel: Kernel) -> CacheSlabs:
    cache = int(kernel.prog["made_up"].value_())
    return find_slabs(kernel.prog, (cache,))[cache]


def free(kernel: Kernel, head: int, *objects: int, secret: int = 0, swab: bool = True) -> None:
    """Link objects into the free list whose head is at an address."""
    kernel.put(head, (objects[0] if objects else 0).to_bytes(8, "little"))
    for here, following in zip(objects, [*objects[1:], 0], strict=True):
        place = here + LINK
        mix = int.from_bytes(place.to_bytes(8, "little"), "big") if swab else place
        stored = following ^ secret ^ mix if secret else following
        kernel.put(place, stored.to_bytes(8, "little"))


def test_slabs_are_found_by_the_address_of_their_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel(monkeypatch)
    slabs = found(kernel)
    assert [(s.first, s.count) for s in slabs.slabs] == [(objects_of(3), 16), (objects_of(200), 16)]
    addresses = [address for address, _data in slabs.objects()]
    assert len(addresses) == len(set(addresses)) == 32
    assert slabs.holds(addresses[5])
    assert not slabs.holds(addresses[5] + 8)
    assert found(kernel) is slabs


def test_a_page_that_was_a_slab_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel(monkeypatch)
    kernel.put(MAP + 64 * 200, (1).to_bytes(8, "little"))
    assert [slab.first for slab in found(kernel).slabs] == [objects_of(3)]


@pytest.mark.parametrize("swab", [True, False])
@pytest.mark.parametrize("hardened", [True, False])
def test_free_objects_of_slab_and_cpu(
    monkeypatch: pytest.MonkeyPatch, hardened: bool, swab: bool
) -> None:
    kernel = make_kernel(monkeypatch, hardened=hardened)
    secret = SECRET if hardened else 0
    first, other = objects_of(3), objects_of(200)
    on_slab = [first + SIZE * n for n in (4, 1, 9)]
    on_cpu = [other + SIZE * n for n in (15, 2)]
    free(kernel, MAP + 64 * 3 + 16, *on_slab, secret=secret, swab=swab)
    free(kernel, CPU_AREA + STRIDE + OWN, *on_cpu, secret=secret, swab=swab)
    slabs = found(kernel)
    assert {a for a, _data in slabs.objects() if slabs.is_free(a)} == {*on_slab, *on_cpu}


@pytest.mark.parametrize("next_one", [OBJECTS + 0x3000, OBJECTS + 0x3008, OBJECTS + 0xC8000, 16])
def test_a_free_list_that_is_a_cycle_or_leaves_its_slab(
    monkeypatch: pytest.MonkeyPatch, next_one: int
) -> None:
    kernel = make_kernel(monkeypatch)
    first = objects_of(3)
    free(kernel, MAP + 64 * 3 + 16, first)
    kernel.put(first + LINK, next_one.to_bytes(8, "little"))
    slabs = found(kernel)
    with pytest.raises(Unavailable) as caught:
        slabs.is_free(first + SIZE)
    assert caught.value.reason is Reason.CORRUPTED
    assert not slabs.is_free(objects_of(200)), "the other slab's list is whole"


def test_a_missing_piece_of_the_map_is_said_after_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel(monkeypatch)
    kernel.drop(MAP + 64 * 200)
    walk = found(kernel).objects()
    whole = [next(walk)[0] for _ in range(16)]
    assert whole[0] == objects_of(3)
    with pytest.raises(Unavailable) as caught:
        next(walk)
    assert caught.value.reason is Reason.NOT_IN_DUMP


def test_a_missing_slab_is_said_after_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = make_kernel(monkeypatch)
    kernel.drop(objects_of(3))
    walk = found(kernel).objects()
    assert next(walk)[0] == objects_of(200)
    with pytest.raises(Unavailable, match="1 slabs"):
        list(walk)


@pytest.mark.parametrize("size", [0, 1 << 30])
def test_an_impossible_cache(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    kernel = make_kernel(monkeypatch)
    cache = int(kernel.prog["made_up"].value_())
    kernel.set(Object(kernel.prog, "struct kmem_cache *", cache), {"size": size})
    with pytest.raises(Unavailable) as caught:
        found(kernel)
    assert caught.value.reason is Reason.CORRUPTED


def test_what_is_no_object_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    slabs = found(make_kernel(monkeypatch))
    for address in (objects_of(3) + 8, objects_of(3) - SIZE, objects_of(4)):
        with pytest.raises(Unavailable) as caught:
            slabs.is_free(address)
        assert caught.value.reason is Reason.NOT_APPLICABLE


def with_sheaves(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The same cache on a kernel that keeps free objects in sheaves."""
    kernel = make_kernel(monkeypatch)
    kernel.struct(
        "slab_sheaf",
        40,
        ("barn_list", "struct list_head", 0),
        ("size", "u32", 16),
        ("objects", "void *[0]", 24),
    )
    kernel.struct(
        "slub_percpu_sheaves",
        24,
        ("main", "struct slab_sheaf *", 0),
        ("spare", "struct slab_sheaf *", 8),
        ("rcu_free", "struct slab_sheaf *", 16),
    )
    kernel.struct("node_barn", 16, ("sheaves_full", "struct list_head", 0))
    kernel.struct("kmem_cache_node", 8, ("barn", "struct node_barn *", 0))
    kernel.struct(
        "kmem_cache",
        64,
        ("size", "u32", 0),
        ("offset", "u32", 4),
        ("cpu_sheaves", "struct slub_percpu_sheaves *", 16),
        ("node", "struct kmem_cache_node *[2]", 32),
    )
    kernel.constant("N_MEMORY", "int", 3)
    kernel.enum("node_states", N_MEMORY=3)
    monkeypatch.setattr(
        "crashkit.decode.slab_free.for_each_node_state", lambda _prog, _state: iter([0])
    )
    for cpu in range(2):
        kernel.put(CPU_AREA + cpu * STRIDE + OWN, bytes(24))
    return kernel


def sheaf(kernel: Kernel, *objects: int) -> Object:
    made = kernel.allocate("struct slab_sheaf", size=len(objects))
    for number, one in enumerate(objects):
        kernel.put(made.value_() + 24 + 8 * number, one.to_bytes(8, "little"))
    return made


def test_sheaves_hold_free_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = with_sheaves(monkeypatch)
    one = [objects_of(3) + SIZE * number for number in range(16)]
    for number, place in enumerate((0, 8, 16)):
        kept = sheaf(kernel, one[number])
        kernel.put(CPU_AREA + STRIDE + OWN + place, kept.value_().to_bytes(8, "little"))
    barn = kernel.allocate("struct node_barn")
    node = kernel.allocate("struct kmem_cache_node", barn=barn.value_())
    list_of(kernel, barn, "barn_list", sheaf(kernel, one[7], one[8]))
    cache = int(kernel.prog["made_up"].value_())
    kernel.put(cache + 32, node.value_().to_bytes(8, "little"))
    slabs = found(kernel)
    assert [n for n, address in enumerate(one) if slabs.is_free(address)] == [0, 1, 2, 7, 8]


def test_a_sheaf_of_impossible_size(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = with_sheaves(monkeypatch)
    bad = sheaf(kernel)
    kernel.set(bad, {"size": 1 << 20})
    kernel.put(CPU_AREA + OWN, bad.value_().to_bytes(8, "little"))
    with pytest.raises(Unavailable) as caught:
        found(kernel).is_free(objects_of(3))
    assert caught.value.reason is Reason.CORRUPTED
