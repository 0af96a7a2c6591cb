"""The blocks of a text report that come from ``panic.facts``, one module for each section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from crashkit.report.parts import Json

Render = Callable[[Json, Json, int], list[str]]
"""Lines of a block, heading first: of the section, the whole document and the verbosity."""

BLOCKS: Mapping[str, str] = {
    "stall": "text_stall",
    "waits": "text_waits",
    "spin": "text_spin",
    "atomic": "text_atomic",
    "cpus": "text_cpus",
    "outsiders": "text_outsiders",
    "setting": "text_setting",
    "code": "text_code",
    "oom": "text_oom",
    "bug": "text_bug",
    "divide": "text_divide",
    "exec": "text_jump",
    "list": "text_list",
    "slab": "text_slab",
    "refcount": "text_refcount",
    "usercopy": "text_usercopy",
    "stack": "text_overflow",
    "bad_page": "text_bad_page",
    "mce": "text_mce",
    "nmi": "text_nmi",
    "init": "text_init",
    "no_root_fs": "text_root_fs",
    "sysrq": "text_sysrq",
}
"""Key of ``panic.facts`` to the module of this package with ``block()``, in printing order."""


def panic_blocks(document: Json, verbose: int) -> list[list[str]]:
    """Render the sections of ``panic.facts`` that have a block."""
    known = document["panic"]["facts"]
    blocks: list[list[str]] = []
    for key, module in BLOCKS.items():
        if known.get(key) is not None:
            render: Render = import_module(f"crashkit.report.{module}").block
            blocks.append(render(known[key], document, verbose))
    return blocks
