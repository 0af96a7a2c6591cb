"""What a dump holds, what debug info was found, and what can be answered with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.doctor.words import in_words
from crashkit.errors import Reason, Unavailable
from crashkit.memory import BROKEN_WALK, read_bytes
from crashkit.symbols import find_symbol
from crashkit.symbols.where import Offer, offer
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash import Crash

_TEXT = "there is no dump, only text"
_NAMELESS = "cannot be looked for without symbols"
_IN_TEXT = ("kernel log", "crash report in it")
_TYPED = ("dwarf", "hybrid", "btf")
_DWARF = "debug info (DWARF)"
_VMLINUX = "the kernel's vmlinux with debug info (-s)"
_EXCLUDED = {
    1: "zero pages",
    2: "page cache",
    4: "page cache with private data",
    8: "pages of user processes",
    16: "free pages",
}
"""makedumpfile(8), -d."""


@facts
class Holding:
    """One kind of thing that a dump may hold."""

    what: str
    state: str
    """``there``, ``absent`` or ``unknown``."""
    detail: str
    reason: Reason | None = None
    """Why it is not there."""


@facts
class Answer:
    """A question that crashkit may be asked."""

    question: str
    answered: str
    """``yes``, ``partly`` or ``no``."""
    lacks: tuple[str, ...]
    """What is missing for it."""
    remedy: str
    """What would supply it; empty when nothing is missing."""


@facts
class Examination:
    """Everything ``crashkit doctor`` says."""

    holdings: tuple[Holding, ...]
    offer: Offer
    """How the kernel's debug info is to be had."""
    answers: tuple[Answer, ...]

    def has(self, what: str) -> bool:
        """Whether the dump holds it."""
        return any(h.what == what and h.state == "there" for h in self.holdings)


def examine(crash: Crash) -> Examination:
    """Look at everything a dump may hold, in the order in which it is needed.

    Each is looked at by itself; one that is missing does not hide the next.
    """
    holdings = _said_once(_held(crash, what, look) for what, look in _HOLDINGS)
    target = crash.target
    found = Examination(
        holdings=holdings,
        offer=offer(target.release, target.version or _version(crash), target.build_id),
        answers=(),
    )
    return Examination(holdings=holdings, offer=found.offer, answers=_answers(crash, found))


def _held(crash: Crash, what: str, look: Callable[[Crash], str]) -> Holding:
    if crash.target.format == "text" and what not in _IN_TEXT:
        return Holding(what=what, state="absent", detail=_TEXT, reason=Reason.NOT_APPLICABLE)
    try:
        return Holding(what=what, state="there", detail=look(crash))
    except Unavailable as missing:
        return Holding(what=what, state="absent", detail=in_words(missing), reason=missing.reason)
    except LookupError as unknown:  # a name or type that only debug info would give
        return Holding(what=what, state="absent", detail=str(unknown), reason=Reason.NO_DEBUGINFO)
    except BROKEN_WALK as broken:
        return Holding(what=what, state="unknown", detail=str(broken), reason=Reason.CORRUPTED)


def _said_once(found: Iterable[Holding]) -> tuple[Holding, ...]:
    # Without symbols each of the rest fails on a name of its own, which tells nobody more.
    holdings = tuple(found)
    if any(h.what == "symbols" and h.state == "there" for h in holdings):
        return holdings
    return tuple(
        replace(h, detail=_NAMELESS)
        if h.reason is Reason.NO_DEBUGINFO and h.what not in ("symbols", "types")
        else h
        for h in holdings
    )


def _version(crash: Crash) -> str | None:
    try:
        return crash.banner.version
    except Unavailable:
        return None


def _log(crash: Crash) -> str:
    return f"{crash.log.count(chr(10))} lines"


def _report(crash: Crash) -> str:
    try:
        _log(crash)
    except Unavailable as missing:
        raise Unavailable(missing.what, missing.reason, "there is no log to look in") from missing
    if crash.oops is None:
        raise Unavailable("a crash report", Reason.NOT_IN_DUMP, "the log has none")
    return crash.oops.title or crash.oops.message


def _registers(crash: Crash) -> str:
    if not crash.target.cpus:
        raise Unavailable("CPU registers", Reason.NOT_IN_DUMP, "no NT_PRSTATUS note")
    return f"of {crash.target.cpus} CPUs"


def _symbols(crash: Crash) -> str:
    symbol = find_symbol(crash.prog, "init_task")
    if symbol is None:
        raise Unavailable("symbols", Reason.NO_DEBUGINFO, "neither kallsyms nor a vmlinux")
    return f"init_task at {symbol.address:016x}"


def _types(crash: Crash) -> str:
    if crash.types not in _TYPED:
        raise Unavailable("types", Reason.NO_DEBUGINFO, "neither BTF nor DWARF")
    words = {"dwarf": "DWARF", "hybrid": "DWARF and BTF", "btf": "BTF, from the dump itself"}
    return words[crash.types]


def _unwind_tables(crash: Crash) -> str:
    start = find_symbol(crash.prog, "__start_orc_unwind")
    stop = find_symbol(crash.prog, "__stop_orc_unwind")
    if find_symbol(crash.prog, "init_task") is None:
        raise Unavailable("unwind tables", Reason.NO_DEBUGINFO, "no symbols tell where they are")
    if start is None or stop is None:
        raise Unavailable("unwind tables", Reason.NOT_APPLICABLE, "the kernel has none (ORC)")
    read_bytes(crash.prog, start.address, 8, "ORC tables")
    return f"ORC, {(stop.address - start.address) // 1024} KiB"


