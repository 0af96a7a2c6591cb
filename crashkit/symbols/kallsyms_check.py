"""Whether a kernel symbol table is that of the kernel that VMCOREINFO describes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from crashkit.errors import Unavailable
from crashkit.target.vmcoreinfo import VmcoreInfo

MAX_IMAGE = 256 << 20
"""No image of a kernel is larger, in bytes."""
PAGE = 4096
_SYMBOL = "SYMBOL("
_FIRST = "_stext"


def image_symbols(info: VmcoreInfo) -> dict[str, int]:
    """Give the symbols in the kernel's image that VMCOREINFO names, with their addresses.

    Others are no symbols: where an array is allocated, as mem_section is, VMCOREINFO has the
    address of its memory.

    :raises Unavailable: it does not say where the image begins
    """
    start = info.symbol(_FIRST) & -PAGE
    known = {}
    for key in info:
        if key.startswith(_SYMBOL) and key.endswith(")"):
            name = key.removeprefix(_SYMBOL).removesuffix(")")
            try:
                known[name] = info.symbol(name)
            except Unavailable:
                continue  # garbled: said when VMCOREINFO was read
    return {name: at for name, at in known.items() if start <= at < start + MAX_IMAGE}


def contradiction(
    known: Mapping[str, int], addresses_of: Callable[[str], Collection[int]]
) -> str | None:
    """Say why a table cannot be this kernel's; None if it may be.

    A kernel without the symbols of data (CONFIG_KALLSYMS_ALL) lacks most names.

    :param known: as :func:`image_symbols` gives them
    :param addresses_of: the table: where the symbols of a name are
    """
    for name, address in known.items():
        found = addresses_of(name)
        if found and address not in found:
            return f"{name} is at {address:#x}, there at {next(iter(found)):#x}"
    return None if addresses_of(_FIRST) else f"it lacks {_FIRST}"
