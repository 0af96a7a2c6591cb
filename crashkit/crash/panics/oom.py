"""``oom``: what was asked for when memory ran out, and who has the memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from drgn import Object

from crashkit.crash.panics.call_sites import argument, name_at
from crashkit.crash.panics.printed import find_printed, printed_lines
from crashkit.decode.fields import naming
from crashkit.decode.memory import MemoryUse, memory_use
from crashkit.decode.memory_files import MemoryFileSystem, memory_file_systems
from crashkit.decode.memory_slabs import SlabUse, slab_use
from crashkit.decode.memory_tasks import ProcessUse, process_use
from crashkit.decode.memory_vmalloc import VmallocCaller, vmalloc_callers
from crashkit.decode.oom import OomRequest, decode_oom_control
from crashkit.errors import Reason, Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashkit.crash.core import Crash

T = TypeVar("T")

_FAILURE = re.compile(
    r"page allocation failure: order:(?P<order>\d{1,3}), mode:(?P<mode>0x[0-9a-f]{1,16})"
)
_WORTH_WALKING = 100
# A list of areas or files is walked where they hold more than one page in so many.


@facts
class Printed:
    """A number that the kernel printed and the one read from memory."""

    name: str
    printed: int
    read: int


@facts
class OutOfMemory:
    """Memory that ran out. A None field has its reason in ``absent``."""

    request: OomRequest | None
    requester: str | None
    """``function+0x… [module]`` that asked for the memory; not therefore who has the most."""
    failure: str | None
    """The line of an allocation that failed, where no OOM killer was called."""
    panic_on_oom: int | None
    """vm.panic_on_oom: 0 kill a task, 1 panic unless a part of the system ran out, 2 always."""
    killed: str | None
    """Whom the kernel says it killed last before."""
    use: MemoryUse
    slabs: SlabUse | None
    processes: ProcessUse | None
    file_systems: tuple[MemoryFileSystem, ...] | None
    vmalloc: tuple[VmallocCaller, ...] | None
    corroborated: tuple[str, ...]
    """Numbers the kernel printed that memory still holds."""
    changed: tuple[Printed, ...]
    """Numbers it printed that memory holds differently now."""
    absent: Mapping[str, Reason]


def read(crash: Crash) -> OutOfMemory | None:
    """Add up who has the memory.

    :raises Unavailable: the page counters are not in the dump
    """
    failure = None if crash.oops is None else _failure(crash)
    if crash.oops is not None and crash.oops.kind != "oom" and failure is None:
        return None
    prog = crash.prog
    use = memory_use(prog)
    absent: dict[str, Reason] = {}

    def part(key: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except Unavailable as missing:
            absent[key] = missing.reason
            return None

    corroborated, changed = _compare(crash, use)
    worth = use.total_pages // _WORTH_WALKING
    return OutOfMemory(
        request=part("request", lambda: _request(crash)),
        requester=_requester(crash),
        failure=failure,
        panic_on_oom=part("panic_on_oom", lambda: _setting(crash)),
        killed=_killed(crash),
        use=use,
        slabs=part("slabs", lambda: slab_use(prog)),
        processes=part("processes", lambda: process_use(prog, crash.tasks())),
        file_systems=(
            part("file_systems", lambda: memory_file_systems(prog))
            if (use.pages("shmem") or 0) + (use.pages("page_cache") or 0) > worth
            else ()
        ),
        vmalloc=(
            part("vmalloc", lambda: vmalloc_callers(prog))
            if (use.pages("vmalloc") or 0) > worth
            else ()
        ),
        corroborated=corroborated,
        changed=changed,
        absent=absent,
    )


def _request(crash: Crash) -> OomRequest:
    place = argument(crash, "out_of_memory", "oc")
    with naming("struct oom_control"):
        return decode_oom_control(Object(crash.prog, "struct oom_control *", place))


# The page and slab allocators and their wrappers, and the end of the kernel.
_ALLOCATORS = re.compile(
    r"alloc|slab|^out_of_memory|^v?panic|kexec|get_free_page|kmemdup|kstrdup|^dump_|"
    r"^warn_|mem_?c(?:group|g)_|charge"
)


def _requester(crash: Crash) -> str | None:
    for frame in crash.outer_frames:
        if frame.function and not frame.inlined and not _ALLOCATORS.search(frame.function):
            return name_at(crash.prog, frame.pc, returned=True)
    return None


def _failure(crash: Crash) -> str | None:
    found = next(filter(None, map(_FAILURE.search, printed_lines(crash, 60, 1))), None)
    return None if found is None else found.string[:200]


def _setting(crash: Crash) -> int:
    try:
        return int(crash.prog["sysctl_panic_on_oom"].value_())
    except LookupError as unknown:
        raise Unavailable("panic_on_oom", Reason.NO_DEBUGINFO, str(unknown)) from unknown


def _killed(crash: Crash) -> str | None:
    found = find_printed(crash, r"Killed process (\d{1,9} \(.{1,64}?\)).{0,20}total-vm", before=60)
    return found[1] if found else None


_PRINTED = {
    # mm/show_mem.c; all of them pages
    "slab_unreclaimable": ("slab_unreclaimable", r"\bslab_unreclaimable:(\d{1,15})\s*$"),
    "shmem": ("shmem", r"\bmapped:\d+ shmem:(\d{1,15}) "),
    "pagetables": ("page_tables", r"\bpagetables:(\d{1,15})\b"),
    "free": ("free", r"^\s*free:(\d{1,15}) free_pcp"),
}


def _compare(crash: Crash, use: MemoryUse) -> tuple[tuple[str, ...], tuple[Printed, ...]]:
    same, other = [], []
    for name, (key, pattern) in _PRINTED.items():
        found = find_printed(crash, pattern)
        value = use.pages(key)
        if found is None or value is None:
            continue
        if int(found[1]) == value:
            same.append(name)
        else:
            other.append(Printed(name=name, printed=int(found[1]), read=value))
    return tuple(same), tuple(other)
