"""Which slab object an address lies in, and whether it is allocated.

A cache is identified by its address: SLUB merges caches, so a name is only a hint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drgn import Object, Program, cast, container_of
from drgn.helpers import ValidationError
from drgn.helpers.linux.rbtree import rbtree_inorder_for_each_entry
from drgn.helpers.linux.slab import SlabObjectInfo, slab_object_info

from crashkit.decode.address_regions import unnamed_errors
from crashkit.decode.fields import Absent, Fields, has_member, naming, pointer, text_at
from crashkit.decode.slab_place import free_place
from crashkit.errors import Reason, Unavailable
from crashkit.memory import IMPOSSIBLE, bounded, is_kernel_address
from crashkit.value import facts

MAX_CACHE_NAMES = 10_000


@facts
class SlabIdentity:
    """A slab object. A None field has its reason in ``absent``."""

    address: int
    """The address that was asked about."""
    cache: int
    """``struct kmem_cache *`` the object belongs to."""
    cache_name: str | None
    """Escaped; of the first of the merged caches."""
    aliases: tuple[str, ...] | None
    """Names of other caches merged into this one, sorted, escaped."""
    object_start: int
    offset: int
    """Bytes from the object's start to ``address``."""
    object_size: int | None
    """Bytes the cache's user asked for."""
    allocated: bool | None
    """None: the allocator's free lists do not tell."""
    absent: Absent
    slab: int | None = None
    """``struct slab *`` it lies in (before Linux 5.17 ``struct page *``)."""

    @property
    def is_start(self) -> bool:
        """Whether ``address`` is the first byte of the object."""
        return self.offset == 0

    def belongs_to(self, cache: int) -> bool:
        """Whether the object is of the cache at address ``cache``."""
        return self.cache == cache


def slab_identity(prog: Program, address: int, *, aliases: bool = True) -> SlabIdentity:
    """Identify the slab object that contains an address.

    :param address: kernel virtual address
    :param aliases: look for the names of merged caches, which needs a walk over sysfs
    :raises Unavailable: ``not-applicable`` when it is in no slab object; otherwise why
        the allocator's structures cannot be had
    """
    what = f"slab object at {address:#x}"
    if not is_kernel_address(address):
        raise Unavailable(what, Reason.NOT_APPLICABLE, "not a kernel address")
    with _allocator(what):
        found = slab_object_info(prog, address)
    if found is None:
        raise Unavailable(what, Reason.NOT_APPLICABLE, "in no slab page")
    return identity_of(prog, address, found, aliases=aliases)


def identity_of(
    prog: Program, address: int, found: SlabObjectInfo, *, aliases: bool = True
) -> SlabIdentity:
    """Describe a slab object that drgn found.

    :param aliases: look for the names of merged caches, which needs a walk over sysfs
    :raises Unavailable: reason ``corrupted`` when its cache is no kernel address
    """
    what = f"slab object at {address:#x}"
    cache = pointer(found.slab_cache, "slab->slab_cache")
    fields = Fields(what)
    return SlabIdentity(
        address=address,
        cache=cache,
        cache_name=fields.take("cache_name", lambda: cache_name(found.slab_cache)),
        aliases=fields.take("aliases", lambda: _aliases(prog, found.slab_cache, wanted=aliases)),
        object_start=found.address,
        offset=address - found.address,
        object_size=fields.take("object_size", lambda: _object_size(found.slab_cache)),
        allocated=fields.take("allocated", lambda: _allocated(found)),
        absent=fields.absent,
        slab=int(found.slab.value_()),
    )


def _aliases(prog: Program, cache: Object, *, wanted: bool) -> tuple[str, ...]:
    # Counts the caches merged into one (__kmem_cache_alias() in mm/slub.c).
    if has_member(cache, "refcount") and cache.refcount.value_() == 1:
        return ()
    if not wanted:
        raise Unavailable("aliases", Reason.NOT_APPLICABLE, "not asked for")
    return cache_aliases(prog).get(int(cache.value_()), ())