def _text(crash: Crash) -> str:
    symbol = find_symbol(crash.prog, "schedule")
    if symbol is None:
        raise Unavailable("kernel code", Reason.NO_DEBUGINFO, "no symbol schedule")
    read_bytes(crash.prog, symbol.address, min(symbol.size, 4096) or 1, "kernel code")
    return "its own bytes, as they ran"


def _stack(crash: Crash) -> str:
    frames = crash.frames
    if not frames:
        stack = crash.crashed_stack
        raise Unavailable("the crashed stack", stack.reason or Reason.NOT_IN_DUMP, stack.end)
    return f"{len([f for f in frames if not f.inlined])} frames"


def _tasks(crash: Crash) -> str:
    if find_symbol(crash.prog, "init_task") is None:
        raise Unavailable("tasks", Reason.NO_DEBUGINFO, "no symbol init_task")
    tasks = crash.tasks()
    if not tasks:
        raise Unavailable("tasks", Reason.NOT_IN_DUMP, "none can be listed")
    return f"{len(tasks)}"


def _slabs(crash: Crash) -> str:
    from drgn.helpers.linux.slab import for_each_slab_cache

    count = sum(1 for _cache in for_each_slab_cache(crash.prog))
    return f"{count} caches"


def _page_tables(crash: Crash) -> str:
    read_bytes(crash.prog, crash.target.vmcoreinfo.symbol("swapper_pg_dir"), 8, "page tables")
    return "of the kernel"


def _user_memory(crash: Crash) -> str:
    level = crash.target.dump_level
    if level is not None and level & 8:
        raise Unavailable("user memory", Reason.NOT_IN_DUMP, f"left out by makedumpfile -d {level}")
    task = crash.thread.task
    if task is None:
        raise Unavailable("user memory", Reason.NOT_IN_DUMP, "the crashed task is not known")
    memory = Object(crash.prog, "struct task_struct *", task).mm
    if not memory:
        raise Unavailable("user memory", Reason.NOT_APPLICABLE, "a kernel thread crashed")
    return "not left out"


_HOLDINGS: tuple[tuple[str, Callable[[Crash], str]], ...] = (
    ("kernel log", _log),
    ("crash report in it", _report),
    ("CPU registers", _registers),
    ("page tables", _page_tables),
    ("symbols", _symbols),
    ("types", _types),
    ("unwind tables", _unwind_tables),
    ("kernel code", _text),
    ("crashed stack", _stack),
    ("tasks", _tasks),
    ("slab caches", _slabs),
    ("user memory", _user_memory),
)

# Question, what it needs, what makes a better answer.
_QUESTIONS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("what the kernel said (log, oops)", ("kernel log",), ("crash report in it",)),
    ("where it crashed (bt)", ("symbols", "crashed stack"), ("unwind tables",)),
    ("with which arguments (bt -v)", ("symbols", "types", "kernel code", "crashed stack"), ()),
    ("which pointer was bad, and why (explain)",
     ("symbols", "types", "kernel code", "crashed stack"), ("slab caches",)),
    ("what every task did (bt --all-tasks)", ("symbols", "types", "tasks"), ("unwind tables",)),
    ("connections, packets, hooks (conntrack, skb)", ("symbols", "types", "slab caches"), ()),
    ("who has the memory", ("symbols", "types", "slab caches"), ("tasks",)),
    ("arguments of processes", ("types", "user memory"), ()),
    ("source lines and inlined functions", (_DWARF,), ()),
)  # fmt: skip

_REMEDIES = {
    "kernel log": "vmcore-dmesg.txt beside the dump, or the console's log",
    "crash report in it": "the console's log",
    "CPU registers": "a dump by kdump, or QEMU's ELF format",
    "page tables": "a dump that is whole",
    "symbols": _VMLINUX,
    "types": _VMLINUX,
    "unwind tables": _VMLINUX,
    "kernel code": "a dump that is whole, or the kernel's vmlinux (-s)",
    "crashed stack": "a dump that is whole",
    "tasks": "a dump that is whole",
    "slab caches": "a dump that is whole, with kernel pages (makedumpfile -d 31 or less)",
    "user memory": "a dump with the pages of processes (makedumpfile -d 23)",
    _DWARF: "the kernel's debug package",
}


def _answers(crash: Crash, found: Examination) -> tuple[Answer, ...]:
    def has(what: str) -> bool:
        return crash.types in ("dwarf", "hybrid") if what == _DWARF else found.has(what)

    answers = []
    for question, needs, betters in _QUESTIONS:
        lacks = [what for what in needs if not has(what)]
        better = [what for what in betters if not has(what)]
        answered = "no" if lacks else "partly" if better else "yes"
        missing = tuple(lacks or better)
        if missing and crash.target.format == "text":
            remedies = {"the dump": None}
        elif missing and not found.has("page tables"):
            remedies = {_REMEDIES["page tables"]: None}  # debug info alone would not help
        else:
            remedies = dict.fromkeys(_remedy(found, what) for what in missing)
        answers.append(
            Answer(
                question=question,
                answered=answered,
                lacks=missing,
                remedy="; ".join(remedies),
            )
        )
    return tuple(answers)


def _remedy(found: Examination, what: str) -> str:
    if what == _DWARF and found.offer.package:
        return f"{_REMEDIES[what]}, {found.offer.package}"
    reason = next((h.reason for h in found.holdings if h.what == what), None)
    return _VMLINUX if reason is Reason.NO_DEBUGINFO else _REMEDIES[what]


def left_out(level: int | None) -> tuple[str, ...] | None:
    """What makedumpfile left out at a dump level; None where the level is not known."""
    if level is None:
        return None
    return tuple(words for bit, words in _EXCLUDED.items() if level & bit)
