"""What is said of a hang in one sentence, and which modules are part of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crashkit.crash.panics import CACHE_KEY, outsiders
from crashkit.crash.panics.places import Place
from crashkit.crash.panics.waits import Waits
from crashkit.report.text_hang import hang_sentence, is_explained
from crashkit.report.text_outsiders import block


def _document(kind: str, **facts: Any) -> dict[str, Any]:
    return {"panic": {"kind": kind, "facts": facts}}


def _place(function: str) -> dict[str, Any]:
    return {"function": function, "offset": 16, "module": "vendor", "pc": "0x1"}


def _task(address: str, comm: str, **more: Any) -> dict[str, Any]:
    return {"task": address, "pid": 7, "comm": comm, "state": "D", "running": False,
            "seconds": 6.0, "place": _place(f"in_{comm}"), "wait": {"kind": "completion"},
            **more}  # fmt: skip


def _edge(waiter: str, owner: str, certainty: str = "proved") -> dict[str, Any]:
    return {"waiter": waiter, "owner": owner, "kind": "mutex", "certainty": certainty}


def _waits(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tasks": list(tasks), "edges": [], "cycles": [], "causes": [], **more}


def _cause(task: str, waiters: int = 1) -> dict[str, Any]:
    return {"task": task, "waiters": waiters, "in_cycle": False, "known": True}


def test_a_circle() -> None:
    both = [_task("0x1", "a"), _task("0x2", "b")]
    edges = [_edge("0x1", "0x2"), _edge("0x2", "0x1")]
    document = _document("hung-task", waits=_waits(*both, edges=edges, cycles=[["0x1", "0x2"]]))
    said = "a (7) and b (7) wait in a circle: each for a lock that the next one has."
    assert hang_sentence(document) == said
    assert is_explained(document)
    edges[0]["certainty"] = "inferred"
    assert "wait in a circle ~: each" in str(hang_sentence(document))


@pytest.mark.parametrize(
    ("certainty", "words"), [("proved", "has"), ("inferred", "seems to have (~)")]
)
def test_an_owner_is_as_sure_as_the_lock_says(certainty: str, words: str) -> None:
    tasks = [_task("0x1", "waiter"), _task("0x2", "owner", state="S")]
    facts = _waits(*tasks, edges=[_edge("0x1", "0x2", certainty)], causes=[_cause("0x2", 2)])
    document = _document("hung-task", waits=facts)
    assert hang_sentence(document) == (
        f"waiter (7), and 1 more task with it, waits for the mutex that owner (7) {words}; that one"
        " sleeps in in_owner+0x10 [vendor]."
    )
    assert is_explained(document)


def test_what_nobody_owns_is_said_and_not_explained() -> None:
    document = _document("hung-task", waits=_waits(_task("0x1", "a")))
    assert hang_sentence(document) == (
        "a (7) has slept for 6.0 s in in_a+0x10 [vendor], waiting for: completion; nothing says who"
        " ends that."
    )
    assert not is_explained(document)


def test_without_sections_nothing_is_said() -> None:
    for kind in ("hung-task", "soft-lockup", "rcu-stall", "oom", "sysrq", "page-fault"):
        assert hang_sentence(_document(kind)) is None
        assert not is_explained(_document(kind))


def test_a_holder_of_a_spinlock() -> None:
    holder = {"cpu": 1, "pid": 9, "comm": "h", "certainty": "inferred", "place": _place("poll"),
              "spins_itself": False}  # fmt: skip
    lock = {"kind": "spinlock", "holders": [holder], "spinners": [{"cpu": 0}, {"cpu": 2}]}
    document = _document("soft-lockup", spin={"locks": [lock]})
    assert hang_sentence(document) == (
        "CPU 0 and CPU 2 spin for a spinlock that CPU 1, h (9), seems to have (~); that one was in"
        " poll+0x10 [vendor]."
    )
    assert is_explained(document)
    lock |= {"holders": [{**holder, "spins_itself": True}], "spinners": [{"cpu": 1}]}
    said = "CPU 1 spins for a spinlock that it seems to have (~) itself."
    assert hang_sentence(document) == said


def test_a_stalled_cpu_is_said_and_not_explained() -> None:
    line = {"cpu": 1, "pid": 9, "comm": "deaf", "place": _place("poll"), "interrupts": False}
    document = _document("rcu-stall", stall={"cpus": [{"line": line}]})
    assert hang_sentence(document) == (
        "CPU 1 did not get on: it was running deaf (9) in poll+0x10 [vendor], with interrupts off."
    )
    assert not is_explained(document)


@pytest.mark.parametrize(("pages", "explained"), [(60, True), (40, False), (None, False)])
def test_memory_that_one_user_has(pages: int | None, explained: bool) -> None:
    use = {"total_pages": 100, "consumers": [{"pages": pages}, {"pages": 1}]}
    assert is_explained(_document("oom", oom={"use": use})) is explained


def _waiting_in(kind: str) -> list[tuple[str, str]]:
    place = Place(function="drain", offset=0, module="vendor", pc=1)
    waits = Waits(blocked=1, not_looked_at=0, tasks=(SimpleNamespace(place=place),),  # type: ignore[arg-type]
                  edges=(), cycles=(), causes=(), khungtaskd=None)  # fmt: skip
    sections = {"waits": waits, "spin": None, "stall": None}
    prog = SimpleNamespace(cache={CACHE_KEY: sections})
    crash: Any = SimpleNamespace(prog=prog, oops=SimpleNamespace(kind=kind), fault=None)
    return list(outsiders._involved(crash))


def test_a_module_in_which_a_task_of_the_hang_waits_is_part_of_it() -> None:
    assert _waiting_in("hung-task") == [("vendor", "drain")]
    assert _waiting_in("rcu-stall") == [("vendor", "drain")]
    assert _waiting_in("page-fault") == []  # it happens to wait, and has no part in that


def test_such_a_module_is_not_said_to_be_off_the_way() -> None:
    module = {"module": "vendor", "frames": [], "probes": [], "hooks": [], "left_over": [],
              "tracers": [], "involved": ["drain"]}  # fmt: skip
    lines = block({"on_path": [module], "elsewhere": []}, {}, 0)
    assert lines == ["VENDOR vendor (out-of-tree): part of it: drain"]


@pytest.mark.parametrize(("last", "count"), [("codec", 1), (None, 0)])
def test_the_module_that_is_gone_is_named_beside_the_loaded_ones(
    last: str | None, count: int
) -> None:
    diagnosis = {"kind": "unmapped-module", "details": {"last_unloaded": last}}
    lines = block({"on_path": [], "elsewhere": []}, {"fault": {"diagnosis": diagnosis}}, 0)
    gone = ["VENDOR codec was unloaded: its code or data may be what is pointed at ~"]
    assert lines == gone[:count]
    diagnosis["kind"] = "null"
    assert block({"on_path": [], "elsewhere": []}, {"fault": {"diagnosis": diagnosis}}, 0) == []


def test_a_pointer_to_a_modules_data_is_no_return_address(monkeypatch: pytest.MonkeyPatch) -> None:
    code, data = 0xFFFF_FFFF_C000_0010, 0xFFFF_FFFF_C000_2010
    for name, value in {
        "Object": lambda _prog, _type, _task: SimpleNamespace(stack=0x1000),
        "read_bytes": lambda _prog, _low, _size: b"".join(
            word.to_bytes(8, "little") for word in (1, code, data, code)
        ),
        "walk_page_tables": lambda _prog, word: SimpleNamespace(executable=word == code),
        "_owner": lambda _crash, word: "wl" if word > 1 else None,
        "_named": lambda _crash, word: hex(word),
    }.items():
        monkeypatch.setattr(outsiders, name, value)
    prog = {"THREAD_SIZE": 32}
    crash: Any = SimpleNamespace(prog=prog, thread=SimpleNamespace(task=1), frames=())
    assert list(outsiders._left_over(crash)) == [("wl", hex(code))]