@contextmanager
def _allocator(what: str) -> Iterator[None]:
    # drgn's slab helpers meet missing members (types from BTF or of another
    # configuration) as AttributeError and damaged free lists as ValidationError.
    try:
        with naming(what), unnamed_errors(what):
            yield
    except AttributeError as unknown:
        raise Unavailable(what, Reason.NO_DEBUGINFO, str(unknown)) from unknown
    except ValidationError as damage:
        raise Unavailable(what, Reason.CORRUPTED, str(damage)) from damage
    except IMPOSSIBLE as damage:
        raise Unavailable(what, Reason.CORRUPTED, f"{type(damage).__name__}: {damage}") from damage
    except NotImplementedError as missing:
        raise Unavailable(what, Reason.UNSUPPORTED, str(missing)) from missing


def _allocated(found: SlabObjectInfo) -> bool:
    # drgn asks the online CPUs what they keep; those that a panic stopped are offline. And it
    # follows a damaged list wherever it leads. SLUB counts a slab's objects in ``objects``.
    if found.allocated is False or not has_member(found.slab, "objects"):
        if found.allocated is None:
            raise Unavailable("allocated", Reason.NOT_IN_DUMP, "a free list cannot be followed")
        return found.allocated
    return free_place(found.slab_cache, found.slab, found.address) is None


def _object_size(cache: Object) -> int:
    # object_size since Linux kernel commit 3b0efdfa1e71 ("mm, sl[aou]b: Extract common
    # fields from struct kmem_cache") (in v3.6)
    return int(cache.object_size.value_())


def cache_name(cache: Object) -> str:
    """Read a cache's name, escaped and cut at 64 bytes.

    :param cache: ``struct kmem_cache *``
    """
    pointer(cache, "struct kmem_cache")
    return text_at(cache.prog_, int(cache.name.value_()))


def cache_aliases(prog: Program) -> dict[int, tuple[str, ...]]:
    """Give the names of merged caches by the address of the cache they became.

    They are links in /sys/kernel/slab, which only SLUB with sysfs has. As drgn's
    get_slab_cache_aliases(), but keyed by pointer and bounded; done once per program.

    :raises Unavailable: no sysfs, no types, or a missing page
    """
    cached: dict[int, tuple[str, ...]] | None = prog.cache.get("crashkit.slab_aliases")
    if cached is None:
        names: dict[int, list[str]] = {}
        with _allocator("slab cache aliases"):
            for cache, name in _alias_links(prog):
                names.setdefault(cache.value_(), []).append(name)
            cached = {
                address: tuple(sorted(set(links) - {cache_name(_cache_at(prog, address))}))
                for address, links in names.items()
            }
        prog.cache["crashkit.slab_aliases"] = cached
    return cached


def _cache_at(prog: Program, address: int) -> Object:
    return Object(prog, "struct kmem_cache *", address)


def _alias_links(prog: Program) -> Iterator[tuple[Object, str]]:
    link = prog.constant("KERNFS_LINK")
    root = prog["slab_kset"].kobj.sd.dir.children.address_of_()
    walk = rbtree_inorder_for_each_entry("struct kernfs_node", root, "rb")
    for node in bounded(walk, MAX_CACHE_NAMES, "/sys/kernel/slab"):
        if not node.flags & link:
            continue
        kobject = cast("struct kobject *", node.symlink.target_kn.priv)
        yield container_of(kobject, "struct kmem_cache", "kobj"), text_at(prog, node.name.value_())


def cache_of_variable(prog: Program, name: str) -> int:
    """Read the address of the cache that a kernel variable points to.

    :param name: e.g. ``nf_conntrack_cachep``, ``skbuff_head_cache``
    :raises Unavailable: the variable is unknown, missing or NULL
    """
    with naming(name):
        return pointer(prog[name].read_(), name)


def conntrack_cache(prog: Program, net: Object | None = None) -> int:
    """Give the address of the ``kmem_cache`` of ``struct nf_conn``.

    One cache since Linux kernel commit 0c5366b3a8c7 ("netfilter: conntrack: use single
    slab cache") (in v4.7); before that, one per namespace.

    :param net: ``struct net *``; needed on the older kernels
    :raises Unavailable: it is unknown, or ``net`` is needed and not given
    """
    with naming("nf_conntrack_cachep"):
        per_namespace = has_member(Object(prog, "struct net *", 0).ct, "nf_conntrack_cachep")
        if not per_namespace:
            return cache_of_variable(prog, "nf_conntrack_cachep")
        if net is None:
            raise Unavailable("nf_conntrack_cachep", Reason.AMBIGUOUS, "one per namespace")
        pointer(net, "struct net")
        return pointer(net.ct.nf_conntrack_cachep.read_(), "net->ct.nf_conntrack_cachep")
