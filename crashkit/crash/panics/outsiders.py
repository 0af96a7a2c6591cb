"""Out-of-tree modules, and whether any of their code is on the way to the crash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from typing import TYPE_CHECKING

from drgn import Object

from crashkit.crash.others import out_of_tree_modules
from crashkit.crash.panics.evidence import find_section
from crashkit.decode.address_walk import walk_page_tables
from crashkit.decode.fields import naming
from crashkit.decode.hooks import hook_functions
from crashkit.errors import Reason, Unavailable
from crashkit.memory import bounded, read_bytes
from crashkit.symbols import SymbolAt, module_at, symbol_at
from crashkit.symbols.breakpoints import registered_probes
from crashkit.value import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crashkit.crash.core import Crash
    from crashkit.crash.panics.places import Place

_MOST_PROBES = 4096
_MOST_TRACERS = 256
_WORD = 8
_HANGS = ("hung-task", "soft-lockup", "hard-lockup", "rcu-stall", "spinlock-deadlock")
_HOOK_CALLERS = ("nf_hook_slow", "nf_hook_slow_list", "nf_iterate", "nf_reinject")


@facts
class Outsider:
    """One module that is marked out-of-tree; None carries its reason in ``absent``."""

    module: str
    frames: tuple[str, ...]
    """Its functions on the crashed stack, innermost first."""
    left_over: tuple[str, ...] | None
    """Addresses of its code among other words of the crashed stack: it ran there before,
    or a pointer to a function is kept; a hint only."""
    probes: tuple[str, ...] | None
    """Functions on the crashed stack with a kprobe whose handler is the module's."""
    tracers: tuple[str, ...] | None
    """Its handlers among the function tracer's; which functions they trace is not read."""
    hooks: tuple[str, ...] | None
    """Its netfilter hooks in the initial namespace, where the crashed stack runs hooks; None
    for a module whose functions are on the stack, which says more."""
    involved: tuple[str, ...] | None = ()
    """Its functions where tasks or CPUs of a hang were, or that made the call which faulted."""
    absent: Mapping[str, Reason] = field(default_factory=dict)

    @property
    def on_path(self) -> bool:
        """Whether its code is on the stack, hangs at a function of it, or is part of a hang."""
        return bool(self.frames or self.probes or self.hooks or self.involved)


@facts
class Outsiders:
    """The out-of-tree modules that are loaded."""

    on_path: tuple[Outsider, ...]
    """Those whose code is on the stack, or hooked into a function that is."""
    elsewhere: tuple[Outsider, ...]


def read(crash: Crash) -> Outsiders | None:
    """Look for out-of-tree code on the way to the crash; None where no such module is loaded.

    :raises Unavailable: the list of modules cannot be read, or there is no stack
    """
    names = out_of_tree_modules(crash.prog)
    if not names:
        return None
    if not crash.outer_frames:
        raise Unavailable("out-of-tree code", Reason.NOT_IN_DUMP, "no stack could be walked")
    absent: dict[str, Reason] = {}
    sources: dict[str, Callable[[Crash], Iterator[tuple[str, str]]]] = {
        "left_over": _left_over,
        "probes": _probes,
        "tracers": _tracers,
        "hooks": lambda crash: _hooks(crash, names),
        "involved": _involved,
    }
    found: dict[str, list[tuple[str, str]] | None] = {}
    for key, source in sources.items():
        try:
            found[key] = list(source(crash))
        except Unavailable as missing:
            found[key] = None
            absent[key] = missing.reason
    modules = [_outsider(crash, name, found, absent) for name in names]
    return Outsiders(
        on_path=tuple(module for module in modules if module.on_path),
        elsewhere=tuple(module for module in modules if not module.on_path),
    )


def _outsider(
    crash: Crash,
    name: str,
    found: Mapping[str, list[tuple[str, str]] | None],
    absent: Mapping[str, Reason],
) -> Outsider:
    def of(key: str) -> tuple[str, ...] | None:
        pairs = found[key]
        return None if pairs is None else tuple(what for module, what in pairs if module == name)

    functions = [f.function for f in crash.outer_frames if f.module == name and f.function]
    if functions:
        absent = {**absent, "hooks": Reason.NOT_APPLICABLE}
    return Outsider(
        module=name,
        frames=tuple(dict.fromkeys(functions)),
        left_over=of("left_over"),
        probes=of("probes"),
        tracers=of("tracers"),
        hooks=of("hooks"),
        involved=of("involved"),
        absent=absent,
    )


def _owner(crash: Crash, address: int) -> str | None:
    module = module_at(crash.prog, address)
    return module.name if module is not None else None


