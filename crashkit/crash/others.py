"""What the other CPUs and the modules on the stack say: observations recipes share."""

from __future__ import annotations

import re

from drgn import FaultError, Object, Program
from drgn.helpers.linux.module import find_module, for_each_module, module_taints

from crashkit.crash.core import Crash
from crashkit.crash.scan import words_on_other_stacks
from crashkit.decode.fields import printable
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Observation, seen, unavailable
from crashkit.memory import bounded
from crashkit.value import Certainty, Origin, Reread, Value

MAX_MODULES = 10_000


def module_taint(prog: Program, name: str) -> str:
    """Return a loaded module's taint letters, e.g. ``OE``.

    :raises Unavailable: the module list or its types cannot be had
    """
    try:
        module: Object = find_module(prog, name)
        return module_taints(module) if module else ""
    except FaultError as fault:
        raise Unavailable(f"taint of {name}", Reason.NOT_IN_DUMP, str(fault)) from fault
    except (LookupError, TypeError) as missing:
        raise Unavailable(f"taint of {name}", Reason.NO_DEBUGINFO, str(missing)) from missing


def out_of_tree_modules(prog: Program) -> tuple[str, ...]:
    """Name the loaded modules that are marked out-of-tree, sorted.

    :raises Unavailable: the module list or its types cannot be had
    """
    with unavailable("the loaded modules"):
        loaded = list(bounded(for_each_module(prog), MAX_MODULES, "modules"))
        names = [printable(module.name.string_()) for module in loaded]
    return tuple(sorted(name for name in names if "O" in module_taint(prog, name)))


def held_on_another_stack(crash: Crash, word: int) -> Observation:
    """Whether the stack of another CPU's current task holds ``word``.

    :raises Unavailable: the crashed CPU is not known
    """
    here = crash.thread.cpu
    if here is None:
        raise Unavailable("the other CPUs", Reason.NOT_IN_DUMP, "the crashed CPU is unknown")
    for cpu, slot in words_on_other_stacks(crash.prog, here, word):
        reread = Reread(crash=f"rd {slot:016x}", crashkit=f"prog.read_u64({slot:#x})")
        value = Value(
            name=f"on CPU {cpu}'s stack",
            value=word,
            origin=Origin.MEMORY,
            address=slot,
            certainty=Certainty.INFERRED,
            reread=reread,
        )
        return seen(True, value)
    return seen(False, Value(name="looked for", value=word, origin=Origin.MEMORY))


def stack_is_in_tree(crash: Crash) -> Observation:
    """Whether no module on the crashed stack is marked out-of-tree.

    :raises Unavailable: a module's taint cannot be read
    """
    if not crash.outer_frames:
        raise Unavailable("modules on the stack", Reason.NOT_IN_DUMP, "no stack could be walked")
    modules = sorted({frame.module for frame in crash.outer_frames if frame.module})
    foreign = [name for name in modules if "O" in module_taint(crash.prog, name)]
    label = "out-of-tree modules" if foreign else "modules on the stack"
    names = ", ".join(foreign or modules) or "none"
    value = Value(name=label, value=names, origin=Origin.MEMORY, reread=Reread(crash="mod -t"))
    return seen(not foreign, value, note=names if foreign else "")


# First lines of SLUB's reports (mm/slub.c: slab_bug(), object_err()).
_SLAB_REPORT = re.compile(
    r"BUG \S+.*: (?:Redzone|Left Redzone|Right Redzone|Poison|Object padding|Freepointer"
    r"|Freechain|Wrong object)"
)


def slab_was_reported(crash: Crash) -> Observation:
    """Whether the kernel reported a damaged slab before it crashed.

    :raises Unavailable: the log is not in the dump
    """
    reports = _SLAB_REPORT.findall(crash.log)
    value = Value(
        name="slab reports in the log",
        value=len(reports),
        origin=Origin.TEXT,
        reread=Reread(crash="log | grep BUG"),
    )
    return seen(bool(reports), value)
