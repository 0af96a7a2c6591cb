"""What a task sleeps on, who waits for whom, and the text of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from drgn import Object

from crashkit.arguments import Argument, MissingArgument
from crashkit.arguments.answer import Answer
from crashkit.crash import Crash, Stack, Thread
from crashkit.crash.panics.places import before_the_panic, stopped_by_panic
from crashkit.crash.panics.waits_find import find_wait
from crashkit.crash.panics.waits_graph import Edge, causes_of, cycles_of
from crashkit.errors import Reason, Unavailable
from crashkit.report.parts import facts
from crashkit.report.text_waits import block
from crashkit.unwind import Frame, Segment
from crashkit.value import Certainty, Origin
from tests.unit.kernel_doubles import Kernel
from tests.unit.lock_doubles import lock_kernel, task, wait_on
from tests.unit.report_doubles import frame

A, B, C, D = (0xFFFF_8880_0000_1000 + 0x1000 * n for n in range(4))


class Sleeper:
    """A crash with one stack, whose arguments and words a test gives."""

    def __init__(self, kernel: Kernel, *names: str) -> None:
        self.prog = kernel.prog
        self.frames = tuple(frame(n, name, 8) for n, name in enumerate(names))
        self.given: dict[str, tuple[Argument, ...]] = {}
        self.registers: dict[str, Answer] = {}
        self.words: dict[int, int] = {}
        self.known: tuple[Object, ...] = ()

    def stack_of(self, _task: Object) -> Stack:
        thread = Thread(cpu=0, pid=1, comm="x", task=1, context=None)
        return Stack(thread=thread, running=False, frames=self.frames, end="end of stack")

    def arguments(self, asked: Frame) -> tuple[tuple[Argument, ...], tuple[MissingArgument, ...]]:
        return self.given.get(asked.function or "", ()), ()

    def register_at_entry(self, asked: Frame, register: str) -> Answer:
        if asked.function not in self.registers:
            raise Unavailable(register, Reason.OPTIMIZED_OUT, "nothing has it")
        return self.registers[asked.function]

    def stack_words(self, _stack: Stack, position: int) -> tuple[tuple[int, int | None], ...]:
        return tuple((0, word) for at, word in self.words.items() if at == position)

    def tasks(self) -> tuple[Object, ...]:
        return self.known


def _argument(name: str, value: int, certainty: Certainty = Certainty.PROVED) -> Argument:
    return Argument(name=name, ctype="struct mutex *", value=value, origin=Origin.DATAFLOW,
                    certainty=certainty, how="as the test says")  # fmt: skip


MUTEX_STACK = ("__schedule", "schedule", "__mutex_lock.constprop.0", "change_config", "kthread")


def _mutex(kernel: Kernel, owner: Object, *waiters: Object) -> Object:
    lock = kernel.allocate("struct mutex")
    kernel.set(lock, {"owner.counter": owner.value_() | 1})
    wait_on(kernel, lock.wait_list.address_of_(), "struct mutex_waiter", "list", *waiters)
    return lock


def test_the_locks_own_list_proves_an_inferred_argument() -> None:
    kernel = lock_kernel()
    owner, me = task(kernel, 1), task(kernel, 2)
    lock = _mutex(kernel, owner, me)
    crash = Sleeper(kernel, *MUTEX_STACK)
    crash.registers["__mutex_lock.constprop.0"] = Answer(
        value=lock.value_(), proved=False, origin=Origin.DATAFLOW, how="rbx"
    )
    found = find_wait(cast(Crash, crash), me)
    assert found.wait.kind == "mutex"
    assert found.wait.certainty is Certainty.PROVED
    assert found.wait.owner == owner.value_()
    assert found.place is not None
    assert found.place.function == "change_config"


def test_a_lock_that_does_not_list_the_task_is_not_proved_by_that() -> None:
    kernel = lock_kernel()
    owner, me, other = (task(kernel, pid) for pid in (1, 2, 3))
    lock = _mutex(kernel, owner, other)
    crash = Sleeper(kernel, *MUTEX_STACK)
    crash.registers["__mutex_lock.constprop.0"] = Answer(
        value=lock.value_(), proved=True, origin=Origin.DATAFLOW, how="rbx"
    )
    found = find_wait(cast(Crash, crash), me).wait
    assert found.certainty is Certainty.INFERRED
    assert found.owner_certainty is Certainty.INFERRED


def test_a_word_of_the_frame_counts_only_where_the_lock_lists_the_task() -> None:
    kernel = lock_kernel()
    owner, me, other = (task(kernel, pid) for pid in (1, 2, 3))
    mine, foreign = _mutex(kernel, owner, me), _mutex(kernel, owner, other)
    crash = Sleeper(kernel, *MUTEX_STACK)
    crash.words[2] = foreign.value_()
    assert find_wait(cast(Crash, crash), me).wait.kind is None
    crash.words[2] = mine.value_()
    assert find_wait(cast(Crash, crash), me).wait.address == mine.value_()


def test_a_work_item_is_waited_for_through_its_completion() -> None:
    kernel = lock_kernel()
    me = task(kernel, 2)
    crash = Sleeper(kernel, "__schedule", "schedule_timeout", "wait_for_completion",
                    "__flush_work.isra.0", "driver_remove")  # fmt: skip
    found = find_wait(cast(Crash, crash), me)
    assert found.wait.kind == "work"
    assert found.wait.owner is None
    assert found.place is not None
    assert found.place.function == "__flush_work.isra.0"


def test_who_serves_a_work_item_a_thread_a_vfork_and_a_journal() -> None:
    kernel = lock_kernel()
    kernel.struct("work_struct", 8, ("data", "atomic_long_t", 0))
    kernel.struct("worker", 8, ("current_work", "struct work_struct *", 0))
    kernel.struct("kthread", 8, ("data", "void *", 0))
    kernel.struct("journal_s", 8, ("j_task", "struct task_struct *", 0))
    me, other = task(kernel, 2), task(kernel, 3)
    work = kernel.allocate("struct work_struct")
    worker = kernel.allocate("struct worker", current_work=work.value_())
    thread = kernel.allocate("struct kthread", data=worker.value_())
    kernel.set(other, {"flags": 0x20, "worker_private": thread.value_()})
    journal = kernel.allocate("struct journal_s", j_task=other.value_())
    rows = (("__flush_work", "work", work), ("kthread_stop", "k", other),
            ("jbd2_log_wait_commit", "journal", journal))  # fmt: skip
    for function, parameter, value in rows:
        crash = Sleeper(kernel, "__schedule", "schedule", function)
        crash.known = (me, other)
        crash.given[function] = (_argument(parameter, value.value_()),)
        found = find_wait(cast(Crash, crash), me).wait
        assert (found.owner, found.owner_certainty) == (other.value_(), Certainty.PROVED)


def test_pages_io_and_the_unknown_say_so() -> None:
    kernel = lock_kernel()
    me = task(kernel, 2)
    paged = Sleeper(kernel, "__schedule", "io_schedule", "folio_wait_bit_common", "truncate")
    paged.given["folio_wait_bit_common"] = (_argument("folio", A),)
    found = find_wait(cast(Crash, paged), me).wait
    assert (found.kind, found.address, found.owner) == ("folio", A, None)
    io = find_wait(cast(Crash, Sleeper(kernel, "__schedule", "io_schedule", "wbt_wait")), me).wait
    assert io.kind == "I/O"
    none = find_wait(cast(Crash, Sleeper(kernel, "__schedule", "vendor_wait")), me).wait
    assert none.kind is None
    assert none.absent["kind"].reason is Reason.UNSUPPORTED


def test_a_task_blocked_on_an_rt_mutex_says_it_itself() -> None:
    kernel = lock_kernel()
    owner = task(kernel, 1)
    lock = kernel.allocate("struct rt_mutex_base", owner=owner.value_() | 1)
    waiter = kernel.allocate("struct rt_mutex_waiter", lock=lock.value_())
    me = task(kernel, 2, pi_blocked_on=waiter.value_())
    found = find_wait(cast(Crash, Sleeper(kernel, "__schedule")), me).wait
    assert (found.kind, found.owner) == ("rt_mutex", owner.value_())


def _edges(*pairs: tuple[int, int], sure: bool = True) -> Mapping[int, Edge]:
    certainty = Certainty.PROVED if sure else Certainty.INFERRED
    return {
        waiter: Edge(waiter=waiter, owner=owner, kind="mutex", address=None, certainty=certainty)
        for waiter, owner in pairs
    }


def test_a_chain_ends_at_its_cause() -> None:
    edges = _edges((A, B), (B, C), (D, C))
    assert cycles_of(edges) == ()
    (cause,) = causes_of(edges, {A, B, C, D})
    assert (cause.task, cause.direct, cause.waiters, cause.in_cycle) == (C, 2, 3, False)
    assert cause.known


def test_a_cycle_is_found_once_and_its_bystander_too() -> None:
    edges = _edges((A, B), (B, A), (C, A))
    assert cycles_of(edges) == ((A, B),)
    (cause,) = causes_of(edges, {A, B, C})
    assert (cause.task, cause.in_cycle, cause.waiters) == (A, True, 2)
    assert cycles_of(_edges((A, A))) == ((A,),)


def test_an_inferred_link_makes_the_cause_inferred_and_an_owner_may_be_no_task() -> None:
    edges = {**_edges((A, B)), **_edges((B, C), sure=False)}
    (cause,) = causes_of(edges, {A, B})
    assert cause.certainty is Certainty.INFERRED
    assert not cause.known


def test_what_a_cpu_did_before_the_panic() -> None:
    hang = (frame(0, "panic"), frame(1, "watchdog_timer_fn"), frame(2, "asm_sysvec_apic"),
            frame(3, "busy", interrupted=True))  # fmt: skip
    assert before_the_panic(hang) == 3
    plain = (frame(0, "panic"), frame(1, "sysrq_handle_crash"), frame(2, "vfs_write"))
    assert before_the_panic(plain) == 1
    stopped = (frame(0, "crash_nmi_callback", segment=Segment.NMI),
               frame(1, "busy", interrupted=True))  # fmt: skip
    assert before_the_panic(stopped) == 1
    assert stopped_by_panic(stopped)
    assert not stopped_by_panic(plain)
    assert before_the_panic((frame(0, "panic"),)) is None


def _json(pid: int, address: int, owner: int | None, **more: Any) -> dict[str, Any]:
    wait = None if owner is None else {
        "kind": "mutex", "address": "0xffff888000009000", "lock": {"name": "rtnl_mutex",
        "held": "held"}, "wants": "", "certainty": "proved", "owner": f"{owner:#x}",
        "owner_certainty": "proved"}  # fmt: skip
    return {"task": f"{address:#x}", "pid": pid, "comm": f"t{pid}", "cpu": 0, "state": "D",
            "running": False, "seconds": 12.5, "wait": wait, "callers": ["kthread"],
            "place": {"function": "work", "offset": 16, "module": None, "pc": "0x1"},
            **more}  # fmt: skip


def _section(edges: Mapping[int, Edge], *tasks: dict[str, Any]) -> dict[str, Any]:
    known = {int(t["task"], 16) for t in tasks}
    return {"blocked": len(tasks), "not_looked_at": 0, "tasks": list(tasks),
            "edges": facts(tuple(edges.values())), "cycles": facts(cycles_of(edges)),
            "causes": facts(causes_of(edges, known)), "khungtaskd": None}  # fmt: skip


def test_text_of_a_cycle() -> None:
    edges = _edges((A, B), (B, A), (C, A))
    text = "\n".join(block(_section(edges, _json(1, A, B), _json(2, B, A), _json(3, C, A)), {}, 0))
    assert "DEADLOCK: 2 tasks wait for each other" in text
    assert text.count("<-- cycle") == 1
    assert "t3 (3) D 12.5 s  mutex ffff888000009000 (rtnl_mutex) held by t1 (1)" in text


def test_text_names_the_cause_first_and_folds_its_waiters() -> None:
    pairs = [(D + 0x100 * n, A) for n in range(40)]
    tasks = [_json(9, A, None, running=True, state="R")]
    tasks += [_json(n, waiter, A) for n, (waiter, _a) in enumerate(pairs)]
    lines = block(_section(_edges(*pairs), *tasks), {}, 0)
    assert lines[1].startswith("  t9 (9) runs on CPU 0: work+0x10 < kthread")
    assert lines[2].startswith("    t0 (0) and 39 like it, D 12.5 s  mutex")
    assert len(lines) < 8


def test_text_of_a_cycle_that_the_document_cut() -> None:
    section = _section(_edges((A, B), (B, A)), _json(1, A, B), _json(2, B, A))
    section["tasks"] = section["tasks"][:1]
    section["blocked"] = 400
    lines = block(section, {}, 0)
    assert lines[0] == "WAITS  400 blocked, the first 1 here"
    assert lines[1] == "  DEADLOCK of 2 tasks, of which not all are in this report"


def test_text_of_an_owner_that_is_no_task() -> None:
    lines = block(_section(_edges((A, B)), _json(1, A, B)), {}, 0)
    assert "no task of the dump" in lines[1]