def _named(crash: Crash, address: int) -> str:
    symbol = symbol_at(crash.prog, address)
    return f"{symbol.name}+{address - symbol.address:#x}" if symbol else f"{address:016x}"


def _left_over(crash: Crash) -> Iterator[tuple[str, str]]:
    # The whole stack of the task, also below the frames: what ran there before.
    task = crash.thread.task
    if task is None:
        raise Unavailable("the crashed task's stack", Reason.NOT_IN_DUMP)
    with naming("the crashed task's stack"):
        low = int(Object(crash.prog, "struct task_struct *", task).stack)
        size = int(crash.prog["THREAD_SIZE"])
    data = read_bytes(crash.prog, low, size)
    in_frames = {frame.pc for frame in crash.frames}
    seen: set[int] = set()
    for at in range(0, len(data) - _WORD + 1, _WORD):
        word = int.from_bytes(data[at : at + _WORD], "little")
        if word in seen or word in in_frames:
            continue
        seen.add(word)
        owner = _owner(crash, word)
        # A pointer to its data may be an argument: nothing of it has run.
        if owner is not None and walk_page_tables(crash.prog, word).executable:
            yield owner, _named(crash, word)


def _probes(crash: Crash) -> Iterator[tuple[str, str]]:
    on_path = {frame.function for frame in crash.outer_frames if not frame.inlined}
    what = "kprobes"
    with naming(what):
        for probe in bounded(registered_probes(crash.prog), _MOST_PROBES, what):
            symbol = symbol_at(crash.prog, int(probe.addr))
            if symbol is None or symbol.name not in on_path:
                continue
            for handler in (int(probe.pre_handler), int(probe.post_handler)):
                owner = _owner(crash, handler) if handler else None
                if owner is not None:
                    yield owner, symbol.name


def _tracers(crash: Crash) -> Iterator[tuple[str, str]]:
    what = "handlers of the function tracer"
    with naming(what):
        ops = crash.prog["ftrace_ops_list"]
        for _ in range(_MOST_TRACERS):
            handler = int(ops.func)
            owner = _owner(crash, handler)
            if owner is not None:
                yield owner, _named(crash, handler)
            # The list ends at ftrace_list_end, which follows nobody (kernel/trace/ftrace.c).
            ops = ops.next
            if not ops:
                return
    raise Unavailable(what, Reason.BUDGET, f"more than {_MOST_TRACERS}")


def _hooks(crash: Crash, names: Collection[str]) -> Iterator[tuple[str, str]]:
    on_stack = {frame.module for frame in crash.outer_frames}
    runs_hooks = any(crash.has_frame(caller) for caller in _HOOK_CALLERS)
    if not runs_hooks or on_stack.issuperset(names):
        return
    with naming("netfilter hooks"):
        net = crash.prog["init_net"].address_of_()
    for hook in hook_functions(net):
        if hook.module is not None and hook.out_of_tree:
            where = f"{hook.family} {hook.hook_name}"
            yield hook.module, f"{hook.symbol or f'{hook.function:016x}'} ({where})"


def _involved(crash: Crash) -> Iterator[tuple[str, str]]:
    # The stack that panicked is often a watchdog's: what it is about is elsewhere.
    kind = None if crash.oops is None else crash.oops.kind
    places = [] if kind not in _HANGS else [*_waiting(crash), *_on_cpus(crash)]
    found = [(one.module, one.function) for one in places if one is not None]
    caller = _caller(crash)
    if caller is not None:
        found.append((caller.module, caller.name))
    yield from dict.fromkeys((module, name) for module, name in found if module and name)


def _waiting(crash: Crash) -> Iterator[Place | None]:
    from crashkit.crash.panics.waits import Waits

    waits = find_section(crash, "waits", Waits)
    for line in () if waits is None else waits.tasks:
        yield line.place


def _on_cpus(crash: Crash) -> Iterator[Place | None]:
    from crashkit.crash.panics.spin import Spins
    from crashkit.crash.panics.stall import Stall

    spins = find_section(crash, "spin", Spins)
    for lock in () if spins is None else spins.locks:
        yield from (holder.place for holder in lock.holders)
        yield from (spinner.place for spinner in lock.spinners)
    if crash.oops is None or crash.oops.kind == "hung-task":
        return
    stall = find_section(crash, "stall", Stall)
    for cpu in () if stall is None else stall.cpus:
        yield cpu.line.place


def _caller(crash: Crash) -> SymbolAt | None:
    # A wild jump has left no frame where its own stack could not be walked.
    if crash.fault is None or crash.fault.access != "exec":
        return None
    from crashkit.crash.panics.exec import Exec

    made = find_section(crash, "exec", Exec)
    if made is None or made.return_address is None:
        return None
    return symbol_at(crash.prog, made.return_address - 1)
