"""What diff takes of a dump: caches of one name, merged ones, what a reader could not have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from drgn import FaultError

from crashkit.crash import Crash
from crashkit.decode.memory import Consumer, MemoryUse
from crashkit.decode.memory_slabs import CacheUse, SlabUse
from crashkit.decode.memory_tasks import ProcessUse
from crashkit.decode.memory_vmalloc import VmallocCaller
from crashkit.decode.skb_queues import QueuedSkb, QueuedSkbs, UnreadQueue
from crashkit.diff import read_kernel, read_memory, read_tasks
from crashkit.diff.parts import PARTS
from crashkit.diff.snapshot import _read
from crashkit.errors import Reason, Unavailable

BUDGET = Unavailable("used", Reason.BUDGET, "more than 8192 partial slabs")


@pytest.fixture
def crash() -> Crash:
    return cast(Crash, SimpleNamespace(prog=SimpleNamespace(cache={})))


def cache(name: str | None, used: int | None, *aliases: str) -> CacheUse:
    return CacheUse(
        cache=0xFFFF_8880_0000_0000, name=name, aliases=aliases, pages=2, slabs=2, objects=20,
        used=used, object_size=8, reclaimable=False, absent={} if used is not None else
        {"used": BUDGET},
    )  # fmt: skip


def test_caches_of_one_name_are_added_up(monkeypatch: pytest.MonkeyPatch, crash: Crash) -> None:
    caches = (cache("a", 5, "merged"), cache("a", 6), cache("b", None))
    use = SlabUse(caches=caches, number=3, pages=6, unreadable=0)
    monkeypatch.setattr(read_memory, "slab_use", lambda _prog, _most: use)
    found = read_memory.read_slabs(crash)
    a, b = found.find("a"), found.find("b")
    assert a is not None
    assert b is not None
    assert a.numbers == {"count": 11, "bytes": 4 * 4096, "room": 40}
    assert b.numbers == {"count": BUDGET, "bytes": 2 * 4096, "room": 20}
    assert (a.aliases, found.merged, found.incomplete) == (("merged",), {"merged": "a"}, None)


def test_a_cache_that_cannot_be_read_makes_the_list_incomplete(
    monkeypatch: pytest.MonkeyPatch, crash: Crash
) -> None:
    use = SlabUse(caches=(cache("a", 5), cache(None, 1)), number=3, pages=6, unreadable=1)
    monkeypatch.setattr(read_memory, "slab_use", lambda _prog, _most: use)
    found = read_memory.read_slabs(crash)
    assert found.incomplete is not None
    assert found.incomplete.detail == "2 caches could not be read"


def test_what_is_not_read_makes_the_rest_unknown(
    monkeypatch: pytest.MonkeyPatch, crash: Crash
) -> None:
    lost = Unavailable("vmalloc", Reason.NOT_IN_DUMP, "gone")
    consumers = (
        Consumer(key="free", name="free", pages=3, origin="x"),
        Consumer(key="vmalloc", name="vmalloc", pages=None, origin="x", unavailable=lost),
    )
    use = MemoryUse(
        total_pages=10, total_origin="x", zones=(), consumers=consumers, beside=(),
        accounted_pages=3, unaccounted_pages=7, percent_unaccounted=70.0,
    )  # fmt: skip
    monkeypatch.setattr(read_memory, "memory_use", lambda _prog: use)
    numbers = {one.key: one.numbers["bytes"] for one in read_memory.read_memory(crash).amounts}
    assert (numbers["total"], numbers["free"]) == (40960, 3 * 4096)
    assert numbers["vmalloc"] is lost
    rest = numbers["unaccounted"]
    assert isinstance(rest, Unavailable)
    assert rest.detail == "vmalloc was not read"


def test_areas_are_those_of_functions(monkeypatch: pytest.MonkeyPatch, crash: Crash) -> None:
    callers = [
        VmallocCaller(caller=1, name="leak+0x10 [mod]", pages=2, areas=1),
        VmallocCaller(caller=2, name="leak+0x20 [mod]", pages=3, areas=4),
        VmallocCaller(caller=3, name="leak+0x20", pages=1, areas=1),
        VmallocCaller(caller=0x30, name=None, pages=1, areas=1),
    ]
    monkeypatch.setattr(read_memory, "vmalloc_callers", lambda _prog, _most: callers)
    found = {one.key: one.numbers for one in read_memory.read_vmalloc(crash).amounts}
    assert found == {
        "leak [mod]": {"count": 5, "bytes": 5 * 4096},
        "leak": {"count": 1, "bytes": 4096},
        "0x30": {"count": 1, "bytes": 4096},
    }


def test_a_queue_that_is_not_read_is_not_zero(
    monkeypatch: pytest.MonkeyPatch, crash: Crash
) -> None:
    skb = QueuedSkb(address=1, place="socket", queue="q", owner_type="t", owner=2,
                    owner_name="n", net=None)  # fmt: skip
    unread = UnreadQueue(place="qdisc", queue="all", reason=Reason.CORRUPTED, detail="a cycle")
    found = QueuedSkbs(skbs=(skb, skb), unread=(unread,))
    monkeypatch.setattr(read_kernel, "queued_skbs", lambda _prog: found)
    numbers = {one.key: one.numbers["count"] for one in read_kernel.read_skbs(crash).amounts}
    assert numbers["socket"] == 2
    assert isinstance(numbers["qdisc"], Unavailable)


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (ProcessUse(processes=(), number=3, unreadable=0, exact=False), Reason.BUDGET),
        (ProcessUse(processes=(), number=3, unreadable=3, exact=True), Reason.NOT_IN_DUMP),
    ],
)
def test_memory_by_name_is_of_all_processes_or_of_none(use: ProcessUse, reason: Reason) -> None:
    why = read_tasks._why_not_all(use)
    assert why is not None
    assert why.reason is reason
    assert (
        read_tasks._why_not_all(ProcessUse(processes=(), number=0, unreadable=0, exact=True))
        is None
    )


@pytest.mark.parametrize(
    ("name", "kernel", "family"),
    [("kworker/0:1-events", True, "[kworker]"), ("a/b", False, "a/b"), ("ksmd", True, "[ksmd]")],
)
def test_kernel_threads_of_a_kind_are_together(name: str, kernel: bool, family: str) -> None:
    assert read_tasks._family(name, kernel=kernel) == family


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FaultError("gone", 1), Reason.NOT_IN_DUMP),
        (ValueError("nonsense"), Reason.CORRUPTED),
        (LookupError("no type"), Reason.NO_DEBUGINFO),
        (OverflowError("huge"), Reason.CORRUPTED),
    ],
)
def test_a_reader_that_fails_gives_its_reason(
    crash: Crash, error: Exception, reason: Reason
) -> None:
    def read(_crash: Crash) -> Any:
        raise error

    found = _read(read, crash)
    assert isinstance(found, Unavailable)
    assert found.reason is reason


def test_a_bug_is_shown_as_a_bug(crash: Crash) -> None:
    def read(_crash: Crash) -> Any:
        raise TypeError("ours")

    with pytest.raises(TypeError):
        _read(read, crash)


def test_parts_have_keys_of_their_own() -> None:
    keys = [part.key for part in PARTS]
    assert len(keys) == len(set(keys))
