"""A slab cache made by hand: one slab, its free lists, stores and CPUs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from drgn import Object

from tests.unit.kernel_doubles import Kernel, list_of

FIRST = 0xFFFF_8880_0300_0000
SIZE = 64
OBJECTS = 4
OFFSET = 32
SECRET = 0x1122_3344_5566_7788
CPUS = 2


def hide(place: int, value: int, secret: int = SECRET) -> int:
    """What SLUB stores at ``place`` for a free pointer to ``value``."""
    return value ^ secret ^ int.from_bytes(place.to_bytes(8, "little"), "big")


@dataclass
class Slab:
    """The cache ``kmalloc-64`` with one slab at FIRST.

    :ivar own: ``struct kmem_cache_cpu *`` of each CPU
    """

    kernel: Kernel
    cache: Object
    slab: Object
    own: list[Object]
    sheaves: list[Object] = field(default_factory=list)

    def start(self, index: int) -> int:
        """Address of an object."""
        return FIRST + index * SIZE

    def link(self, *indexes: int, last: int = 0) -> int:
        """Make a free list of objects; gives its head."""
        starts = [self.start(index) for index in indexes]
        for here, following in zip(starts, [*starts[1:], last], strict=True):
            stored = hide(here + OFFSET, following)
            self.kernel.put(here + OFFSET, stored.to_bytes(8, "little"))
        return starts[0] if starts else last


def make_slab(monkeypatch: pytest.MonkeyPatch, *, sheaves: bool = False) -> Slab:
    """Make the cache; with ``sheaves``, as Linux 7.0 has it: no list of a CPU's own."""
    kernel = Kernel()
    _types(kernel, sheaves=sheaves)
    kernel.put(FIRST, bytes(SIZE * OBJECTS))
    slab = kernel.allocate("struct slab", objects=OBJECTS, inuse=OBJECTS)
    cache = kernel.allocate(
        "struct kmem_cache", size=SIZE, object_size=SIZE, offset=OFFSET, random=SECRET
    )
    text = kernel.allocate("unsigned char [16]").value_()
    kernel.put(text, b"kmalloc-64\0")
    kernel.set(cache, {"name": text})
    node = kernel.allocate("struct kmem_cache_node")
    list_of(kernel, node.partial.address_of_(), "slab_list")
    kernel.set(cache, {"node[0]": node.value_()})
    made = Slab(kernel=kernel, cache=cache, slab=slab, own=[])
    if sheaves:
        made.sheaves = [kernel.allocate("struct slub_percpu_sheaves") for _ in range(CPUS)]
        kernel.set(cache, {"cpu_sheaves": made.sheaves[0].value_()})
        barn = kernel.allocate("struct node_barn")
        list_of(kernel, barn.sheaves_full.address_of_(), "barn_list")
        kernel.set(node, {"barn": barn.value_()})
    else:
        made.own = [kernel.allocate("struct kmem_cache_cpu") for _ in range(CPUS)]
        kernel.set(cache, {"cpu_slab": made.own[0].value_()})
    _answers(monkeypatch, made)
    return made


def _types(kernel: Kernel, *, sheaves: bool) -> None:
    kernel.struct(
        "list_head", 16, ("next", "struct list_head *", 0), ("prev", "struct list_head *", 8)
    )
    kernel.struct(
        "slab", 64, ("slab_list", "struct list_head", 8), ("next", "struct slab *", 8),
        ("slab_cache", "struct kmem_cache *", 24), ("freelist", "void *", 32),
        ("objects", "unsigned int", 40), ("inuse", "unsigned int", 44),
    )  # fmt: skip
    kernel.struct("page", 64, ("flags", "unsigned long", 0))
    kernel.enum("node_states", N_MEMORY=0)
    kernel.constant("N_MEMORY", "unsigned int", 0)
    node = [("partial", "struct list_head", 0)]
    cache = [
        ("name", "char *", 0), ("object_size", "u32", 8), ("size", "u32", 12),
        ("offset", "u32", 16), ("random", "unsigned long", 24),
        ("node", "struct kmem_cache_node * [1]", 48),
    ]  # fmt: skip
    if sheaves:
        kernel.struct(
            "slab_sheaf", 64, ("barn_list", "struct list_head", 0), ("size", "u32", 16),
            ("objects", "void * [4]", 24),
        )  # fmt: skip
        kernel.struct(
            "slub_percpu_sheaves", 24, ("main", "struct slab_sheaf *", 0),
            ("spare", "struct slab_sheaf *", 8), ("rcu_free", "struct slab_sheaf *", 16),
        )  # fmt: skip
        kernel.struct("node_barn", 16, ("sheaves_full", "struct list_head", 0))
        node.append(("barn", "struct node_barn *", 16))
        cache.append(("cpu_sheaves", "struct slub_percpu_sheaves *", 40))
    else:
        kernel.struct(
            "kmem_cache_cpu", 32, ("freelist", "void *", 0), ("slab", "struct slab *", 8),
            ("partial", "struct slab *", 16),
        )  # fmt: skip
        cache.append(("cpu_slab", "struct kmem_cache_cpu *", 40))
    kernel.struct("kmem_cache_node", 32, *node)
    kernel.struct("kmem_cache", 64, *cache)


def _answers(monkeypatch: pytest.MonkeyPatch, made: Slab) -> None:
    prog = made.kernel.prog

    def page_to_virt(_page: Object) -> Object:
        return Object(prog, "void *", FIRST)

    def per_cpu_ptr(_base: Object, cpu: int) -> Object:
        return (made.sheaves or made.own)[cpu]

    for module in ("slab_place", "slab_damage", "slab_free"):
        for name, fake in (
            ("page_to_virt", page_to_virt),
            ("per_cpu_ptr", per_cpu_ptr),
            ("for_each_possible_cpu", lambda _prog: iter(range(CPUS))),
            ("for_each_node_state", lambda _prog, _state: iter((0,))),
            ("for_each_slab_cache", lambda _prog: iter((made.cache,))),
        ):
            monkeypatch.setattr(f"crashkit.decode.{module}.{name}", fake, raising=False)
