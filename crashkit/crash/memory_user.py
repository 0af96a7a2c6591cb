"""The one user of memory that has more than half of all pages, if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crashkit.crash.core import Crash
from crashkit.decode.memory import MemoryUse
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

UNCOUNTED = "pages that nobody counts"
MAX_PROCESSES = 100_000


@facts
class MemoryUser:
    """Somebody who has memory."""

    kind: str
    """``slab cache``, ``process``, ``tmpfs``, ``vmalloc`` or ``pages that nobody counts``."""
    name: str
    """Escaped."""
    pages: int
    place: int
    """Address of what counts them: the cache, the task, the super block, the counters."""
    command: str
    """Of crash(8), which shows it."""


def counters_place(crash: Crash) -> int:
    """Give the address of the kernel's page counters (mm/vmstat.c: ``vm_node_stat``)."""
    return int(crash.prog["vm_node_stat"].address_of_())


def largest_user(crash: Crash, use: MemoryUse) -> MemoryUser | None:
    """Find who alone has more than half of all pages; None: nobody has.

    :raises Unavailable: nobody was found, and not all could be read
    """
    unread: Unavailable | None = None
    for look in _LOOKS:
        try:
            for user in look(crash, use):
                if 2 * user.pages > use.total_pages:
                    return user
        except Unavailable as missing:
            unread = unread or missing
    if unread is not None:
        raise unread
    return None


def _may_have(use: MemoryUse, *keys: str) -> bool:
    # What the counts of a kind do not leave room for need not be looked for.
    total = 0
    for key in keys:
        pages = use.pages(key)
        if pages is None:
            raise Unavailable(key, Reason.NOT_IN_DUMP, "its count was not read")
        total += pages
    return 2 * total > use.total_pages


def _slabs(crash: Crash, use: MemoryUse) -> Iterator[MemoryUser]:
    from crashkit.decode.memory_slabs import slab_use

    if not _may_have(use, "slab_unreclaimable", "slab_reclaimable"):
        return
    found = slab_use(crash.prog, most=1)
    for one in found.caches:
        name = one.name or "?"
        yield MemoryUser(
            kind="slab cache",
            name=name,
            pages=one.pages,
            place=one.cache,
            command=f"kmem -s {name}",
        )
    if found.unreadable:
        raise Unavailable("slab caches", Reason.NOT_IN_DUMP, f"{found.unreadable} of them")


def _processes(crash: Crash, use: MemoryUse) -> Iterator[MemoryUser]:
    from crashkit.decode.memory_tasks import process_use

    if not _may_have(use, "anonymous", "page_cache"):
        return
    found = process_use(crash.prog, crash.tasks(), most=MAX_PROCESSES)
    for one in found.processes:
        # Shared pages belong to their file system.
        yield MemoryUser(
            kind="process",
            name=f"{one.comm} ({one.pid})",
            pages=one.rss - one.shmem,
            place=one.task,
            command=f"ps -G {one.pid}",
        )
    if found.unreadable:
        raise Unavailable("processes", Reason.NOT_IN_DUMP, f"{found.unreadable} of them")
    counted, seen = use.pages("anonymous") or 0, sum(one.anon for one in found.processes)
    if 10 * seen < 9 * counted:
        # Pages that several share count for each of them, so the sum is not below the count.
        detail = f"those that are known have {seen} of {counted} pages"
        raise Unavailable("processes", Reason.NOT_IN_DUMP, detail)


def _file_systems(crash: Crash, use: MemoryUse) -> Iterator[MemoryUser]:
    from crashkit.decode.memory_files import memory_file_systems

    if not _may_have(use, "shmem", "page_cache"):
        return
    found = memory_file_systems(crash.prog)
    for one in found:
        name = one.kind if one.name == one.kind else f"{one.kind} {one.name}"
        yield MemoryUser(
            kind="tmpfs", name=name, pages=one.pages, place=one.super_block, command="mount"
        )
    if not all(one.complete for one in found):
        raise Unavailable("file systems", Reason.BUDGET, "not all inodes were looked at")


def _vmalloc(crash: Crash, use: MemoryUse) -> Iterator[MemoryUser]:
    from crashkit.decode.memory_vmalloc import vmalloc_callers

    if not _may_have(use, "vmalloc"):
        return
    for one in vmalloc_callers(crash.prog, most=1):
        yield MemoryUser(
            kind="vmalloc",
            name=one.name or f"{one.caller:#x}",
            pages=one.pages,
            place=counters_place(crash),
            command="kmem -v",
        )


def _uncounted(crash: Crash, use: MemoryUse) -> Iterator[MemoryUser]:
    for consumer in use.consumers:
        if consumer.pages is None:
            raise consumer.unavailable or Unavailable(consumer.name, Reason.NOT_IN_DUMP)
    yield MemoryUser(
        kind=UNCOUNTED,
        name=UNCOUNTED,
        pages=use.unaccounted_pages,
        place=counters_place(crash),
        command="kmem -i",
    )


_LOOKS: tuple[Callable[[Crash, MemoryUse], Iterator[MemoryUser]], ...] = (
    _slabs,
    _processes,
    _file_systems,
    _vmalloc,
    _uncounted,
)
