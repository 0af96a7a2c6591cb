"""Memory ran out, and one user of it has more than half of all there is.

Recognised by: the whole system ran out, not a memory cgroup or a part of the nodes; and of
all pages the kernel manages, one slab cache, one process, one file system in memory, one
caller of vmalloc, or what no counter of the kernel has, holds more than half. All are counts
read from memory; who asked last does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash import Crash
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen
from crashkit.recipe import Meta
from crashkit.value import Origin, Reread, Value

if TYPE_CHECKING:
    from crashkit.crash.memory_user import MemoryUser
    from crashkit.decode.memory import MemoryUse
    from crashkit.decode.oom import OomRequest

META = Meta(
    id="one-consumer-of-memory",
    claim="the whole system ran out of memory, and one user of it has more than half",
    references=("mm/oom_kill.c: out_of_memory(); mm/show_mem.c; fs/proc/meminfo.c",),
    matches=("kind-oomslab", "kind-oomtmpfs", "kind-oomrss", "kind-oomvmalloc", "kind-oompages"),
    rejects=("kind-oomcgroup",),
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


def applies(crash: Crash) -> bool:
    """Whether the kernel says that memory ran out."""
    if crash.target.format == "text" or crash.oops is None:
        return False  # what the log counts is no value of the dump
    return crash.oops.kind == "oom"


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
    def largest(self) -> MemoryUser | None:
        from crashkit.crash.memory_user import largest_user

        return largest_user(self.crash, self.use)


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
    note = f"memory cgroup {request.memcg}" if request.memcg else ""
    return seen(request.constraint == "none" and not request.memcg, value, note=note)


def _has_half(scene: _Scene) -> Observation:
    from crashkit.crash.memory_user import counters_place

    use, user = scene.use, scene.largest
    everything = Value(
        name=use.total_origin,
        value=use.total_pages,
        origin=Origin.MEMORY,
        address=counters_place(scene.crash),
        reread=Reread(crash="kmem -i"),
    )
    if user is None:
        most = next((one for one in use.consumers if one.pages is not None), None)
        share = 100 * (most.pages or 0) // use.total_pages if most else 0
        return seen(False, everything, note=f"most is {most.name}: {share} %" if most else "")
    held = Value(
        name=f"pages: {user.name}",
        value=user.pages,
        origin=Origin.MEMORY,
        address=user.place,
        reread=Reread(crash=user.command),
    )
    share = 100 * user.pages // use.total_pages
    return seen(True, held, everything, note=f"{user.name}: {share} % of {use.total_pages} pages")


def _found(crash: Crash, checks_: Sequence[Check]) -> MemoryUser | None:
    return _Scene(crash).largest if checks_ and checks_[-1].holds else None


def classes(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say what kind of user it is."""
    user = _found(crash, found)
    return (user.kind,) if user is not None else ()


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Say how to find out more about such a user."""
    user = _found(crash, found)
    if user is None:
        return ()
    words = _ADVICE[user.kind]
    return (words if user.name == user.kind else f"{user.name}: {words}",)
