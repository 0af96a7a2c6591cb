"""The CPUS, SPIN, STALL and ATOMIC blocks of the text report."""

from __future__ import annotations

from typing import Any

from crashkit.report import text_atomic, text_cpus, text_spin, text_stall
from crashkit.report.columns import WIDTH

COUNT = {"value": 0x102, "preempt": 2, "softirq": 1, "hardirq": 0, "nmi": 0,
         "need_resched": False}  # fmt: skip


def _place(function: str | None = "poll", module: str | None = "vendor") -> dict[str, Any]:
    return {"function": function, "offset": 9, "module": module, "pc": "0xffffffffc0001009"}


def _line(cpu: int, **more: Any) -> dict[str, Any]:
    return {"cpu": cpu, "panicked": False, "online": True, "idle": False, "task": "0x1",
            "pid": 10 + cpu, "comm": f"t{cpu}", "nr_running": 1, "preempt_count": COUNT,
            "context": "process", "interrupts": True, "stopped_by_panic": True,
            "place": _place(), "callers": ["a", "b", "c", "d"], **more}  # fmt: skip


def _cpus(*lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"present": len(lines), "lines": list(lines), "idle": [], "offline": [],
            "not_shown": 0, **more}  # fmt: skip


def test_cpus_folds_the_idle_ones_and_marks_the_one_that_panicked() -> None:
    idle = _line(1, idle=True)
    section = _cpus(_line(0, panicked=True, interrupts=False), idle, idle=[[1, 1], [4, 63]])
    lines = text_cpus.block(section, {}, 0)
    assert lines[0] == "CPUS   2; 61 idle: CPU 1,4-63"
    assert lines[1].startswith("    0 >t0 (10)")
    assert "process irqs-off  poll+0x9 [vendor] < a < b < c" in lines[1]
    assert "t1" not in "".join(lines)
    assert "t1" in "".join(text_cpus.block(section, {}, 1))


def test_of_the_cpu_that_panicked_preemption_is_told_without_the_panics_own() -> None:
    line = _line(0, panicked=True, preempt_off=1)
    assert "process preempt-off:1  poll" in text_cpus.block(_cpus(line), {}, 0)[1]
    for more in ({"preempt_off": 0}, {"preempt_off": None}, {"preempt_off": 1, "pid": 0}):
        shown = text_cpus.block(_cpus(line | more), {}, 0)[1]
        assert "preempt-off" not in shown


def test_an_idle_cpu_that_panicked_is_shown() -> None:
    lines = text_cpus.block(_cpus(_line(0, panicked=True, idle=True)), {}, 0)
    assert len(lines) == 2


def test_a_cpu_of_which_nothing_is_known() -> None:
    gone = _line(3, place=None, context=None, interrupts=None, preempt_count=None, pid=None,
                 comm=None, task=None, nr_running=None, online=False, callers=[])  # fmt: skip
    section = _cpus(gone, offline=[[3, 3]])
    assert text_cpus.block(section, {}, 0) == ["CPUS   1; 1 offline: CPU 3"]
    (line,) = text_cpus.block(section, {}, 1)[1:]
    assert "?" in line
    assert "not known" in line
    assert "offline" in line


def test_a_cpu_that_may_have_been_offline_is_not_folded_into_the_idle_ones() -> None:
    (line,) = text_cpus.block(_cpus(_line(3, idle=True, online=None)), {}, 0)[1:]
    assert line.endswith("perhaps offline")


def test_a_place_in_user_space_is_a_number() -> None:
    jumped = _line(0, panicked=True, place={**_place(None), "pc": 0x1000})
    assert "0x1000" in text_cpus.block(_cpus(jumped), {}, 0)[1]


def _task(cpu: int, certainty: str = "proved") -> dict[str, Any]:
    return {"cpu": cpu, "pid": cpu, "comm": "x", "task": "0x1", "place": _place(),
            "callers": ["a"], "certainty": certainty,
            "how": "f+0x1 called g() with it"}  # fmt: skip


