"""Modules that are gone: the kernel keeps the name of the last one, and of tainting ones."""

from __future__ import annotations

from collections.abc import Iterator

from drgn import Object, Program
from drgn.helpers.linux.list import list_for_each_entry

from crashkit.decode.fields import naming, text_at
from crashkit.errors import Unavailable
from crashkit.memory import bounded
from crashkit.symbols import find_symbol

_MAX_NAME = 64
_MAX_UNLOADED = 4096


def last_unloaded_module(prog: Program) -> str | None:
    """Give the name of the module that was unloaded last, escaped.

    ``last_unloaded_module`` of kernel/module/main.c begins with its name, whether it is an
    array of characters or a struct.

    :returns: None: none was unloaded, or the variable cannot be had
    """
    symbol = find_symbol(prog, "last_unloaded_module")
    if symbol is None:
        return None
    try:
        return text_at(prog, symbol.address, _MAX_NAME) or None
    except Unavailable:
        return None


def unloaded_tainting_modules(prog: Program) -> tuple[str, ...]:
    """List the modules that tainted the kernel and are gone, escaped; as far as can be read.

    Kept with CONFIG_MODULE_UNLOAD_TAINT_TRACKING (kernel/module/tracking.c).
    """
    symbol = find_symbol(prog, "unloaded_tainted_modules")
    if symbol is None:
        return ()
    found: list[str] = []
    walk = _tainting(prog, symbol.address)
    try:
        for name in walk:
            found.append(name)  # noqa: PERF402 - what was read before the damage is true
    except Unavailable:
        return tuple(found)
    return tuple(found)


def _tainting(prog: Program, head: int) -> Iterator[str]:
    with naming("unloaded_tainted_modules"):
        type_ = "struct mod_unload_taint"
        walk = list_for_each_entry(type_, Object(prog, "struct list_head *", head), "list")
        for each in bounded(walk, _MAX_UNLOADED, "unloaded modules"):
            yield text_at(prog, each.name.address_of_().value_(), _MAX_NAME)
