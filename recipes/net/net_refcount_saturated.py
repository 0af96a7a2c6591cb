"""The reference counter of a packet, socket, conntrack or namespace went wrong.

refcount_t (lib/refcount.c) saturates when a count would grow from 0, sink below 0 or
overflow, and warns once for each kind; with panic_on_warn the kernel stops there. The
object is then freed too early and still used, or never freed.

Recognised by: what the warning is about is a saturated counter in memory, and by its cache
and its place the counter of one of these objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from drgn import Object, Program

from crashkit.arguments import Argument
from crashkit.crash import Crash
from crashkit.decode.conntrack_slab import find_slabs
from crashkit.decode.fields import counter, has_member, naming, printable
from crashkit.decode.slab import SlabIdentity, cache_of_variable, conntrack_cache, slab_identity
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.layout import offset_of
from crashkit.memory import is_kernel_address
from crashkit.recipe import Meta
from crashkit.symbols.lookup import in_kernel_text
from crashkit.value import Origin, Reread, Value

META = Meta(
    id="net-refcount-saturated",
    claim="the reference counter of a packet, socket, conntrack or namespace is saturated",
    references=("lib/refcount.c: refcount_warn_saturate(); include/linux/refcount.h",),
    matches=("recipe-net-refcount",),
    rejects=("recipe-net-refcount-lookalike",),
    classes=("use after free", "underflow", "overflow", "leak"),
    told_apart_from=(
        "a counter of something else: by its slab cache and offset it is none of these",
        "an atomic_t: it neither saturates nor warns",
    ),
    advice="only the first of each kind is printed: look at both sides, hold and put",
)

_WARNING = "refcount_warn_saturate"
_KINDS = (
    ("addition on 0; use-after-free", "use after free"),
    ("underflow; use-after-free", "underflow"),
    ("saturated; leaking memory", "overflow"),
    ("decrement hit 0; leaking memory", "leak"),
)
_SAID = re.compile(r"refcount_t: ([a-z0-9 ]{1,40}; [a-z -]{1,40})")


def kind_of(log: str) -> str | None:
    """Tell which misuse the last warning of a log names; None when there is none."""
    said = _SAID.findall(log)
    return next((kind for words, kind in _KINDS if said and said[-1].startswith(words)), None)


def applies(crash: Crash) -> bool:
    """Whether the kernel stopped where refcount_t warns."""
    return crash.faulting_function == _WARNING


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("saturated", "the counter is saturated", lambda: _is_saturated(scene))
    yield necessary(
        "network",
        "it counts a packet's, socket's, conntrack's or namespace's users",
        lambda: _is_known(scene),
    )
    yield supporting("free", "the object is free", lambda: _is_free(scene))
    yield supporting("message", "the kernel said what was wrong", lambda: _said(scene))


@dataclass(frozen=True)
class Owner:
    """A kind of object that has a reference counter."""

    ctype: str
    members: tuple[str, ...]
    """The counter, by the kernels that have it."""
    is_of: Callable[[Program, SlabIdentity], bool]
    """Whether a slab object is one, by its cache."""


def _of_cache(*names: str) -> Callable[[Program, SlabIdentity], bool]:
    def is_of(prog: Program, found: SlabIdentity) -> bool:
        known = [name for name in names if name in prog]
        if not known:
            raise Unavailable(names[0], Reason.NO_DEBUGINFO, "no such variable")
        return any(found.belongs_to(cache_of_variable(prog, name)) for name in known)

    return is_of


def _is_skb(prog: Program, found: SlabIdentity) -> bool:
    if "net_hotdata" in prog and has_member(prog["net_hotdata"], "skbuff_cache"):
        return found.cache == int(prog["net_hotdata"].skbuff_cache)
    return _of_cache("skbuff_cache", "skbuff_head_cache")(prog, found)


def _is_conntrack(prog: Program, found: SlabIdentity) -> bool:
    if "nf_conntrack_cachep" not in prog:
        return False  # not loaded, or one cache for each namespace
    return found.belongs_to(conntrack_cache(prog))


def _is_socket(prog: Program, found: SlabIdentity) -> bool:
    # A socket names its protocol, and that the cache it came from.
    sock = Object(prog, "struct sock *", found.object_start)
    protocol = sock.member_("__sk_common").skc_prot
    if not is_kernel_address(int(protocol)):
        return False
    try:
        with naming("sk->sk_prot->slab"):
            cache, size = int(protocol.slab), int(protocol.obj_size)
    except Unavailable as missing:
        if missing.reason is Reason.NOT_IN_DUMP:
            return False  # no pointer, so no socket
        raise
    if cache:
        return cache == found.cache
    # One without a cache of its own comes from kmalloc().
    fits = found.object_size is not None and 0 < size <= found.object_size
    return fits and in_kernel_text(prog, int(protocol))


OWNERS = (
    Owner("struct sk_buff", ("users",), _is_skb),
    Owner("struct sock", ("__sk_common.skc_refcnt", "sk_wmem_alloc"), _is_socket),
    Owner("struct nf_conn", ("ct_general.use",), _is_conntrack),
)
_NAMESPACE = Owner("struct net", ("ns.count", "ns.__ns_ref", "passive"), _of_cache("net_cachep"))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def passed(self) -> Argument:
        frame = self.crash.find_frame(_WARNING)
        found, lost = self.crash.arguments(frame) if frame else ((), ())
        for argument in found:
            if argument.name == "r" and argument.conflict is None:
                return argument
        detail = next((missing.detail for missing in lost if missing.name == "r"), "")
        raise Unavailable("the counter", Reason.NOT_SAVED, detail)

    def counter(self) -> Object:
        return Object(self.crash.prog, "refcount_t *", self.passed.value)

    @cached_property
    def slab(self) -> SlabIdentity:
        return slab_identity(self.crash.prog, self.passed.value)

    @cached_property
    def owner(self) -> tuple[str, int, str] | None:
        # C type, address and member; None where it is the counter of none of them.
        prog, address = self.crash.prog, self.passed.value
        net = prog["init_net"].address_ or 0
        if 0 <= address - net < (prog.type("struct net").size or 0):
            member = _member_at(prog, _NAMESPACE, address - net)
            return (_NAMESPACE.ctype, net, member) if member else None
        for owner in (*OWNERS, _NAMESPACE):
            if owner.is_of(prog, self.slab):
                member = _member_at(prog, owner, self.slab.offset)
                return (owner.ctype, self.slab.object_start, member) if member else None
        return None


def _member_at(prog: Program, owner: Owner, offset: int) -> str | None:
    # The counter at an offset; names that another kernel has are passed over.
    ctype, known = prog.type(owner.ctype), {}
    for member in owner.members:
        with suppress(Unavailable):
            known[offset_of(ctype, member)] = member
    if not known:
        raise Unavailable(f"counter of {owner.ctype}", Reason.NO_DEBUGINFO, "under no known name")
    return known.get(offset)


def _counter_value(scene: _Scene) -> Value:
    passed = scene.passed
    return Value(
        name="r",
        value=passed.value,
        origin=passed.origin,
        certainty=passed.certainty,
        ctype="refcount_t *",
        reread=Reread(crash="bt", crashkit=f"Object(prog, 'refcount_t *', {passed.value:#x})"),
    )


def _is_saturated(scene: _Scene) -> Observation:
    # Everything below 0 counts: others may have gone on from REFCOUNT_SATURATED.
    held = counter(scene.counter())
    place = scene.passed.value
    value = Value(
        name="r->refs",
        value=held & 0xFFFFFFFF,
        origin=Origin.MEMORY,
        address=place,
        reread=Reread(crash=f"rd -32 {place:016x}", crashkit=f"prog.read_u32({place:#x})"),
    )
    note = f"{held & 0xFFFFFFFF:#x} at {place:016x}: {scene.passed.how}"
    return seen(held < 0, value, _counter_value(scene), note=note)


def _is_known(scene: _Scene) -> Observation:
    found = scene.owner
    if found is not None:
        ctype, start, member = found
        value = Value(
            name=ctype,
            value=start,
            origin=Origin.MEMORY,
            ctype=f"{ctype} *",
            identity=_name_of(scene, ctype, start),
            reread=Reread(
                crash=f"{ctype} {start:016x}", crashkit=f"Object(prog, '{ctype} *', {start:#x})"
            ),
        )
        note = f"{member} of {ctype} {start:016x}, {value.identity}"
        return seen(True, value, _counter_value(scene), note=note)
    slab = scene.slab
    if _is_on_free_list(scene):
        what = f"object of {slab.cache_name}"
        raise Unavailable(what, Reason.AMBIGUOUS, "it is free, and no longer says what it was")
    value = Value(
        name="slab object",
        value=slab.object_start,
        origin=Origin.MEMORY,
        identity=slab.cache_name,
        reread=Reread(crash=f"kmem -S {scene.passed.value:016x}"),
    )
    note = f"{slab.offset:#x} bytes into an object of {slab.cache_name}"
    return seen(False, value, _counter_value(scene), note=note)


def _name_of(scene: _Scene, ctype: str, start: int) -> str:
    if ctype == "struct sock":
        sock = Object(scene.crash.prog, "struct sock *", start)
        name = printable(sock.member_("__sk_common").skc_prot.name.string_())
        return f"a {name} socket"
    return ctype.removeprefix("struct ")


def _is_free(scene: _Scene) -> Observation:
    slab, free = scene.slab, _is_on_free_list(scene)
    value = Value(
        name="on a free list",
        value=int(free),
        origin=Origin.MEMORY,
        address=slab.object_start,
        identity=slab.cache_name,
        reread=Reread(
            crash=f"kmem -S {slab.object_start:016x}",
            crashkit=f"int(slab_identity(prog, {slab.object_start:#x}).allocated is False)",
        ),
    )
    return seen(free, value, note=slab.cache_name or "")


def _is_on_free_list(scene: _Scene) -> bool:
    # Of any CPU: in a dump, all but the crashed one may count as offline.
    cache = scene.slab.cache
    return find_slabs(scene.crash.prog, (cache,))[cache].is_free(scene.slab.object_start)


def _said(scene: _Scene) -> Observation:
    kind = kind_of(scene.crash.log)
    value = Value(
        name="refcount_t",
        value=kind or "nothing",
        origin=Origin.TEXT,
        reread=Reread(crash="log | grep refcount_t", crashkit="crash.log"),
    )
    return seen(kind is not None, value, note=kind or "")


def classes(crash: Crash, _checks: Sequence[Check]) -> tuple[str, ...]:
    """Say how the counter was misused, as the kernel said."""
    kind = kind_of(crash.log)
    return (kind,) if kind else ()
