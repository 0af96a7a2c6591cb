"""A call into the place of a module that is gone: a pointer to it was left behind.

A timer, a work item, a notifier or a table of operations that a module did not take back
before it was unloaded. The address lies where modules are loaded, and no module is there.

Recognised by: the target lies in the modules' area, in no loaded module; nothing is mapped
there; and a module was unloaded. Which module's place it was is kept nowhere: that it was
the last one's is only likely. A freed BPF program lay in the same area.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from crashkit.crash import Crash
from crashkit.crash.panics.evidence import fact, holds, jumped_wild, word_value
from crashkit.crash.scenes import JumpScene
from crashkit.errors import Reason, Unavailable
from crashkit.finding import Check, CheckSpec, Observation, necessary, seen, supporting
from crashkit.recipe import Meta

if TYPE_CHECKING:
    from crashkit.decode.address_walk import PageWalk

META = Meta(
    id="stale-module-pointer",
    claim="a call went into the modules' area where no module is, and a module had been unloaded",
    references=("kernel/module/main.c: last_unloaded_module; kernel/module/tracking.c",),
    matches=("kind-unloaded",),
    rejects=("kind-nxjump", "kind-wildcall", "kind-nullcall"),
    told_apart_from=(
        "a wild pointer: it leads to data, to user space or to no address at all",
        "a module that is loaded: its functions have names",
        "a freed BPF program: the pointer that was called is not a module's to set",
    ),
)


def applies(crash: Crash) -> bool:
    """Whether the CPU was sent to where no code is."""
    return jumped_wild(crash)


def checks(crash: Crash) -> Iterator[CheckSpec]:
    """Yield the checks in the order a person makes them."""
    scene = _Scene(crash)
    yield necessary("area", "it lies in the modules' area, in no module", lambda: _area(scene))
    yield necessary("unmapped", "nothing is mapped there", lambda: _unmapped(scene))
    yield necessary("unloaded", "a module was unloaded", lambda: _unloaded(scene))
    yield supporting("pointer", "a pointer in memory still leads there", lambda: _pointer(scene))
    yield supporting("aligned", "it is aligned as functions are", lambda: _aligned(scene))


class _Scene(JumpScene):
    @cached_property
    def walk(self) -> PageWalk:
        from crashkit.decode.address_walk import walk_page_tables

        if not self.in_area:
            raise Unavailable("its page", Reason.NOT_APPLICABLE, "not in the modules' area")
        return walk_page_tables(self.crash.prog, self.target)

    @cached_property
    def in_area(self) -> bool:
        from crashkit.crash.others import out_of_tree_modules
        from crashkit.crash.panics.exec import classify

        if classify(self.crash.prog, self.target) != "module-area":
            return False
        out_of_tree_modules(self.crash.prog)  # raises where the list of modules has a gap
        return True

    @cached_property
    def last(self) -> tuple[int, str]:
        """Address of the name of the module that was unloaded last, and the name."""
        from crashkit.decode.fields import text_at
        from crashkit.symbols import find_symbol

        symbol = find_symbol(self.crash.prog, "last_unloaded_module")
        if symbol is None:
            raise Unavailable("last_unloaded_module", Reason.NO_DEBUGINFO, "no symbol")
        return symbol.address, text_at(self.crash.prog, symbol.address)


def _area(scene: _Scene) -> Observation:
    from crashkit.decode import identify

    if scene.in_area:
        return seen(True, scene.rip())
    where = identify(scene.crash.prog, scene.target)
    return seen(False, scene.rip(), note=where or "no address of the kernel")


def _unmapped(scene: _Scene) -> Observation:
    last = scene.walk.entries[-1]
    look = f"crashkit.decode.walk_page_tables(prog, {scene.target:#x})"
    value = fact(f"{last.level} entry", last.value, f"vtop {scene.target:016x}", look)
    return seen(not scene.walk.present, value, note=scene.walk.statement())


def _unloaded(scene: _Scene) -> Observation:
    from crashkit.decode.address_modules import unloaded_tainting_modules

    address, name = scene.last
    variable, look = "last_unloaded_module", f"prog.read_c_string({address:#x})"
    value = fact(variable, name, f"rd -a {address:016x}", look, address=address)
    others = [other for other in unloaded_tainting_modules(scene.crash.prog) if other != name]
    return seen(bool(name), value, note=f"before it: {', '.join(others)}" if others else "")


def _pointer(scene: _Scene) -> Observation:
    fault = scene.fault
    link = next((x for x in fault.chain if x.expression == fault.null_or_bad), None)
    if link is None or link.now is None or link.address is None:
        raise Unavailable("the pointer", Reason.NOT_SAVED, "where it was read from is not known")
    value = word_value(link.expression, link.address, link.now, ctype=link.ctype)
    return seen(link.now == scene.target, value, note=f"called by {fault.called_from}")


def _aligned(scene: _Scene) -> Observation:
    return seen(scene.target % 16 == 0, scene.rip())


def advice(crash: Crash, found: Sequence[Check]) -> tuple[str, ...]:
    """Name the pointer, and the module to look into."""
    if not holds(found, "unloaded"):
        return ()
    scene = _Scene(crash)
    pointer = scene.fault.null_or_bad or "the pointer"
    where = f", called at {scene.fault.called_from}" if scene.fault.called_from else ""
    return (
        f"look at what {scene.last[1]} (~) leaves behind when it is unloaded: {pointer}{where}",
    )
