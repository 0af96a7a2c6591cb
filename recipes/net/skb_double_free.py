"""A packet was released twice, and its data given back to the allocator twice.

With CONFIG_SLAB_FREELIST_HARDENED, set_freepointer() (mm/slub.c) stops the kernel when an
object would become its own successor: it is the first of the free list, and freed again.
That happens to the skb's data first, since kfree_skb() does not count references below
one: ``skb->users`` of a freed skb still reads 1.

Recognised by: the object in the registers of the allocator is the skb's and on the free
list already, and so is the skb, which a first release frees only after its data. An object
on a list alone proves nothing: a damaged list may lead to objects in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from drgn import Object
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.slab import slab_object_info

from crashkit.crash import Crash
from crashkit.crash.others import slab_was_reported
from crashkit.decode import decode_skb
from crashkit.decode.conntrack_slab import find_slabs
from crashkit.decode.fields import counter, has_member, member, naming
from crashkit.decode.slab import SlabIdentity, slab_identity
from crashkit.decode.slab_free import free_chain
from crashkit.decode.values import member_value, pointer_value
from crashkit.errors import Reason, Unavailable
from crashkit.finding import (
    CheckSpec,
    Observation,
    excluding,
    necessary,
    seen,
    supporting,
)
from crashkit.memory import bounded
from crashkit.recipe import Meta
from crashkit.value import Certainty, Origin, Reread, Value

META = Meta(
    id="skb-double-free",
    claim="the skb was released again: it and its data were on free lists already",
    references=(
        "mm/slub.c: set_freepointer(), CONFIG_SLAB_FREELIST_HARDENED",
        "net/core/skbuff.c: kfree_skb(), skb_release_data(), skb_unref()",
    ),
    matches=("recipe-skb-double-free",),
    rejects=("recipe-skb-double-free-lookalike",),
    told_apart_from=(
        "a damaged free list, or data that two skbs own: the skb is still allocated",
        "another object freed by the skb's destructor: it is not the skb's",
    ),
    advice="look for the other release: with slub_debug=U, crashkit and crash show who freed it",
)

MAX_CPUS = 8192

# set_freepointer() is inlined into one of these, by version and configuration.
_FREEING = (
    "kfree",
    "kfree_sensitive",
    "kmem_cache_free",
    "kmem_cache_free_bulk",
    "__kmem_cache_free",
    "___cache_free",
    "__slab_free",
    "slab_free",
    "do_slab_free",
    "set_freepointer",
)
_RELEASING = (
    "skb_free_head",
    "skb_release_data",
    "skb_release_all",
    "kfree_skbmem",
    "__kfree_skb",
    "kfree_skb",
    "kfree_skb_reason",
    "__kfree_skb_reason",
    "sk_skb_reason_drop",
    "__sk_skb_reason_drop",
    "consume_skb",
    "__consume_stateless_skb",
    "napi_consume_skb",
    "kfree_skb_list_reason",
    "kfree_skb_partial",
)


def _plain(name: str | None) -> str:
    return (name or "").partition(".")[0]


def applies(crash: Crash) -> bool:
    """Whether the allocator stopped the kernel while an skb was released."""
    fault = crash.fault
    if fault is None or _plain(crash.faulting_function) not in _FREEING:
        return False
    releasing = any(_plain(name) in _RELEASING for name in _on_stack(crash))
    return releasing and (fault.instruction or "").startswith("ud2")


def _on_stack(crash: Crash) -> list[str | None]:
    # Of text alone: what the kernel printed as certain.
    if crash.target.format == "text" and crash.oops is not None:
        return [entry.function for entry in crash.oops.trace if entry.reliable]
    return [frame.function for frame in crash.outer_frames]


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("object", "what was being freed is the skb's", lambda: _is_the_skbs(scene))
    yield necessary("start", "it is the start of a slab object", lambda: _is_start(scene))
    yield necessary("free", "it is on the free list already", lambda: _is_free(scene))
    yield necessary(
        "skb-free",
        "the skb is free as well, so it was released before",
        lambda: _skb_is_free(scene),
    )
    yield excluding(
        "slab-damage", "the kernel reported a damaged slab", lambda: slab_was_reported(crash)
    )
    yield supporting("link", "it holds a link as free objects do", lambda: _link(scene))
    yield supporting(
        "last", "neither counter of the skb knows another owner", lambda: _counters(scene)
    )


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def _skb(self) -> tuple[Object, Origin, Certainty, str]:
        # struct sk_buff *, from the innermost of the releasing functions that tells.
        for frame in self.crash.outer_frames:
            if _plain(frame.function) not in _RELEASING or frame.inlined:
                continue
            for argument in self.crash.arguments(frame)[0]:
                if argument.name in ("skb", "segs") and argument.conflict is None:
                    skb = Object(self.crash.prog, "struct sk_buff *", argument.value)
                    return skb, argument.origin, argument.certainty, argument.how
        raise Unavailable("the skb", Reason.NOT_SAVED, "no releasing function kept it")

    def skb(self) -> Object:
        return self._skb[0]

    def skb_value(self) -> Value:
        skb, origin, certainty, _how = self._skb
        return pointer_value("skb", skb, origin, certainty)

    @cached_property
    def head(self) -> int:
        return int(self.skb().head)

    @cached_property
    def freed(self) -> tuple[int, str]:
        # The skb's object that the allocator had in a register when it stopped, and which.
        fault = self.crash.fault
        if fault is None or self.crash.fault_frame is None:
            # Registers of a fault that only the log tells of are text.
            raise Unavailable("the freed object", Reason.NOT_IN_DUMP, "no registers of the fault")
        registers = fault.registers
        for address in (self.head, int(self.skb())):
            for register, held in registers.items():
                if held == address:
                    return address, register
        return 0, ""

    @property
    def object(self) -> int:
        address, _register = self.freed
        if not address:
            raise Unavailable("the freed object", Reason.NOT_APPLICABLE, "it is not the skb's")
        return address

    @cached_property
    def slab(self) -> SlabIdentity:
        return slab_identity(self.crash.prog, self.object)

    def cache(self) -> Object:
        return Object(self.crash.prog, "struct kmem_cache *", self.slab.cache)


def _is_the_skbs(scene: _Scene) -> Observation:
    address, register = scene.freed
    head = member_value("skb->head", scene.skb(), "head", scene.head)
    if not address:
        note = "neither skb->head nor the skb is in a register of the allocator"
        return seen(False, scene.skb_value(), head, note=note)
    held = Value(
        name=register.upper(),
        value=address,
        origin=Origin.REGISTER,
        ctype="void *",
        reread=Reread(crash="bt", crashkit=f"crash.fault.registers[{register!r}]"),
    )
    which = "skb->head" if address == scene.head else "the skb itself"
    return seen(True, held, scene.skb_value(), head, note=f"{register.upper()} is {which}")


def _object_value(scene: _Scene, name: str, value: int | str, again: str) -> Value:
    # ``again``: what follows the object's slab_identity() to have the value again
    return Value(
        name=name,
        value=value,
        origin=Origin.MEMORY,
        address=scene.object,
        identity=scene.slab.cache_name,
        reread=Reread(
            crash=f"kmem -S {scene.object:016x}",
            crashkit=f"int(slab_identity(prog, {scene.object:#x}).{again})",
        ),
    )


def _is_start(scene: _Scene) -> Observation:
    slab = scene.slab
    value = _object_value(scene, "slab object", slab.object_start, "object_start")
    return seen(slab.is_start, value, note=f"{slab.object_size} bytes of {slab.cache_name}")


def _is_free(scene: _Scene) -> Observation:
    free = _on_free_list(scene, scene.slab)
    return seen(free, _object_value(scene, "on a free list", int(free), "allocated is False"))


def _on_free_list(scene: _Scene, found: SlabIdentity) -> bool:
    # The free lists of all CPUs: in a dump, all but the crashed one may count as offline.
    slabs = find_slabs(scene.crash.prog, (found.cache,))[found.cache]
    return slabs.is_free(found.object_start)


def _link(scene: _Scene) -> Observation:
    # The list is followed for one step, from the object itself.
    prog, walk = scene.crash.prog, free_chain(scene.cache(), scene.object, _same_slab(scene))
    next(walk)
    with naming("the place of the free pointer"):
        place = scene.object + int(scene.cache().offset)
    stored = Value(
        name="free pointer as stored",
        value=prog.read_u64(place),
        origin=Origin.MEMORY,
        address=place,
        reread=Reread(crash=f"rd {place:016x}", crashkit=f"prog.read_u64({place:#x})"),
    )
    try:
        following = next(walk, 0)
    except Unavailable as broken:
        if broken.reason is not Reason.CORRUPTED:
            raise
        return seen(False, stored, note="no address of this slab: the allocator did not write it")
    note = f"the next is {following:016x}" if following else "it was the last of its slab"
    return seen(True, stored, note=note)


def _same_slab(scene: _Scene) -> Callable[[int, int], bool]:
    prog = scene.crash.prog

    def same(left: int, right: int) -> bool:
        one, other = slab_object_info(prog, left), slab_object_info(prog, right)
        if one is None or other is None:
            return False
        return bool(one.slab == other.slab) and one.address == left

    return same


def _skb_is_free(scene: _Scene) -> Observation:
    skb = int(scene.skb())
    found = slab_identity(scene.crash.prog, skb)
    free = _on_free_list(scene, found)
    value = Value(
        name="skb on a free list",
        value=int(free),
        origin=Origin.MEMORY,
        address=found.object_start,
        identity=found.cache_name,
        reread=Reread(
            crash=f"kmem -S {skb:016x}",
            crashkit=f"int(slab_identity(prog, {skb:#x}).allocated is False)",
        ),
    )
    if not free and int(scene.skb().fclone):
        # Its object goes only with the other skb of the pair (struct sk_buff_fclones).
        raise Unavailable("whether the skb is free", Reason.AMBIGUOUS, "it is one of a pair")
    if not free and _kept_for_reuse(scene, skb):
        return seen(True, value, note="kept by a CPU for its next packet")
    return seen(free, value, note=found.cache_name or "")


def _kept_for_reuse(scene: _Scene, skb: int) -> bool:
    # napi_skb_cache_put() keeps released skbs for the CPU's next ones (net/core/skbuff.c).
    prog = scene.crash.prog
    stores = prog["napi_alloc_cache"]
    if not has_member(stores, "skb_cache"):
        return False
    for cpu in bounded(for_each_possible_cpu(prog), MAX_CPUS, "possible CPUs"):
        store = per_cpu(stores, cpu)
        count = int(store.skb_count)
        if count > store.skb_cache.type_.length:
            raise Unavailable("napi_alloc_cache", Reason.CORRUPTED, f"{count} skbs")
        if any(int(store.skb_cache[number]) == skb for number in range(count)):
            return True
    return False


def _counters(scene: _Scene) -> Observation:
    users = decode_skb(scene.skb()).users
    if users is None:
        raise Unavailable("skb->users", Reason.NOT_IN_DUMP)
    shown = [member_value("skb->users", scene.skb(), "users", users)]
    cloned = int(member(scene.skb(), "cloned")) if has_member(scene.skb(), "cloned") else 0
    shown.append(member_value("skb->cloned", scene.skb(), "cloned", cloned))
    info = Object(scene.crash.prog, "struct skb_shared_info *", _shared(scene))
    references = counter(info.dataref) & 0xFFFF
    shown.append(member_value("dataref", info, "dataref", references))
    note = f"users {users}, dataref {references}, cloned {cloned}"
    return seen(users <= 1 and (not cloned or references <= 1), *shown, note=note)


def _shared(scene: _Scene) -> int:
    end = decode_skb(scene.skb()).end
    if end is None:
        raise Unavailable("skb->end", Reason.NOT_IN_DUMP)
    return end