def test_spin_names_the_holder_as_inferred_and_draws_the_circle() -> None:
    word = {"name": "ring_lock", "value": 0x40101, "locked": True, "pending": True,
            "readers": None, "tail_cpu": 0, "queue": [{"cpu": 0}]}  # fmt: skip
    lock = {"kind": "spinlock", "address": "0xffffffffc0500000", "lock": word,
            "spinners": [_task(n) for n in range(12)],
            "holders": [_task(7, "inferred")]}  # fmt: skip
    lines = text_spin.block({"locks": [lock], "cycles": [[1, 2]]}, {}, 0)
    text = "\n".join(lines)
    assert "spinlock ffffffffc0500000 (ring_lock)  value 0x40101: locked, pending" in text
    assert "held~  CPU 7 x (7): poll+0x9 [vendor] < a  (f+0x1 called g() with it)" in text
    assert "4 more CPUs" in text
    assert "DEADLOCK ~: CPU 1 -> CPU 2 -> CPU 1" in text
    assert max(map(len, lines)) <= WIDTH


def test_spin_without_a_holder_says_why() -> None:
    lock = {"kind": "rwlock", "address": None, "lock": None, "spinners": [_task(0)],
            "holders": []}  # fmt: skip
    text = "\n".join(text_spin.block({"locks": [lock], "cycles": [[3]]}, {}, 0))
    assert "by whom: not known" in text
    assert "CPU 3 wants what it has itself" in text


def test_stall_of_rcu_with_interrupts_off_and_a_starved_thread() -> None:
    rcu = {"holds_up": True, "ticks": 0, "sees_period": False}
    line = _line(1, interrupts=False)
    section = {
        "kind": "rcu-stall", "lockup": None, "readers": [],
        "cpus": [{"line": line, "since_s": None, "rcu": rcu}], "settings": None,
        "rcu": {"name": "rcu_preempt", "running_s": 21.0, "in_progress": True, "timeout_s": 21},
        "printed": {"starved_ticks": 5250},
        "gp_kthread": {**_task(0), "state": "R", "running": False, "seconds": 21.0},
    }  # fmt: skip
    text = "\n".join(text_stall.block(section, {}, 0))
    assert "rcu_preempt, grace period runs for 21.0 s (reported after 21 s)" in text
    assert "INTERRUPTS OFF" in text
    assert "0 ticks in this period, has not noted it" in text.replace("\n         ", " ")
    assert "STARVED for 5250 jiffies" in text


def test_stall_of_a_cpu() -> None:
    section = {"kind": "soft-lockup", "lockup": {"cpu": 2, "seconds": 22}, "readers": [],
               "cpus": [{"line": _line(2), "since_s": 23.4, "rcu": None}], "rcu": None,
               "settings": {"watchdog_thresh_s": 10}, "gp_kthread": None,
               "printed": None}  # fmt: skip
    text = "\n".join(text_stall.block(section, {}, 0))
    assert "STALL  soft-lockup: CPU 2 for 22 s; watchdog_thresh 10 s" in text
    assert "watchdog last ran 23.4 s ago" in text


def test_atomic_leaves_out_schedules_own_count() -> None:
    section = {"comm": "orders", "pid": 95, "count": {**COUNT, "softirq": 3}, "own": 1,
               "interrupts_off": None, "place": _place("msleep", None), "callers": ["f"],
               "spinlocks": [{"address": "0xffff888000001000", "function": "f", "offset": 20,
                              "called": "_raw_spin_lock"}]}  # fmt: skip
    text = "\n".join(text_atomic.block(section, {}, 0))
    assert "preempt_count 0x102: preemption disabled 1 time, in a softirq" in text
    assert "softirqs disabled 1 time" in text.replace("\n       ", " ")
    assert "has~ f+0x14 called _raw_spin_lock() with ffff888000001000" in text
    unknown = {**section, "count": None, "spinlocks": [], "place": None}
    assert text_atomic.block(unknown, {}, 0) == [
        "ATOMIC orders (95) slept: preempt_count not known"
    ]
