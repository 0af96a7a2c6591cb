"""Memory ran out, and one user of it has more than half of all there is.

Recognised by: the whole system ran out, not a memory cgroup or a part of the nodes; and of
all pages the kernel manages, one slab cache, one process, one file system in memory, one
caller of vmalloc, or what no counter of the kernel has, holds more than half. All are counts
read from memory; who asked last does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash import Crash
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.decode.memory import MemoryUse
    from crashkit.decode.oom import OomRequest

META = Meta(
    id="one-consumer-of-memory",
    claim="the whole system ran out of memory, and one user of it has more than half",
    references=("mm/oom_kill.c: out_of_memory(); mm/show_mem.c; fs/proc/meminfo.c",),
    classes=("slab cache", "process", "tmpfs", "vmalloc", "pages that nobody counts"),
    told_apart_from=(
        "a memory cgroup at its limit: the system has memory",
        "too little memory for what runs: no single user has half of it",
    ),
)

_ADVICE = {
    "slab cache": "look who allocates from it: slabtop on a machine that grows, slub_debug=U",
    "process": "look at that process; a limit (memory.max, ulimit -v) would stop it alone",
    "tmpfs": "look at its largest files; mount it with size=",
    "vmalloc": "look at that caller: /proc/vmallocinfo on a machine that grows",
    "pages that nobody counts": "boot with page_owner=on: drivers that call alloc_pages()",
}


@dataclass(frozen=True)
class _User:
    kind: str
    name: str
    pages: int
    place: int
    """Of what counts it."""
    command: str


def applies(crash: Crash) -> bool:
    """Whether the kernel says that memory ran out."""
    return crash.oops is not None and crash.oops.kind == "oom"


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("system", "the whole system ran out", lambda: _is_system(scene))
    yield necessary("half", "one user has more than half of all pages", lambda: _has_half(scene))


class _Scene:
    # What the checks look at. Every property raises Unavailable when it cannot be had.

    def __init__(self, crash: Crash) -> None:
        self.crash = crash

    @cached_property
    def request(self) -> tuple[OomRequest, int]:
        from crashkit.crash.panics.call_sites import argument
        from crashkit.decode.oom import decode_oom_control

        place = argument(self.crash, "out_of_memory", "oc")
        return decode_oom_control(Object(self.crash.prog, "struct oom_control *", place)), place

    @cached_property
    def use(self) -> MemoryUse:
        from crashkit.decode.memory import memory_use

        return memory_use(self.crash.prog)

    @cached_property
    def largest(self) -> _User | None:
        # Of each kind only what the kind's own count allows is looked at.
        unread: Unavailable | None = None
        for kind, look in _LOOKS.items():
            try:
                for user in look(self):
                    if 2 * user.pages > self.use.total_pages:
                        return user
            except Unavailable as missing:
                unread = unread or missing
        if unread is not None:
            raise unread
        return None

    def may_have(self, *keys: str) -> bool:
        """Whether the counts of these together leave room for more than half.

        :raises Unavailable: one was not read, so nobody knows
        """
        total = 0
        for key in keys:
            pages = self.use.pages(key)
            if pages is None:
                raise Unavailable(key, Reason.NOT_IN_DUMP, "its count was not read")
            total += pages
        return 2 * total > self.use.total_pages


def _slabs(scene: _Scene) -> Iterator[_User]:
    from crashkit.decode.memory_slabs import slab_use

    if not scene.may_have("slab_unreclaimable", "slab_reclaimable"):
        return
    found = slab_use(scene.crash.prog, most=1)
    for one in found.caches:
        name = one.name or "?"
        yield _User("slab cache", name, one.pages, one.cache, f"kmem -s {name}")
    if found.unreadable:
        raise Unavailable("slab caches", Reason.NOT_IN_DUMP, f"{found.unreadable} of them")


def _processes(scene: _Scene) -> Iterator[_User]:
    from crashkit.decode.memory_tasks import process_use

    if not scene.may_have("anonymous", "page_cache", "shmem"):
        return
    found = process_use(scene.crash.prog, scene.crash.tasks(), most=1)
    for one in found.processes:
        # Shared pages are counted with their file system.
        own = one.rss - one.shmem
        yield _User("process", f"{one.comm} ({one.pid})", own, one.task, f"ps -G {one.pid}")
    if found.unreadable:
        raise Unavailable("processes", Reason.NOT_IN_DUMP, f"{found.unreadable} of them")


def _file_systems(scene: _Scene) -> Iterator[_User]:
    from crashkit.decode.memory_files import memory_file_systems

    if not scene.may_have("shmem", "page_cache"):
        return
    found = memory_file_systems(scene.crash.prog)
    for one in found:
        yield _User("tmpfs", f"{one.kind} {one.name}", one.pages, one.super_block, "mount")
    if not all(one.complete for one in found):
        raise Unavailable("file systems", Reason.BUDGET, "not all inodes were looked at")


def _vmalloc(scene: _Scene) -> Iterator[_User]:
    from crashkit.decode.memory_vmalloc import vmalloc_callers

    if scene.may_have("vmalloc"):
        for one in vmalloc_callers(scene.crash.prog, most=1):
            name = one.name or f"{one.caller:#x}"
            yield _User("vmalloc", name, one.pages, _counters(scene), "kmem -v")


def _uncounted(scene: _Scene) -> Iterator[_User]:
    use = scene.use
    for consumer in use.consumers:
        if consumer.pages is None:
            raise consumer.unavailable or Unavailable(consumer.name, Reason.NOT_IN_DUMP)
    kind = "pages that nobody counts"
    yield _User(kind, "the rest", use.unaccounted_pages, _counters(scene), "kmem -i")


_LOOKS: dict[str, Callable[[_Scene], Iterator[_User]]] = {
    "slab cache": _slabs,
    "process": _processes,
    "tmpfs": _file_systems,
    "vmalloc": _vmalloc,
    "uncounted": _uncounted,
}


def _counters(scene: _Scene) -> int:
    return int(scene.crash.prog["vm_node_stat"].address_of_())


def _is_system(scene: _Scene) -> Observation:
    request, place = scene.request
    if request.constraint is None or request.memcg is None:
        why = request.absent.get("constraint") or request.absent.get("memcg")
        raise Unavailable("what ran out", Reason.NOT_IN_DUMP, str(why or ""))
    value = Value(
        name="oc->constraint",
        value=request.constraint,
        origin=Origin.MEMORY,
        address=place,
        reread=Reread(
            crash=f"struct oom_control {place:016x}",
            crashkit=f"Object(prog, 'struct oom_control *', {place:#x}).constraint",
        ),
    )
    note = f"memory cgroup {request.memcg}" if request.memcg else request.constraint
    return seen(request.constraint == "none" and not request.memcg, value, note=note)


def _has_half(scene: _Scene) -> Observation:
    total = scene.use.total_pages
    place = _counters(scene)
    everything = Value(
        name=scene.use.total_origin,
        value=total,
        origin=Origin.MEMORY,
        address=place,
        reread=Reread(crash="kmem -i", crashkit="crashkit.decode.memory.memory_use(prog)"),
    )
    user = scene.largest
    if user is None:
        most = next((one for one in scene.use.consumers if one.pages is not None), None)
        note = f"most is {most.name}: {100 * (most.pages or 0) // total} %" if most else ""
        return seen(False, everything, note=note)
    held = Value(
        name=f"pages of {user.kind} {user.name}",
        value=user.pages,
        origin=Origin.MEMORY,
        address=user.place,
        reread=Reread(crash=user.command),
    )
    note = f"{user.name}: {100 * user.pages // total} % of {total} pages"
    return seen(True, held, everything, note=note)


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say what kind of user it is."""
    user = _Scene(crash).largest if found and found[-1].holds else None
    return (user.kind,) if user is not None else ()


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say how to find out more about such a user."""
    user = _Scene(crash).largest if found and found[-1].holds else None
    return (f"{user.name}: {_ADVICE[user.kind]}",) if user is not None else ()
