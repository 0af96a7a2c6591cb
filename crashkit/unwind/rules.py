"""The ORC rule for any pc of a dump: the core kernel's tables and each module's."""

from __future__ import annotations

from typing import Protocol

from drgn import FaultError, Object, Program

from crashkit.errors import Reason, Unavailable
from crashkit.symbols.lookup import ModuleRange, find_symbol, module_at, names_of
from crashkit.symbols.orc import Layout, Rule, Table, layout_of, numbered
from crashkit.unwind.frame_pointers import FramePointerRules
from crashkit.unwind.tracer import original_of

_CACHE_KEY = "crashkit.orc"


class Rules(Protocol):
    """Says how to leave a frame."""

    def find(self, pc: int) -> Rule | None:
        """Find the rule for the instruction at ``pc``; None where there is none."""


class OrcRules:
    """ORC rules of one program; tables are read when first needed."""

    def __init__(self, prog: Program) -> None:
        """Read the entry's layout from its type.

        :raises Unavailable: the kernel has no ORC or its type is not known
        """
        self._prog = prog
        try:
            layout = layout_of(prog.type("struct orc_entry"))
        except LookupError as missing:
            raise Unavailable("ORC", Reason.NO_DEBUGINFO, "no struct orc_entry") from missing
        self._layout = self._numbered(layout)
        self._tables: dict[str | None, Table | None] = {}

    def find(self, pc: int) -> Rule | None:
        """Find the rule for the instruction at ``pc``; None where there is none."""
        module = module_at(self._prog, pc)
        text = names_of(self._prog).text
        if module is None and not (text and text[0] <= pc < text[1]):
            original = original_of(self._prog, pc)
            if original is None:
                return None
            pc = original
        name = module.name if module else None
        if name not in self._tables:
            self._tables[name] = self._load(module)
        table = self._tables[name]
        try:
            return table.find(pc) if table else None
        except Unavailable:
            return None  # an entry outside the dump is a pc without a rule

    def _load(self, module: ModuleRange | None) -> Table | None:
        if self._layout is None:
            return None
        try:
            if module:
                return self._load_module(module, self._layout)
            return self._load_vmlinux(self._layout)
        except (FaultError, Unavailable, AttributeError, LookupError):
            return None  # no table: the walk says at which pc it had no rule

    def _numbered(self, layout: Layout) -> Layout | None:
        # The core kernel's table is the larger one; modules' follow it. Without it: no rules.
        found = self._vmlinux()
        if found is None:
            return None
        _ips, entries, count = found
        try:
            return numbered(layout, self._prog, entries, count)
        except Unavailable:
            return None

    def _vmlinux(self) -> tuple[int, int, int] | None:
        # Instruction offsets, entries and how many of both.
        ips = find_symbol(self._prog, "__start_orc_unwind_ip")
        end = find_symbol(self._prog, "__stop_orc_unwind_ip")
        entries = find_symbol(self._prog, "__start_orc_unwind")
        if ips is None or end is None or entries is None:
            return None
        return ips.address, entries.address, (end.address - ips.address) // 4

    def _load_vmlinux(self, layout: Layout) -> Table | None:
        found = self._vmlinux()
        if found is None:
            return None
        ips, entries, count = found
        return Table(self._prog, layout, ips, entries, count)

    def _load_module(self, module: ModuleRange, layout: Layout) -> Table | None:
        arch = Object(self._prog, "struct module *", module.object_address).arch
        count = int(arch.num_orcs)
        if not count:
            return None
        ips, entries = int(arch.orc_unwind_ip), int(arch.orc_unwind)
        return Table(self._prog, layout, ips, entries, count)


def unwind_rules(prog: Program) -> Rules:
    """Return the program's ORC rules; those of frame pointers where the kernel has no ORC.

    :raises Unavailable: whether it has ORC is not known
    """
    try:
        return orc_rules(prog)
    except Unavailable:
        # A kernel that has ORC has its tables, whether or not the type is known.
        if find_symbol(prog, "__start_orc_unwind") is not None:
            raise
        if find_symbol(prog, "_stext") is None:
            raise
        return FramePointerRules(prog)


def orc_rules(prog: Program) -> OrcRules:
    """Return the program's ORC rules.

    :raises Unavailable: the kernel has no ORC or its type is not known
    """
    rules = prog.cache.get(_CACHE_KEY)
    if not isinstance(rules, OrcRules):
        rules = prog.cache[_CACHE_KEY] = OrcRules(prog)
    return rules
