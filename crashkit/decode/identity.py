"""What an address is, in a few words: ``init_net``, ``slab object nf_conntrack``."""

from __future__ import annotations

from drgn import FaultError, Program, Symbol
from drgn.helpers import ValidationError
from drgn.helpers.common.memory import IdentifiedAddress, IdentifiedSymbol, identify_address_all
from drgn.helpers.linux.common import (
    IdentifiedPage,
    IdentifiedSlabObject,
    IdentifiedTaskStack,
    IdentifiedTaskStruct,
    IdentifiedVmap,
)
from drgn.helpers.linux.cpumask import for_each_possible_cpu

from crashkit.decode.fields import printable
from crashkit.decode.slab import cache_name, is_allocated, slab_identity
from crashkit.errors import Unavailable
from crashkit.memory import BROKEN_WALK, bounded, is_kernel_address
from crashkit.symbols import in_kernel_text, symbol_at

_PLAIN_FAILURES = (*BROKEN_WALK, AttributeError, ValidationError, NotImplementedError)
# what drgn's identification raises on missing pages, names, members, damaged slabs
_MAX_CPUS = 8192


def identify(prog: Program, address: int) -> str | None:
    """Say what an address is; None when nothing is known about it.

    :param address: unsigned 64 bit
    """
    if not is_kernel_address(address):
        return None
    try:
        for identified in identify_address_all(prog, address, cache=_cache(prog)):
            return _words(identified)
    except _PLAIN_FAILURES:
        return _symbol_alone(prog, address) or _slab_alone(prog, address)
    return _per_cpu(prog, address)


def _cache(prog: Program) -> dict[object, object]:
    cache: dict[object, object] = prog.cache.setdefault("crashkit.identify", {})
    return cache


def _words(identified: IdentifiedAddress) -> str | None:
    if isinstance(identified, IdentifiedSymbol):
        return _at(identified.symbol.name, identified.address - identified.symbol.address)
    if isinstance(identified, IdentifiedSlabObject):
        return _slab_words(identified)
    if isinstance(identified, IdentifiedTaskStruct):
        task = identified.task
        start = f"task {task.pid.value_()} {printable(task.comm.string_())}"
        return _at(start, identified.address - task.value_())
    if isinstance(identified, IdentifiedTaskStack):
        return f"stack of task {identified.task.pid.value_()}"
    if isinstance(identified, IdentifiedPage):
        return f"struct page of pfn {identified.pfn:#x}"
    return "vmalloc area" if isinstance(identified, IdentifiedVmap) else None


def _at(name: str, offset: int) -> str:
    return f"{name}+{offset:#x}" if offset else name


def _slab_words(identified: IdentifiedSlabObject) -> str:
    found = identified.slab_object_info
    try:
        name = cache_name(found.slab_cache)
    except Unavailable:
        name = "?"
    return _slab_text(is_allocated(found), name, identified.address - found.address)


def _slab_text(allocated: bool | None, name: str, offset: int) -> str:
    return _at(f"{'free slab' if allocated is False else 'slab'} object {name}", offset)


def _symbol_alone(prog: Program, address: int) -> str | None:
    found = symbol_at(prog, address) if in_kernel_text(prog, address) else None
    return None if found is None else _at(found.name, address - found.address)


def _slab_alone(prog: Program, address: int) -> str | None:
    # drgn's identification ends at the first name or page it misses, tasks among them;
    # the slab object needs fewer.
    try:
        found = slab_identity(prog, address)
    except Unavailable:
        return None
    return _slab_text(found.allocated, found.cache_name or "?", found.offset)


def _per_cpu(prog: Program, address: int) -> str | None:
    # A static per-CPU variable: the address minus a CPU's offset lies in the template.
    try:
        start, end = (prog.symbol(f"__per_cpu_{edge}").address for edge in ("start", "end"))
        for cpu in bounded(for_each_possible_cpu(prog), _MAX_CPUS, "possible CPUs"):
            template = address - prog["__per_cpu_offset"][cpu].value_()
            if start <= template % (1 << 64) < end:
                return _per_cpu_words(prog, template % (1 << 64), cpu)
    except (FaultError, LookupError, Unavailable):
        return None
    return None


def _per_cpu_words(prog: Program, template: int, cpu: int) -> str:
    symbol: Symbol | None
    try:
        symbol = prog.symbol(template)
    except LookupError:
        return f"per-CPU data of CPU {cpu}"
    return f"per-CPU {_at(symbol.name, template - symbol.address)} of CPU {cpu}"
