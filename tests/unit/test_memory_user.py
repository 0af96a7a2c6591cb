"""Who alone has more than half of the memory, and the recipe that says so."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from drgn import Program

from crashkit.crash import memory_user
from crashkit.crash.memory_user import largest_user
from crashkit.decode.memory import Consumer, MemoryUse
from crashkit.errors import Unavailable
from crashkit.finding import Verdict
from tests.unit.recipes_memory_doubles import CACHE, OTHER, MemoryCrash, verdict
from tests.unit.report_doubles import as_crash, empty

TASK = 0xFFFF_8880_0040_0000


def use_of(**pages: int | None) -> MemoryUse:
    consumers = tuple(
        Consumer(key=key, name=key, pages=count, origin="", unavailable=None)
        for key, count in pages.items()
    )
    counted = sum(count or 0 for count in pages.values())
    return MemoryUse(
        total_pages=1000, total_origin="managed_pages", zones=(), consumers=consumers, beside=(),
        accounted_pages=counted, unaccounted_pages=1000 - counted, percent_unaccounted=0.0,
    )  # fmt: skip


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the decoders say of who has the memory; nobody has much."""
    made = SimpleNamespace(
        cache=10,
        caches_unread=0,
        process=10,
        anon=700,
        shmem=0,
        tasks_unread=0,
        fs=10,
        complete=True,
        area=10,
    )

    def slab_use(_prog: Program, most: int) -> object:
        one = SimpleNamespace(name="orders", pages=made.cache, cache=CACHE)
        return SimpleNamespace(caches=(one,), unreadable=made.caches_unread)

    def process_use(_prog: Program, _tasks: object, most: int) -> object:
        one = SimpleNamespace(
            comm="orders", pid=96, rss=made.process, anon=made.anon, shmem=made.shmem, task=TASK
        )
        return SimpleNamespace(processes=(one,), unreadable=made.tasks_unread)

    def file_systems(_prog: Program) -> object:
        return (
            SimpleNamespace(
                kind="tmpfs", name="tmpfs", pages=made.fs, super_block=OTHER, complete=made.complete
            ),
        )

    def callers(_prog: Program, most: int) -> object:
        return (SimpleNamespace(name="leak+0x25 [kinds]", caller=1, pages=made.area),)

    parts = "crashkit.decode.memory_"
    monkeypatch.setattr(parts + "slabs.slab_use", slab_use)
    monkeypatch.setattr(parts + "tasks.process_use", process_use)
    monkeypatch.setattr(parts + "files.memory_file_systems", file_systems)
    monkeypatch.setattr(parts + "vmalloc.vmalloc_callers", callers)
    monkeypatch.setattr(memory_user, "counters_place", lambda _crash: OTHER)
    return made


@dataclass
class TaskCrash(MemoryCrash):
    """One whose tasks can be listed."""

    def tasks(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("counts", "has", "kind"),
    [
        ({"slab_unreclaimable": 700, "free": 300}, {"cache": 600}, "slab cache"),
        ({"anonymous": 700, "free": 300}, {"process": 600}, "process"),
        ({"shmem": 700, "free": 300}, {"fs": 600}, "tmpfs"),
        ({"vmalloc": 700, "free": 300}, {"area": 600}, "vmalloc"),
        ({"free": 300}, {}, "pages that nobody counts"),
        ({"slab_unreclaimable": 700, "free": 300}, {"cache": 500}, None),
        # What a count leaves no room for is not looked at, whatever it says.
        ({"anonymous": 500, "free": 400}, {"process": 600, "cache": 600}, None),
        # A process that maps the pages of a file system has not got them.
        ({"anonymous": 600, "free": 400}, {"process": 700, "shmem": 400}, None),
    ],
)
def test_who_has_more_than_half(
    users: SimpleNamespace, counts: dict[str, int], has: dict[str, int], kind: str | None
) -> None:
    vars(users).update(has)
    found = largest_user(as_crash(TaskCrash(target=empty().target)), use_of(**counts))
    assert (found and found.kind) == kind


@pytest.mark.parametrize(
    ("counts", "has"),
    [
        ({"slab_unreclaimable": 700, "free": 300}, {"caches_unread": 1}),
        ({"anonymous": 700, "free": 300}, {"tasks_unread": 1}),
        ({"anonymous": 700, "free": 300}, {"anon": 600}),  # of a process that is not listed
        ({"shmem": 700, "free": 300}, {"complete": False}),
        ({"vmalloc": None, "free": 300}, {}),
    ],
)
def test_nobody_was_found_and_not_all_were_read(
    users: SimpleNamespace, counts: dict[str, int | None], has: dict[str, int]
) -> None:
    vars(users).update(has)
    with pytest.raises(Unavailable):
        largest_user(as_crash(TaskCrash(target=empty().target)), use_of(**counts))


@pytest.mark.parametrize(
    ("constraint", "memcg", "cache", "wanted"),
    [
        ("none", "", 600, Verdict.CONFIRMED),
        ("none", "", 400, Verdict.REFUTED),
        ("memcg", "/pod-7", 600, Verdict.REFUTED),
        ("cpuset", "", 600, Verdict.REFUTED),
        (None, "", 600, Verdict.INCONCLUSIVE),
    ],
)
def test_the_whole_system_ran_out(
    monkeypatch: pytest.MonkeyPatch,
    users: SimpleNamespace,
    constraint: str | None,
    memcg: str,
    cache: int,
    wanted: Verdict,
) -> None:
    users.cache = cache
    request = SimpleNamespace(constraint=constraint, memcg=memcg, absent={})
    monkeypatch.setattr("crashkit.crash.panics.call_sites.argument", lambda *_: OTHER)
    monkeypatch.setattr("crashkit.decode.oom.decode_oom_control", lambda _oc: request)
    monkeypatch.setattr(
        "crashkit.decode.memory.memory_use", lambda _prog: use_of(slab_unreclaimable=700, free=300)
    )
    crash = TaskCrash(target=empty().target, oops=SimpleNamespace(kind="oom"))  # type: ignore[arg-type]
    crash.kernel.declare("oom_control")
    assert verdict("one-consumer-of-memory", crash) is wanted
