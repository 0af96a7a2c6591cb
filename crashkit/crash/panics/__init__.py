"""What is particular to a kind of panic: the sections of ``panic.facts``.

A section is a function of the crash in a module of its own, imported only for the kinds
it is about: a NULL dereference must not pay for the reader of lock owners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from crashkit.errors import Unavailable
from crashkit.value import facts

if TYPE_CHECKING:
    from crashkit.crash.core import Crash

Read = Callable[["Crash"], object]
"""Reads a section: a frozen dataclass, or None where it does not apply to this crash.

:raises Unavailable: the dump does not hold it
"""


CACHE_KEY = "crashkit.panic_sections"
"""Where ``Program.cache`` keeps the sections that were read."""


@facts
class Section:
    """One section of ``panic.facts``."""

    key: str
    """Its key there."""
    kinds: frozenset[str] | None
    """``panic.kind``s it is read for; None: all of them, also without a log."""
    module: str
    """Module of this package, with a function ``read(crash)``."""

    def read(self, crash: Crash) -> object:
        """Read the section.

        :raises Unavailable: the dump does not hold it
        """
        read: Read = import_module(f"crashkit.crash.panics.{self.module}").read
        return read(crash)


def _section(key: str, module: str, *kinds: str) -> Section:
    return Section(key=key, kinds=frozenset(kinds) or None, module=module)


SECTIONS: tuple[Section, ...] = (
    _section("atomic", "atomic", "scheduling-while-atomic"),
    _section("cpus", "cpus"),
    _section("spin", "spin", "hard-lockup", "hung-task", "nmi", "panic-other", "rcu-stall",
             "soft-lockup", "spinlock-deadlock", "sysrq"),
    _section("stall", "stall", "hard-lockup", "rcu-stall", "soft-lockup"),
    _section("waits", "waits_gate"),
    _section("stands_out", "stands_out"),
    _section("outsiders", "outsiders"),
    _section("setting", "setting"),
    _section("code", "code"),
    _section("bad_page", "bad_page", "bad-page", "panic-other"),
    _section("bug", "bug", "invalid-opcode-bug", "warning"),
    _section("divide", "divide", "divide-error"),
    _section("exec", "exec", "exec-fault", "general-protection", "null-pointer-dereference",
             "page-fault"),
    _section("init", "init", "init-killed"),
    _section("list", "linked", "list-corruption"),
    _section("mce", "mce", "machine-check"),
    _section("nmi", "nmi", "nmi"),
    _section("no_root_fs", "root_fs", "no-root-fs"),
    _section("oom", "oom", "oom", "panic-other", "warning"),
    _section("refcount", "refcount", "refcount", "warning"),
    _section("slab", "slab", "invalid-opcode-bug", "panic-other", "slab-corruption"),
    _section("stack", "stack", "double-fault", "stack-corruption", "stack-overflow"),
    _section("sysrq", "sysrq", "sysrq"),
    _section("usercopy", "usercopy", "usercopy"),
)  # fmt: skip


@facts
class PanicFacts:
    """The sections that could be read, and why the others could not."""

    found: Mapping[str, object]
    missing: Mapping[str, Unavailable]


def read_sections(crash: Crash, kind: str, sections: Iterable[Section] | None = None) -> PanicFacts:
    """Read every section that applies to a kind of panic.

    What cannot be read becomes an entry of the crash's ``limits``, too.

    :param kind: ``panic.kind`` of the report
    """
    if crash.target.format == "text":
        return PanicFacts(found={}, missing={})
    found: dict[str, object] = {}
    missing: dict[str, Unavailable] = {}
    for section in SECTIONS if sections is None else sections:
        if section.kinds is not None and kind not in section.kinds:
            continue
        try:
            value = _read_once(crash, section)
        except Unavailable as why:
            missing[section.key] = why
            crash.lacks(why.what, why, "a dump that holds it")
            continue
        if value is not None:
            found[section.key] = value
    return PanicFacts(found=found, missing=missing)


def read_section(crash: Crash, key: str) -> object:
    """Read one section by its key, whatever the kind of panic; once for a program.

    :raises Unavailable: the dump does not hold it
    """
    return _read_once(crash, next(section for section in SECTIONS if section.key == key))


def _read_once(crash: Crash, section: Section) -> object:
    # Recipes look at what the report shows, and some sections take half a second.
    kept: dict[str, object] = crash.prog.cache.setdefault(CACHE_KEY, {})
    if section.key not in kept:
        try:
            kept[section.key] = section.read(crash)
        except Unavailable as why:
            kept[section.key] = why
    found = kept[section.key]
    if isinstance(found, Unavailable):
        raise found
    return found
